"""Remove from PNG files the one part that makes PyAV crash."""

from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PROFILE = b"iCCP"
_PIXELS = b"IDAT"


def without_profile(content: bytes) -> bytes:
    """Return a PNG file (ISO/IEC 15948) without its color profile, which changes no pixel that FFmpeg decodes.

    FFmpeg hands the profile on with a name, and PyAV 18 frees this name twice: the process may end.
    """
    # Most files have none; the profile can only stand before the pixels.
    if _PROFILE not in content[: content.find(_PIXELS)]:
        return content
    kept = [SIGNATURE]
    for chunk in _chunks(content):
        if chunk[4:8] != _PROFILE:
            kept.append(chunk)
    return b"".join(kept)


def _chunks(content: bytes) -> Iterator[bytes]:
    """Yield the parts behind the signature: 4 bytes of size, 4 of name, the data and 4 of a checksum."""
    place = len(SIGNATURE)
    while place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        yield content[place:end]
        place = end
