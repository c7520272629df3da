"""Which findings enter a mean: those with enough test images of both classes."""

import numpy as np
import numpy.typing as npt

from retune.store.plural import counted

__all__ = ["MIN_POSITIVES", "left_out_note", "sufficient_findings"]

Counts = npt.NDArray[np.integer] | npt.NDArray[np.floating]
#: Positives, and negatives, that a finding needs by default. An AUROC of one positive
#: image says next to nothing, and a mean weighs it like any other.
MIN_POSITIVES = 5


def sufficient_findings(
    n_positive: Counts,
    n_observed: Counts,
    min_positives: int,
) -> npt.NDArray[np.bool_]:
    """Findings with at least so many positives and as many negatives, shape (K,).

    Where no finding has them, all findings with both classes: a mean of uncertain
    figures with a wide interval says more than none.

    Args:
        n_positive: Shape (K,).
        n_observed: Positives and negatives, shape (K,).
        min_positives: At least; 0 and 1 ask for both classes only.

    >>> counts = np.array([0, 3, 5, 40]), np.array([50, 50, 50, 44])
    >>> sufficient_findings(*counts, 5).tolist()
    [False, False, True, False]
    >>> sufficient_findings(*counts, 50).tolist()
    [False, True, True, True]
    """
    fewest = np.minimum(n_positive, np.asarray(n_observed) - n_positive)
    both: npt.NDArray[np.bool_] = fewest >= 1
    enough: npt.NDArray[np.bool_] = fewest >= max(1, min_positives)
    return enough if enough.any() else both


def left_out_note(
    n_positive: Counts,
    n_observed: Counts,
    min_positives: int,
) -> str:
    """What a reader must know of a mean; empty if every finding with a figure counts.

    >>> left_out_note(np.array([3, 5]), np.array([50, 50]), 5)
    'means are over 1 of 2 findings; 1 has fewer than 5 positives or negatives'
    """
    fewest = np.minimum(n_positive, np.asarray(n_observed) - n_positive)
    n_both = int((fewest >= 1).sum())
    n_enough = int((fewest >= max(1, min_positives)).sum())
    if n_enough == n_both:
        return ""
    few = f"fewer than {min_positives} positives or negatives"
    if not n_enough:
        return f"every finding has {few}: means are over all {n_both} with both classes"
    n_left_out = n_both - n_enough
    has = "has" if n_left_out == 1 else "have"
    return (
        f"means are over {n_enough} of {counted(n_both, 'finding')}; {n_left_out} "
        f"{has} {few}"
    )
