"""Figures of a sequence of tasks, from AUROC after each.

R is the matrix of test AUROC, shape (T+1, K): row 0 before the first task (zero-shot),
row t after task t. τ(k) is the task, counted from 1, that introduced finding k, and
S_t = {k: τ(k) ≤ t}. Undefined cells are NaN and left out of every mean.
"""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

__all__ = ["FORMULAS", "summarise"]

Floats = npt.NDArray[np.float64]

#: How each figure is defined; libraries differ, so reports print this.
FORMULAS: Mapping[str, str] = {
    "zero_shot_auroc": "mean_k R[0,k]",
    "final_auroc": "A_T = mean_{k in S_T} R[T,k]",
    "final_auroc_all": "mean_k R[T,k]",
    "average_incremental_auroc": "mean_t A_t, A_t = mean_{k in S_t} R[t,k]",
    "backward_transfer": "mean_{tau(k)<T} (R[T,k] - R[tau(k),k])",
    "forgetting": "mean_{tau(k)<T} (max_{tau(k)<=t<T} R[t,k] - R[T,k])",
    "forward_transfer": "mean_{tau(k)>1} (R[tau(k)-1,k] - R[0,k])",
    "joint_gap": "A_joint - A_T",
    "sequence_gap": "A_joint-observed - A_T",
    "zero_shot_retention": "mean_t mean_{k not in S_t} (R[t,k] - R[0,k])",
}


def _mean(values: Iterable[float]) -> float:
    """Mean without NaN; NaN if nothing is left."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def summarise(
    auroc: Floats,
    introduced: npt.NDArray[np.int64],
    joint: Floats | None = None,
    joint_observed: Floats | None = None,
) -> dict[str, float]:
    """All figures of `FORMULAS`.

    Args:
        auroc: R, shape (T+1, K).
        introduced: τ, shape (K,), from 1.
        joint: AUROC of joint training on all labels, shape (K,).
        joint_observed: Of joint training on the labels that the tasks show, shape (K,).

    Returns:
        Name -> value; NaN where a mean has nothing to be over.

    >>> R = np.array([[0.5, 0.5], [0.9, 0.6], [0.8, 0.7]])
    >>> figures = summarise(R, np.array([1, 2]))
    >>> round(figures["forgetting"], 3), round(figures["forward_transfer"], 3)
    (0.1, 0.1)
    """
    last = len(auroc) - 1
    each = [
        (k, int(tau))
        for k, tau in enumerate(introduced)
        if not np.isnan(auroc[last, k])
    ]
    final = _mean(auroc[last, k] for k, _ in each)
    per_task = [
        _mean(auroc[t, k] for k, tau in each if tau <= t) for t in range(1, last + 1)
    ]
    return {
        "zero_shot_auroc": _mean(auroc[0]),
        "final_auroc": _mean(
            auroc[last, k] for k, tau in each if tau <= last or not last
        ),
        "final_auroc_all": final,
        "average_incremental_auroc": _mean(per_task),
        "backward_transfer": _mean(
            auroc[last, k] - auroc[tau, k] for k, tau in each if tau < last
        ),
        "forgetting": _mean(
            auroc[tau:last, k].max() - auroc[last, k] for k, tau in each if tau < last
        ),
        "forward_transfer": _mean(
            auroc[tau - 1, k] - auroc[0, k] for k, tau in each if 1 < tau <= last
        ),
        "joint_gap": _gap(joint, final),
        "sequence_gap": _gap(joint_observed, final),
        "zero_shot_retention": _mean(
            _mean(auroc[t, k] - auroc[0, k] for k, tau in each if tau > t)
            for t in range(1, last + 1)
        ),
    }


def _gap(bound: Floats | None, final: float) -> float:
    return float("nan") if bound is None else _mean(bound) - final
