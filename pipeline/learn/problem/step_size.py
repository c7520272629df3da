"""How much a training step computes, and what that is large enough for."""

__all__ = ["is_large"]

#: One core does about this many operations in float32 in 5 ms.
_LARGE = 500_000_000


def is_large(batch_size: int, shape: tuple[int, ...]) -> bool:
    """Whether a step mostly multiplies matrices.

    Forward and backward through an mlp D → 2D → D cost 24·B·D² operations. Smaller
    steps are not worth sharing among threads, and faster arithmetic does not make them
    shorter.

    Args:
        batch_size: Images in a step, at most; B is no more than N.
        shape: Shape of the embeddings, (N, D).

    >>> is_large(256, (20_000, 128)), is_large(6144, (20_000, 128))
    (False, True)
    """
    n_images, dim = shape
    return 24 * min(batch_size, n_images) * dim * dim >= _LARGE
