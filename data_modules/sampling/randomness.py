"""Random numbers that depend on a name, never on what was drawn before."""

import os
from hashlib import blake2b

import numpy as np

from data_modules.io.names import ENCODING, ERRORS

# where Lightning's seed_everything leaves its seed for all processes of a run
_EVERYTHING = "PL_GLOBAL_SEED"


def chosen_seed(seed: int | None) -> int:
    """Return ``seed``, or that of ``seed_everything`` where it is None.

    Where nobody called ``seed_everything`` in this process, it is 0.
    """
    if seed is not None:
        return seed
    return int(os.environ.get(_EVERYTHING, "0"))


def keyed_generator(seed: int, epoch: int, name: str) -> np.random.Generator:
    """Return a generator that is a function of its arguments alone.

    Philox is a counter under a 128-bit key (Salmon et al., "Parallel random numbers: as
    easy as 1, 2, 3", SC 2011); the key is a hash of the arguments. So neither the order
    of the clips, nor the number of workers and ranks, nor a resume changes what is
    drawn for a clip in an epoch.

    >>> keyed_generator(0, 3, "a.mp4").integers(100, size=3)
    array([33, 30, 71])
    >>> keyed_generator(0, 3, "a.mp4").integers(100, size=3)
    array([33, 30, 71])
    """
    key = int.from_bytes(_hash(f"{seed}/{epoch}/{name}"), "little")
    return np.random.Generator(np.random.Philox(key=key))


def keyed_rank(seed: int, name: str) -> bytes:
    """Return 16 bytes that put names in an order which the seed alone decides.

    No name moves when others come or go, and the order is the same on every machine.

    >>> sorted(["a.mp4", "b.mp4", "c.mp4"], key=lambda name: keyed_rank(0, name))
    ['b.mp4', 'a.mp4', 'c.mp4']
    """
    return _hash(f"rank {seed}/{name}")


def _hash(text: str) -> bytes:
    # names of files may hold bytes that are no UTF-8
    return blake2b(text.encode(ENCODING, ERRORS), digest_size=16).digest()
