"""Name where the bytes of a video lie: a file, or a part of one, such as a member of a tar archive."""

from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """Name bytes ``start`` up to ``start + size`` of a file.

    Attributes:
        path: the file.
        start: the first byte, from 0.
        size: number of bytes; None up to the end of the file.
        verified: bytes of a copy that ingesting compared with a plain decode: its pictures are upright and in the order
            of their times. None where nothing is known, and what has another size now is not that copy.
    """

    path: Path
    start: int = 0
    size: int | None = None
    verified: int | None = None

    @property
    def url(self) -> str:
        """Return what FFmpeg opens.

        The path is absolute, because FFmpeg takes the part of a relative name before a colon for a protocol.

        Example: bytes 512 to 1512 of /data/a.tar are ``subfile,,start,512,end,1512,,:/data/a.tar``.
        """
        path = self.path.absolute()
        if not self.start and self.size is None:
            return str(path)
        end = 0 if self.size is None else self.start + self.size  # 0: to the end
        return f"subfile,,start,{self.start},end,{end},,:{path}"

    def identity(self) -> int:
        """Return a number that tells these bytes from others, and from the file as it was before it was written again.

        The number holds within this process alone.
        """
        found = self.path.stat()
        file = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        return hash((*file, self.start, self.size))

    def __str__(self) -> str:
        """Return the name that errors give."""
        if not self.start and self.size is None:
            return str(self.path)
        end = "the end" if self.size is None else self.start + self.size
        return f"{self.path} (byte {self.start} to {end})"
