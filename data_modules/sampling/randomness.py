"""Random numbers that depend on a name, never on what was drawn before."""

import os
from hashlib import blake2b

import numpy as np

from data_modules.io.names import ENCODING, ERRORS

_EVERYTHING = "PL_GLOBAL_SEED"  # where Lightning's seed_everything leaves its seed for all processes of a run


def chosen_seed(seed: int | None) -> int:
    """``seed``; where it is None, that of ``seed_everything`` in this process; 0 where nobody called that."""
    return int(os.environ.get(_EVERYTHING, "0")) if seed is None else seed


def keyed_generator(seed: int, epoch: int, name: str) -> np.random.Generator:
    """A generator that is a function of its arguments alone.

    Philox is a counter under a 128-bit key (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011);
    the key is a hash of the arguments. So neither the order of the clips, nor the number of workers and ranks, nor
    a resume changes what is drawn for a clip in an epoch.
    """
    digest = blake2b(
        f"{seed}/{epoch}/{name}".encode(ENCODING, ERRORS), digest_size=16
    ).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
