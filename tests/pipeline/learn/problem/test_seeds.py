"""Each purpose has random numbers of its own."""

from typing import get_args

import numpy as np

from retune.pipeline.learn.problem.seeds import Stream, generator, stream_seed


def test_no_two_streams_and_no_two_seeds_give_the_same_numbers() -> None:
    drawn = {
        (seed, stream): tuple(generator(seed, stream).integers(0, 2**62, 4))
        for seed in (0, 1, 27)
        for stream in get_args(Stream)
    }
    assert len(set(drawn.values())) == len(drawn)
    plain = tuple(np.random.default_rng(0).integers(0, 2**62, 4))
    assert plain not in drawn.values()


def test_numbers_are_the_same_on_every_machine() -> None:
    assert stream_seed(0, "weights") == 3760085775
    assert generator(0, "parts").permutation(6).tolist() == [5, 2, 0, 4, 3, 1]
