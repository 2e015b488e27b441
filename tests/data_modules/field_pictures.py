"""H.264 streams whose pictures are coded as two fields each, or by turns: no encoder at hand writes them.

Every macroblock is stored as its samples (I_PCM), so that a few lines write a stream; see ITU-T H.264, sec. 7.3.
"""

from collections.abc import Callable

SIZE = (64, 64)


def code(value: int) -> str:
    """An unsigned Exp-Golomb code."""
    bits = format(value + 1, "b")
    return "0" * (len(bits) - 1) + bits


def unit(header: int, bits: str) -> bytes:
    """With a start code, the stop bit, and bytes that keep start codes from appearing."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    written, zeros = bytearray([0, 0, 0, 1, header]), 0
    for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
        if zeros >= 2 and byte <= 3:
            written.append(3)
            zeros = 0
        written.append(byte)
        zeros = 0 if byte else zeros + 1
    return bytes(written)


def parameter_sets() -> bytes:
    """Main profile, fields allowed, 4 bits of frame number and 8 of picture order; two pictures may be reordered."""
    usability = (
        "1"
        + "0000"
        + "0000"
        + "1"
        + "1"
        + code(0) * 2
        + code(10) * 2
        + code(1)
        + code(2)
    )
    sizes = code(3) + code(1) + "0" + "0" + "1" + "0"
    sequence = (
        format(77, "08b")
        + "0" * 8
        + format(30, "08b")
        + code(0) * 3
        + code(4)
        + code(2)
        + "0"
        + sizes
        + usability
    )
    picture = code(0) * 2 + "00" + code(0) * 3 + "0" + "00" + code(0) * 3 + "100"
    return unit(0x67, sequence) + unit(0x68, picture)


def slice_of(
    level: int, order: int, frame: int, *, field: str, referred: bool, first: bool
) -> bytes:
    """One field or frame of one level of grey; ``field`` holds the bits that say which."""
    bits = code(0) + code(7) + code(0) + format(frame % 16, "04b") + field
    bits += (code(0) if first else "") + format(order % 256, "08b")
    bits += ("00" if first else "0") if referred else ""
    bits += code(0) + code(1)
    for _ in range(16 if field == "0" else 8):
        bits += code(25)
        bits += "0" * (-len(bits) % 8)
        bits += format(level, "08b") * 256 + format(128, "08b") * 128
    return unit((96 if referred else 0) | (5 if first else 1), bits)


def stream(count: int, in_fields: Callable[[int], bool]) -> bytes:
    """Picture i is grey at 20 + 8 i; every second one is shown before the picture that is stored in front of it.

    Args:
        count: of pictures, odd.
        in_fields: whether picture i is coded as two fields.
    """
    written, frame = parameter_sets(), 0
    for i in [
        0,
        *(j for after in range(1, count - 1, 2) for j in (after + 1, after)),
    ]:
        fields = ["10", "11"] if in_fields(i) else ["0"]
        for number, field in enumerate(fields):
            first = i == 0 and number == 0
            written += slice_of(
                20 + 8 * i,
                2 * i + number,
                frame,
                field=field,
                referred=i % 2 == 0,
                first=first,
            )
        frame += i % 2 == 0
    return written
