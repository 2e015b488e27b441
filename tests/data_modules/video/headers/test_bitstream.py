"""Headers written bit by bit, as the specifications print them."""

import pytest

from data_modules.video.headers.bitstream import frames_shown


def packed(*fields: tuple[int, int]) -> bytes:
    """(value, bits) one after the other, filled up with zeros."""
    bits = "".join(format(value, f"0{count}b") for value, count in fields)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


@pytest.mark.parametrize("show", [0, 1])
@pytest.mark.parametrize("key", [0, 1])
def test_vp8(show: int, key: int):
    first_partition, version = (
        5000,
        2,
    )  # frame tag, 24 bits, least significant first: RFC 6386, sec. 9.1
    tag = key | version << 1 | show << 3 + 1 | first_partition << 5
    assert frames_shown("vp8", tag.to_bytes(3, "little") + bytes(9)) == show


@pytest.mark.parametrize("profile", range(4))
@pytest.mark.parametrize(("existing", "show"), [(0, 0), (0, 1), (1, 0)])
def test_vp9(profile: int, existing: int, show: int):
    reserved = [(0, 1)] if profile == 3 else []
    header = packed(
        (2, 2),
        (profile & 1, 1),
        (profile >> 1, 1),
        *reserved,
        (existing, 1),
        (1, 1),
        (show, 1),
        (0, 1),
    )
    assert frames_shown("vp9", header + bytes(9)) == (existing or show)
    assert (
        frames_shown("vp9", header + bytes(9) + b"\xc9") == 1
    )  # the marker that ends a superframe


def vop(kind: int, size: int = 60) -> bytes:
    return b"\0\0\1\xb6" + packed((kind, 2), (1, 1)) + b"\x55" * (size - 5)


@pytest.mark.parametrize(
    ("packet", "count"),
    [
        (vop(0), 1),
        (b"\0\0\1\xb2XviD0046" + vop(1), 1),
        (vop(3), 1),
        (vop(2), None),  # shown before what was stored before it
        (vop(1) + vop(2), None),  # two in one
        (vop(1, 7), None),  # too small for a picture: repeats one
        (b"\x55" * 40, None),
    ],
)
def test_mpeg4(packet: bytes, count: int | None):
    assert frames_shown("mpeg4", packet) == count


def test_other_codecs_show_one_frame_a_packet():
    assert frames_shown("av1", b"\x12") == frames_shown("mjpeg", b"\xff\xd8") == 1
