"""What the header of an H.264 or HEVC stream says of all its pictures, so that none has to be decoded to know it."""

from functools import lru_cache
from typing import NamedTuple

from data_modules.video.headers.nal_units import plain

_HIGH_PROFILES = frozenset(
    {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
)
_ANY_RATIO = 255  # aspect_ratio_idc: two numbers follow
_RATIOS = {1: (1, 1), 2: (12, 11), 3: (10, 11), 4: (16, 11), 5: (40, 33), 6: (24, 11), 7: (20, 11), 8: (32, 11),
           9: (80, 33), 10: (18, 11), 11: (15, 11), 12: (64, 33), 13: (160, 99), 14: (4, 3), 15: (3, 2),
           16: (2, 1)}  # fmt: skip


class ParameterSet(NamedTuple):
    """Of the pictures of a stream.

    Attributes:
        height: pixels, without what is cropped.
        width: the same.
        pixel_ratio: width over height of a pixel, as two numbers; (0, 0) where nothing is said.
        reorder: pictures that may be decoded before another one and shown after it; None where nothing is said.
        numbering: how slices tell the order of their pictures.
    """

    height: int
    width: int
    pixel_ratio: tuple[int, int]
    reorder: int | None
    numbering: "Numbering"


class Numbering(NamedTuple):
    """Fields of a slice header up to the number of its picture in presentation order.

    Attributes:
        order_bits: of that number; 0 where pictures are shown as they are decoded, None where it is coded otherwise.
        plane_bits: of a color plane's number.
        frame_bits: of the number in decoding order, H.264.
        fields: whether a picture may be a field, H.264.
    """

    order_bits: int | None
    plane_bits: int
    frame_bits: int = 0
    fields: bool = False


class SliceStart(NamedTuple):
    """What an HEVC picture parameter set says of slice headers.

    Attributes:
        extra_bits: reserved, in front of the type of a slice.
        may_hide: whether pictures may be decoded and not shown.
    """

    extra_bits: int
    may_hide: bool


class _Bits:
    """Reads an H.264 payload (ITU-T H.264, sec. 7.3.1 and 9.1)."""

    def __init__(self, payload: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in plain(payload))
        self._place = 0

    def number(self, count: int = 1) -> int:
        """Of ``count`` bits."""
        self._place += count
        return int(self._bits[self._place - count : self._place], 2)

    def skip(self, count: int) -> None:
        """Pass over ``count`` bits."""
        self._place += count

    def code(self) -> int:
        """An unsigned Exp-Golomb code."""
        zeros = self._bits.index("1", self._place) - self._place
        self._place += zeros
        return self.number(zeros + 1) - 1

    def signed(self) -> int:
        """A signed one."""
        code = self.code()
        return (code + 1) // 2 if code % 2 else -code // 2


@lru_cache  # files of one data set mostly hold the same
def parameter_set(extradata: bytes) -> ParameterSet | None:
    """The only parameter set of an MP4 or Matroska header (ISO 14496-15, sec. 5.3.3); None if there is another form.

    The syntax is that of ITU-T H.264, sec. 7.3.2.1.1 and E.1.1.
    """
    if (
        len(extradata) < 12
        or extradata[0] != 1
        or extradata[5] & 31 != 1
        or extradata[8] & 31 != 7
    ):
        return None
    try:
        return _read(_Bits(extradata[9 : 8 + int.from_bytes(extradata[6:8], "big")]))
    except ValueError:  # it ends too early
        return None


@lru_cache
def numbering(codec: str, unit: bytes) -> Numbering | SliceStart:
    """What one parameter set of a stream says of its slice headers.

    Raises:
        ValueError: it ends too early.
    """
    if codec == "h264":
        return _read(_Bits(unit[1:])).numbering
    return (
        _hevc_picture(_Bits(unit[2:]))
        if unit[0] >> 1 & 63 == 34
        else _hevc_sequence(_Bits(unit[2:]))
    )


def _hevc_sequence(bits: _Bits) -> Numbering:
    """ITU-T H.265, sec. 7.3.2.2.1 and 7.3.3."""
    bits.skip(4)
    layers = bits.number(3)
    bits.skip(1 + 88 + 8)
    if layers:
        present = [(bits.number(), bits.number()) for _ in range(8)][:layers]
        bits.skip(sum(88 * profile + 8 * level for profile, level in present))
    bits.code()
    plane_bits = 2 if bits.code() == 3 and bits.number() else 0
    _, _ = bits.code(), bits.code()
    if bits.number():
        _, _, _, _ = bits.code(), bits.code(), bits.code(), bits.code()
    _, _ = bits.code(), bits.code()
    return Numbering(bits.code() + 4, plane_bits)


def _hevc_picture(bits: _Bits) -> SliceStart:
    """ITU-T H.265, sec. 7.3.2.3.1."""
    _, _, _ = bits.code(), bits.code(), bits.number()
    may_hide = bool(bits.number())
    return SliceStart(bits.number(3), may_hide)


def _read(bits: _Bits) -> ParameterSet:
    profile, _, _ = bits.number(8), bits.number(16), bits.code()
    chroma, plane_bits = _chroma(bits) if profile in _HIGH_PROFILES else (1, 0)
    frame_bits = bits.code() + 4
    order_bits = _order_count(bits)
    _, _ = bits.code(), bits.number()  # reference frames, gaps
    width, map_height, frames_only = (
        16 * (bits.code() + 1),
        16 * (bits.code() + 1),
        bits.number(),
    )
    how = Numbering(order_bits, plane_bits, frame_bits, not frames_only)
    if not frames_only:
        bits.number()
    bits.number()
    left, right, top, bottom = (
        (bits.code() for _ in range(4)) if bits.number() else (0, 0, 0, 0)
    )
    across, down = 1 + (chroma in (1, 2)), (1 + (chroma == 1)) * (2 - frames_only)
    size = (
        map_height * (2 - frames_only) - down * (top + bottom),
        width - across * (left + right),
    )
    if not bits.number():
        return ParameterSet(*size, (0, 0), None, how)
    return ParameterSet(*size, *_usability(bits), how)


def _chroma(bits: _Bits) -> tuple[int, int]:
    """The format of chroma, where 1 is 4:2:0 and 2 is 4:2:2; and bits of a color plane's number."""
    chroma = bits.code()
    plane_bits = 2 if chroma == 3 and bits.number() else 0
    _, _, _ = bits.code(), bits.code(), bits.number()
    if bits.number():
        for index in range(8 if chroma != 3 else 12):
            if bits.number():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma, plane_bits


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = scale = 8
    for _ in range(size):
        if scale:
            scale = (last + bits.signed()) % 256
        last = scale or last


def _order_count(bits: _Bits) -> int | None:
    """Bits of the number in presentation order; 0 for none, None where it is coded by differences."""
    kind = bits.code()
    if kind == 0:
        return bits.code() + 4
    if kind == 1:
        _, _, _ = bits.number(), bits.signed(), bits.signed()
        for _ in range(bits.code()):
            bits.signed()
        return None
    return 0


def _usability(bits: _Bits) -> tuple[tuple[int, int], int | None]:
    """Pixel ratio and reordering."""
    ratio = _pixel_ratio(bits) if bits.number() else (0, 0)
    _skip_display(bits)
    buffers = [_skip_buffer(bits) for _ in range(2) if bits.number()]
    if buffers:
        bits.number()
    bits.number()
    return ratio, _reorder(bits) if bits.number() else None


def _pixel_ratio(bits: _Bits) -> tuple[int, int]:
    kind = bits.number(8)
    return (
        (bits.number(16), bits.number(16))
        if kind == _ANY_RATIO
        else _RATIOS.get(kind, (0, 0))
    )


def _skip_display(bits: _Bits) -> None:
    if bits.number():  # overscan
        bits.number()
    if bits.number():  # video signal
        bits.number(4)
        if bits.number():
            bits.number(24)
    if bits.number():  # where chroma lies
        _, _ = bits.code(), bits.code()
    if bits.number():  # timing
        bits.number(65)


def _reorder(bits: _Bits) -> int:
    bits.number()
    _, _, _, _, reorder = (bits.code() for _ in range(5))
    return reorder


def _skip_buffer(bits: _Bits) -> bool:
    count = bits.code() + 1
    bits.number(8)
    for _ in range(count):
        _, _, _ = bits.code(), bits.code(), bits.number()
    bits.number(20)
    return True
