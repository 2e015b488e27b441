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
    # names of files may hold bytes that are no UTF-8
    text = f"{seed}/{epoch}/{name}".encode(ENCODING, ERRORS)
    key = int.from_bytes(blake2b(text, digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))
