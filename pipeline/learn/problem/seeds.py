"""One seed, a stream of random numbers for each purpose.

Initial weights, batches and parts of patients were once drawn from the same numbers, so
that they were not independent of each other. Now each purpose has a stream of its own:

| stream | what is drawn from it |
|---|---|
| ``weights`` | initial weights of adaptors |
| ``batches`` | the order of images in each pass |
| ``parts`` | the division of patients among tasks |
| ``replay`` | the stored embeddings that are kept and used again |
| ``fisher`` | the rows from which ``ewc`` estimates |
| ``shots`` | the patients of a data-efficiency curve |
| ``folds`` | the folds by which logistic regression chooses its strength there |

Two draw from the seed itself, as always: the bootstrap of intervals, and the random
features of ``analytic``, which states that were written before must find again.
"""

import zlib
from typing import Literal

import numpy as np

__all__ = ["Stream", "generator", "stream_seed"]

Stream = Literal["weights", "batches", "parts", "replay", "fisher", "shots", "folds"]


def _sequence(seed: int, stream: Stream) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(stream.encode()),))


def generator(seed: int, stream: Stream) -> np.random.Generator:
    """A generator whose numbers have nothing to do with those of other streams.

    Args:
        seed: Seed of the run, at least 0.
        stream: What for.

    >>> one, other = generator(0, "parts"), generator(0, "batches")
    >>> bool(one.random() == other.random())
    False
    >>> bool(generator(3, "parts").random() == generator(3, "parts").random())
    True
    """
    return np.random.Generator(np.random.PCG64(_sequence(seed, stream)))


def stream_seed(seed: int, stream: Stream) -> int:
    """The same as a number below 2³², for generators of torch.

    >>> stream_seed(0, "weights") == stream_seed(0, "fisher")
    False
    """
    return int(_sequence(seed, stream).generate_state(1)[0])
