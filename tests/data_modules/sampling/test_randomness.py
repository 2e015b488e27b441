import numpy as np
import pytest

from data_modules.sampling.randomness import keyed_generator


def test_same_key_same_numbers_whatever_was_drawn_before():
    first = keyed_generator(3, 5, "clip").random(8)
    keyed_generator(3, 5, "other").random(100)
    np.random.default_rng(0).random(3)
    assert np.array_equal(keyed_generator(3, 5, "clip").random(8), first)


@pytest.mark.parametrize(
    "key",
    [
        (4, 5, "clip"),
        (3, 6, "clip"),
        (3, 5, "clip2"),
        (35, 0, "clip"),
        (3, 50, "clip"),
    ],
)
def test_every_part_of_the_key_matters(key: tuple[int, int, str]):
    assert not np.array_equal(
        keyed_generator(*key).random(8), keyed_generator(3, 5, "clip").random(8)
    )


def test_keys_give_uniform_numbers():
    draws = np.array(
        [keyed_generator(0, 0, str(index)).random() for index in range(4000)]
    )
    deviation = np.abs(np.sort(draws) - (np.arange(4000) + 0.5) / 4000).max()
    assert deviation < 1.63 / np.sqrt(4000)  # Kolmogorov-Smirnov at 1 %
