"""The order in which a pass visits rows."""

import numpy as np
import numpy.typing as npt

from ..problem.config import Shuffle

__all__ = ["SHUFFLES", "shuffled"]

SHUFFLES = ("rows", "blocks")
#: Neighbouring rows that are read together: a megabyte of 512 float16 values each.
_BLOCK = 1_024
#: Blocks whose rows are mixed with one another.
_WINDOW = 64


def shuffled(
    random: np.random.Generator, n_rows: int, shuffle: Shuffle
) -> npt.NDArray[np.int64]:
    """Each of n rows once, in random order.

    ``rows`` draws all orders alike. ``blocks`` draws an order of blocks of neighbouring
    rows and mixes the rows of every 64 blocks, so that vectors that lie in a file
    are read in pieces that a disk is good at; up to 65,536 rows both mix all rows.

    Args:
        random: Generator of the order.
        n_rows: n.
        shuffle: ``rows`` or ``blocks``.

    Returns:
        A permutation of 0..n-1, shape (n,).

    >>> random = np.random.default_rng(0)
    >>> sorted(shuffled(random, 5, "blocks").tolist())
    [0, 1, 2, 3, 4]
    """
    if shuffle == "rows":
        return random.permutation(n_rows)
    starts = random.permutation(np.arange(0, n_rows, _BLOCK))
    windows = []
    for first in range(0, len(starts), _WINDOW):
        blocks = [
            np.arange(start, min(start + _BLOCK, n_rows))
            for start in starts[first : first + _WINDOW]
        ]
        windows.append(random.permutation(np.concatenate(blocks)))
    return np.concatenate(windows) if windows else np.empty(0, dtype=np.int64)
