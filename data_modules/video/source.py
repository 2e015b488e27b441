"""Where the bytes of a video lie: a file, or a part of one, such as a member of a tar archive."""

from pathlib import Path
from typing import NamedTuple


class Source(NamedTuple):
    """Bytes ``start`` up to ``start + size`` of a file.

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
        """What FFmpeg opens; absolute, because it takes the part of a relative name before a colon for a protocol."""
        path = self.path.absolute()
        if not self.start and self.size is None:
            return str(path)
        end = 0 if self.size is None else self.start + self.size  # 0: to the end
        return f"subfile,,start,{self.start},end,{end},,:{path}"

    def identity(self) -> int:
        """Tells these bytes from others, and from what the file held before it was written again."""
        found = self.path.stat()
        return hash(
            (
                found.st_dev,
                found.st_ino,
                found.st_size,
                found.st_mtime_ns,
                self.start,
                self.size,
            )
        )

    def __str__(self) -> str:
        """As errors name it."""
        if not self.start and self.size is None:
            return str(self.path)
        return f"{self.path} (byte {self.start} to {'the end' if self.size is None else self.start + self.size})"
