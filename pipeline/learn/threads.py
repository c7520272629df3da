"""How many threads torch computes with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["few_threads", "one_thread"]

#: Forward and backward through an mlp D → 2D → D cost 24·B·D² operations; one core does
#: this many in some 10 ms.
_SHARED_STEP_OPERATIONS = 500_000_000


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
        shape: Of the embeddings, (N, D).
    """
    n_images, dim = shape[0], shape[1]
    step_operations = 24 * min(batch_size, n_images) * dim * dim
    if step_operations < _SHARED_STEP_OPERATIONS:
        with one_thread():
            yield
    else:
        yield
