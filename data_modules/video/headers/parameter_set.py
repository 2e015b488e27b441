"""Read what the header of an H.264 or HEVC stream says of all its pictures, so that none has to be decoded for it."""

from functools import lru_cache
from typing import NamedTuple

from data_modules.video.headers.nal_units import plain

# Profiles whose parameter sets say more of chroma (ITU-T H.264, sec. 7.3.2.1.1).
_HIGH_PROFILES = frozenset(
    {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
)
_HEVC_PICTURE_SET = 34
_ANY_RATIO = 255  # aspect_ratio_idc: two numbers follow
# Ratios of pixels by aspect_ratio_idc (ITU-T H.264, table E-1).
_RATIOS = {
    1: (1, 1),
    2: (12, 11),
    3: (10, 11),
    4: (16, 11),
    5: (40, 33),
    6: (24, 11),
    7: (20, 11),
    8: (32, 11),
    9: (80, 33),
    10: (18, 11),
    11: (15, 11),
    12: (64, 33),
    13: (160, 99),
    14: (4, 3),
    15: (3, 2),
    16: (2, 1),
}


class ParameterSet(NamedTuple):
    """Hold what a stream says of its pictures.

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
    """Hold the sizes of the fields of a slice header up to its picture's number in presentation order.

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
    """Hold what an HEVC picture parameter set says of slice headers.

    Attributes:
        extra_bits: reserved, in front of the type of a slice.
        may_hide: whether pictures may be decoded and not shown.
    """

    extra_bits: int
    may_hide: bool


class _Bits:
    """Read fields of bits and Exp-Golomb codes from a payload (ITU-T H.264, sec. 7.3.1 and 9.1)."""

    def __init__(self, payload: bytes) -> None:
        # A string of "0" and "1": slow, but a data set has few different headers, which are cached.
        self._bits = "".join(f"{byte:08b}" for byte in plain(payload))
        self._place = 0

    def number(self, count: int = 1) -> int:
        """Return the next ``count`` bits as a number.

        Raises:
            ValueError: the payload ends before the first of them.
        """
        self._place += count
        return int(self._bits[self._place - count : self._place], 2)

    def skip(self, count: int) -> None:
        """Pass over ``count`` bits."""
        self._place += count

    def code(self) -> int:
        """Return an unsigned Exp-Golomb code: n zeros and n + 1 bits, which are the number plus 1.

        Example: 00110 is 5.
        """
        zeros = self._bits.index("1", self._place) - self._place
        self._place += zeros
        return self.number(zeros + 1) - 1

    def signed(self) -> int:
        """Return a signed Exp-Golomb code: 0, 1, -1, 2, -2 ... are the codes 0, 1, 2, 3, 4 ..."""
        code = self.code()
        return (code + 1) // 2 if code % 2 else -code // 2

    def skip_codes(self, count: int) -> None:
        """Pass over ``count`` Exp-Golomb codes."""
        for _ in range(count):
            self.code()


@lru_cache  # files of one data set mostly hold the same
def parameter_set(extradata: bytes) -> ParameterSet | None:
    """Return the only H.264 parameter set of an MP4 or Matroska header; None where the header has another form.

    See ISO 14496-15, sec. 5.3.3, for the header and ITU-T H.264, sec. 7.3.2.1.1 and E.1.1, for the set.
    """
    if len(extradata) < 12 or extradata[0] != 1:
        return None
    single = extradata[5] & 31 == 1
    is_sequence_set = extradata[8] & 31 == 7
    if not single or not is_sequence_set:
        return None
    end = 8 + int.from_bytes(extradata[6:8], "big")
    try:
        return _sequence(_Bits(extradata[9:end]))
    except ValueError:  # it ends too early
        return None


@lru_cache
def numbering(codec: str, unit: bytes) -> Numbering | SliceStart:
    """Return what one parameter set of a stream says of its slice headers.

    Args:
        codec: ``h264`` or ``hevc``.
        unit: a sequence parameter set, or of HEVC also that of a picture.

    Raises:
        ValueError: it ends too early.
    """
    if codec == "h264":
        return _sequence(_Bits(unit[1:])).numbering
    bits = _Bits(unit[2:])
    if unit[0] >> 1 & 63 == _HEVC_PICTURE_SET:
        return _hevc_picture(bits)
    return _hevc_sequence(bits)


def _hevc_sequence(bits: _Bits) -> Numbering:
    """Read a sequence parameter set of HEVC up to the bits of picture numbers (ITU-T H.265, sec. 7.3.2.2.1)."""
    bits.skip(4)
    _skip_profiles(bits, sub_layers=bits.number(3))
    bits.code()  # number of the set
    plane_bits = 2 if bits.code() == 3 and bits.number() else 0
    bits.skip_codes(2)  # width, height
    if bits.number():
        bits.skip_codes(4)  # cropping
    bits.skip_codes(2)  # depths of luma and chroma
    return Numbering(bits.code() + 4, plane_bits)


def _skip_profiles(bits: _Bits, sub_layers: int) -> None:
    """Pass over profiles and levels (ITU-T H.265, sec. 7.3.3)."""
    bits.skip(1 + 88 + 8)
    if not sub_layers:
        return
    present = 0  # bits of the profiles and levels that are there
    # The flags stand for 8 layers, however few there are; those of absent layers count for nothing.
    for layer in range(8):
        profile = bits.number()
        level = bits.number()
        if layer < sub_layers:
            present += 88 * profile + 8 * level
    bits.skip(present)


def _hevc_picture(bits: _Bits) -> SliceStart:
    """Read a picture parameter set of HEVC (ITU-T H.265, sec. 7.3.2.3.1)."""
    bits.skip_codes(2)  # numbers of this set and of the sequence's
    bits.skip(1)
    may_hide = bool(bits.number())
    return SliceStart(bits.number(3), may_hide)


def _sequence(bits: _Bits) -> ParameterSet:
    """Read a sequence parameter set of H.264 (ITU-T H.264, sec. 7.3.2.1.1)."""
    profile = bits.number(8)
    bits.skip(16)  # constraints, level
    bits.code()  # number of the set
    chroma, plane_bits = _chroma(bits) if profile in _HIGH_PROFILES else (1, 0)
    frame_bits = bits.code() + 4
    order_bits = _order_count(bits)
    bits.code()  # reference frames
    bits.number()  # gaps
    width = 16 * (bits.code() + 1)
    map_height = 16 * (bits.code() + 1)
    frames_only = bits.number()
    if not frames_only:
        bits.number()  # frames and fields may mix within a picture
    bits.number()  # direct prediction of 8 x 8
    left, right, top, bottom = _cropping(bits)
    # Cropping counts in chroma samples; in fields each counts for two rows.
    across = 1 + (chroma in (1, 2))
    down = (1 + (chroma == 1)) * (2 - frames_only)
    height = map_height * (2 - frames_only) - down * (top + bottom)
    width -= across * (left + right)
    pixel_ratio, reorder = _usability(bits) if bits.number() else ((0, 0), None)
    how = Numbering(order_bits, plane_bits, frame_bits, not frames_only)
    return ParameterSet(height, width, pixel_ratio, reorder, how)


def _cropping(bits: _Bits) -> tuple[int, int, int, int]:
    """Return what is cropped at the left, right, top and bottom, chroma samples."""
    if not bits.number():
        return 0, 0, 0, 0
    return bits.code(), bits.code(), bits.code(), bits.code()


def _chroma(bits: _Bits) -> tuple[int, int]:
    """Return the format of chroma, where 1 is 4:2:0 and 2 is 4:2:2; and the bits of a color plane's number."""
    chroma = bits.code()
    plane_bits = 2 if chroma == 3 and bits.number() else 0
    bits.skip_codes(2)  # depths of luma and chroma
    bits.number()
    if bits.number():
        for index in range(8 if chroma != 3 else 12):
            if bits.number():
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma, plane_bits


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    """Pass over a list, whose entries stop at a next scale of 0 (ITU-T H.264, sec. 7.3.2.1.1.1)."""
    last = scale = 8
    for _ in range(size):
        if scale:
            scale = (last + bits.signed()) % 256
        last = scale or last


def _order_count(bits: _Bits) -> int | None:
    """Return the bits of the number in presentation order; 0 for none, None where it is coded by differences."""
    kind = bits.code()
    if kind == 0:
        return bits.code() + 4
    if kind == 1:
        bits.number()
        bits.skip_codes(2)
        bits.skip_codes(bits.code())
        return None
    return 0


def _usability(bits: _Bits) -> tuple[tuple[int, int], int | None]:
    """Return pixel ratio and reordering (ITU-T H.264, sec. E.1.1)."""
    ratio = _pixel_ratio(bits) if bits.number() else (0, 0)
    _skip_display(bits)
    has_buffers = False
    for _ in range(2):  # of units, of slices
        if bits.number():
            _skip_buffer(bits)
            has_buffers = True
    if has_buffers:
        bits.number()  # delay
    bits.number()  # structure of pictures
    return ratio, _reorder(bits) if bits.number() else None


def _pixel_ratio(bits: _Bits) -> tuple[int, int]:
    kind = bits.number(8)
    if kind == _ANY_RATIO:
        return bits.number(16), bits.number(16)
    return _RATIOS.get(kind, (0, 0))


def _skip_display(bits: _Bits) -> None:
    if bits.number():  # overscan
        bits.number()
    if bits.number():  # video signal
        bits.number(4)
        if bits.number():  # primaries, transfer, matrix
            bits.number(24)
    if bits.number():  # where chroma lies
        bits.skip_codes(2)
    if bits.number():  # timing
        bits.number(65)


def _reorder(bits: _Bits) -> int:
    bits.number()
    bits.skip_codes(4)  # largest picture, block and motion vectors
    return bits.code()


def _skip_buffer(bits: _Bits) -> None:
    """Pass over the parameters of a decoder's buffer (ITU-T H.264, sec. E.1.2)."""
    count = bits.code() + 1
    bits.number(8)
    for _ in range(count):
        bits.skip_codes(2)
        bits.number()
    bits.number(20)
