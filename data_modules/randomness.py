"""Random numbers that depend on a name, never on what was drawn before."""

from hashlib import blake2b

import numpy as np


def keyed_generator(seed: int, epoch: int, name: str) -> np.random.Generator:
    """A generator that is a function of its arguments alone.

    Philox is a counter under a 128-bit key (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011);
    the key is a hash of the arguments. So neither the order of the clips, nor the number of workers and ranks, nor
    a resume changes what is drawn for a clip in an epoch.
    """
    digest = blake2b(f"{seed}/{epoch}/{name}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
