"""How many frames a compressed packet shows, where its first bytes tell."""

_VOP = b"\0\0\1\xb6"  # starts a picture of MPEG-4 part 2
_LARGEST_EMPTY_VOP = (
    10  # bytes; start code, type, time and stuffing, but not one macroblock
)
_B_VOP = 2


def frames_shown(codec: str, packet: bytes) -> int | None:
    """0 or 1 by the packet's own header; None where only decoding can tell.

    VP8 and VP9 may store pictures that are only referred to. MPEG-4 part 2 may pack two pictures into one packet,
    shows them in an order that its packets need not tell, and may repeat a picture by an empty one: such streams are
    left to the decoder. Packets of any other codec hold what is shown at one time.
    """
    if codec == "vp8":
        return packet[0] >> 4 & 1  # RFC 6386, sec. 9.1
    if codec == "vp9":
        return _shown_by_vp9(packet)
    if codec == "mpeg4":
        return _shown_by_mpeg4(packet)
    return 1


def _shown_by_vp9(packet: bytes) -> int:
    """VP9 bitstream specification 0.6, sec. 6.2 and annex B."""
    if (
        packet[-1] & 0xE0 == 0xC0
    ):  # a superframe: hidden frames and the one that is shown
        return 1
    header = packet[0] << (packet[0] >> 4 & 3 == 3)  # profile 3 has one more bit
    return int(bool(header & 0b1010))  # show_existing_frame, show_frame


def _shown_by_mpeg4(packet: bytes) -> int | None:
    """ISO 14496-2, sec. 6.2.5."""
    start = packet.find(_VOP)
    single = start >= 0 and packet.find(_VOP, start + 4) < 0
    if (
        single
        and len(packet) - start > _LARGEST_EMPTY_VOP
        and packet[start + 4] >> 6 != _B_VOP
    ):
        return 1
    return None
