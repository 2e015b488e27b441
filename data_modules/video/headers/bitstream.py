"""Tell from the first bytes of a compressed packet how many frames it shows."""

_VOP = b"\0\0\1\xb6"  # the start code of a picture of MPEG-4 part 2
# Start code, type, time and stuffing take up to 10 bytes: a picture of that size
# holds no macroblock, so it only repeats the one before it.
_LARGEST_EMPTY_VOP = 10
_B_VOP = 2


def frames_shown(codec: str, packet: bytes) -> int | None:
    """Return 0 or 1 by the packet's own header, or None where only decoding can tell.

    VP8 and VP9 may store pictures that are only referred to. MPEG-4 part 2 may pack two pictures into one packet,
    show them in an order that its packets need not tell, and repeat a picture by an empty one: such streams are left
    to the decoder. Packets of any other codec hold what is shown at one time.

    Args:
        codec: FFmpeg's name.
        packet: all bytes of one packet, at least one.
    """
    if codec == "vp8":
        return packet[0] >> 4 & 1  # show_frame: RFC 6386, sec. 9.1
    if codec == "vp9":
        return _shown_by_vp9(packet)
    if codec == "mpeg4":
        return _shown_by_mpeg4(packet)
    return 1


def _shown_by_vp9(packet: bytes) -> int:
    """Read show_frame (VP9 bitstream specification 0.6, sec. 6.2 and annex B)."""
    # A superframe packs hidden frames together with the one frame that is shown.
    if packet[-1] & 0xE0 == 0xC0:
        return 1
    profile = packet[0] >> 4 & 3
    # Profile 3 has a reserved bit more, which moves what follows by one.
    header = packet[0] << (profile == 3)
    return int(bool(header & 0b1010))  # show_existing_frame, show_frame


def _shown_by_mpeg4(packet: bytes) -> int | None:
    """Return 1 for a packet with a single, not empty picture that is no B picture (ISO 14496-2, sec. 6.2.5)."""
    start = packet.find(_VOP)
    if start < 0 or packet.find(_VOP, start + 4) >= 0:
        return None
    if len(packet) - start <= _LARGEST_EMPTY_VOP:
        return None
    return None if packet[start + 4] >> 6 == _B_VOP else 1
