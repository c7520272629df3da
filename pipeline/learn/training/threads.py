"""How many threads torch computes with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..problem.step_size import is_large

__all__ = ["few_threads", "one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one torch thread.

    For work that takes turns with numpy's products: torch's threads go on spinning
    after each operation, and numpy's, which have as many threads, then wait for cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def few_threads(batch_size: int, shape: tuple[int, ...]) -> Iterator[None]:
    """Compute in one thread where a step is too small to be shared.

    Threads that share a small product wait for each other longer than they work, and
    on a busy machine for milliseconds: a run that takes 2 s alone took 70 s.

    Args:
        batch_size: B.
        shape: Shape of the embeddings, (N, D).
    """
    if is_large(batch_size, shape):
        yield
    else:
        with one_thread():
            yield
