"""Read the same field of many slice headers at once.

Exp-Golomb codes have a length of their own in each slice, so each slice has its own place. All slices are columns of
arrays: 64 bits that are next to be read, and 64 that follow.

    slice 0   1 00101 0011 ...     number(1)  then  skip_code()  leaves  0011 ...
    slice 1   1 1 0111 0000 ...                                          0111 ...
"""

from functools import cache

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from data_modules.video.headers.nal_units import STUFFED, plain

# Bytes of a slice that are kept: its number stands in the first 18, and a few may be stuffed in between.
HEAD_BYTES = 24
# Bits that tell how long an Exp-Golomb code is: no field that is passed over has a longer half.
_CODE = 16


class SliceHeads:
    """Read the same field of all slice headers (ITU-T H.264, sec. 7.3.1 and 9.1; H.265, sec. 7.3.1.1 and 9.2).

    Args:
        heads: the first bytes of each slice, from its unit's header on.
        skip: bytes of that header.

    Attributes:
        first: the first byte of each.
        second: the second byte.
    """

    def __init__(self, heads: list[bytes], skip: int) -> None:
        joined = b"".join(heads)
        # Few slices are stuffed or short, so one search over all of them is cheaper than a look at each.
        if STUFFED in joined or len(joined) < HEAD_BYTES * len(heads):
            joined = b"".join([_unstuffed(head, skip) for head in heads])
        rows = np.frombuffer(joined, np.uint8).reshape(-1, HEAD_BYTES)
        self.first = rows[:, 0]
        self.second = rows[:, 1]
        both = rows[:, skip : skip + 16].copy().view(">u8").astype(np.uint64)
        self._bits = both[:, 0]
        self._further = both[:, 1]
        self._place: UInt8[np.ndarray, " p"] | int = 0

    def refill(self) -> None:
        """Have 64 bits ahead again, where 1 to 63 were read."""
        self._bits |= self._further >> (64 - self._place)

    def number(self, count: int) -> Int64[np.ndarray, " p"]:
        """Return the next ``count`` bits of each slice as a number, 1 or more bits."""
        found = self._bits >> (64 - count)
        self.skip(count)
        return found.view(np.int64)

    def ahead(self) -> Bool[np.ndarray, " p"]:
        """Tell of each slice whether its next bit is set, without passing over it."""
        return self._bits >> 63 == 1

    def skip(self, count: UInt8[np.ndarray, " p"] | int) -> None:
        """Pass over so many bits."""
        self._bits = self._bits << count
        self._place = self._place + count

    def skip_code(self, of: Bool[np.ndarray, " p"] | bool = True) -> None:
        """Pass over an Exp-Golomb code of some slices."""
        self.skip(_code_lengths()[self._bits >> (64 - _CODE)] * of)


def _unstuffed(head: bytes, skip: int) -> bytes:
    """Return the head without stuffed bytes, and with zeros up to its full length."""
    return (head[:skip] + plain(head[skip:])).ljust(HEAD_BYTES, b"\0")


@cache
def _code_lengths() -> UInt8[np.ndarray, " n"]:
    """Return the bits of an Exp-Golomb code by the next 16: some zeros, a one and as many bits behind it.

    Example: 00101... begins with a code of 5 bits.
    """
    zeros = _CODE - np.frexp(np.arange(1 << _CODE))[1]
    return (2 * zeros + 1).astype(np.uint8)
