"""Figures of a sequence of tasks, from AUROC after each.

R is the matrix of test AUROC, shape (T+1, K): row 0 before the first task (zero-shot),
row t after task t. τ(k) is the task, counted from 1, that introduced finding k, and
S_t = {k: τ(k) ≤ t}. Undefined cells are NaN and left out of every mean; a finding
without a figure after the last task is left out of all.

Every figure is a weighted sum of cells of R and of the bounds, once it is known where
each maximum lies. So its value and its interval follow from the same weights.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .intervals import Z95, PatientInfluence, logit_interval, patient_variance

__all__ = ["FORMULAS", "seen_findings", "summarise", "summary_intervals"]

Floats = npt.NDArray[np.float64]
#: Row, finding and factor of a cell.
_Cell = tuple[int, int, float]

#: How each figure is defined; libraries differ, so reports print this.
FORMULAS: Mapping[str, str] = {
    "zero_shot_auroc": "mean_k R[0,k]",
    "final_auroc": "A_T = mean_{k in S_T} R[T,k]",
    "final_auroc_all": "mean_k R[T,k]",
    "final_auroc_positive": "mean_k of the AUROC of s+ alone after task T",
    "average_incremental_auroc": "mean_t A_t, A_t = mean_{k in S_t} R[t,k]",
    "backward_transfer": "mean_{tau(k)<T} (R[T,k] - R[tau(k),k])",
    "forgetting": "mean_{tau(k)<T} (max_{tau(k)<=t<T} R[t,k] - R[T,k])",
    "forward_transfer": "mean_{tau(k)>1} (R[tau(k)-1,k] - R[0,k])",
    "joint_gap": "A_joint - A_T",
    "sequence_gap": "A_joint-observed - A_T",
    "zero_shot_retention": "mean_t mean_{k not in S_t} (R[t,k] - R[0,k])",
}
#: AUROCs, whose intervals stay within [0, 1]; the others are differences of AUROCs.
_LEVELS = {name for name in FORMULAS if name.endswith(("_auroc", "_auroc_all"))}


def seen_findings(
    introduced: npt.NDArray[np.int64], task: int
) -> npt.NDArray[np.bool_]:
    """S_t as a mask, shape (K,).

    >>> seen_findings(np.array([2, 1, 3]), 2).tolist()
    [True, True, False]
    """
    seen: npt.NDArray[np.bool_] = introduced <= task
    return seen


def summarise(
    auroc: Floats,
    introduced: npt.NDArray[np.int64],
    joint: Floats | None = None,
    joint_observed: Floats | None = None,
) -> dict[str, float]:
    """All figures of `FORMULAS` that follow from R.

    Args:
        auroc: R, shape (T+1, K).
        introduced: τ, shape (K,), from 1.
        joint: AUROC of joint training on all labels, shape (K,).
        joint_observed: AUROC of joint training on the labels that the tasks show,
            shape (K,).

    Returns:
        Name -> value; NaN where a mean has nothing to be over.

    >>> R = np.array([[0.5, 0.5], [0.9, 0.6], [0.8, 0.7]])
    >>> figures = summarise(R, np.array([1, 2]))
    >>> round(figures["forgetting"], 3), round(figures["forward_transfer"], 3)
    (0.1, 0.1)
    """
    cells = _with_bounds(auroc, joint, joint_observed)
    return {
        name: _value(cells, weights)
        for name, weights in _all_weights(cells, introduced).items()
    }


def summary_intervals(
    tasks: Sequence[PatientInfluence],
    introduced: npt.NDArray[np.int64],
    joint: PatientInfluence | None = None,
    joint_observed: PatientInfluence | None = None,
) -> dict[str, tuple[float, float]]:
    """95 % intervals over test patients of all figures that `summarise` gives.

    They say how far a figure would move with other test patients, the trained models
    being what they are (see `patient_variance`). In forgetting, the best task of
    each finding is taken as given. Other seeds and splits come on top.

    Args:
        tasks: Before the first task and after each, T+1 in all.
        introduced: τ, shape (K,), from 1.
        joint: AUROC of joint training on all labels.
        joint_observed: AUROC of joint training on the labels that the tasks show.
    """
    bounds = (joint, joint_observed)
    cells = _with_bounds(
        np.stack([one.auroc for one in tasks]),
        *(None if bound is None else bound.auroc for bound in bounds),
    )
    # A bound that is not there has no weight anywhere; any row stands in for it.
    rows = [*tasks, *(bound or tasks[0] for bound in bounds)]
    return {
        name: _interval(name, _value(cells, weights), patient_variance(rows, weights))
        for name, weights in _all_weights(cells, introduced).items()
    }


def _interval(name: str, value: float, variance: float) -> tuple[float, float]:
    if np.isnan(value):
        return float("nan"), float("nan")
    if name in _LEVELS and 0 < value < 1:
        return logit_interval(value, variance)
    half = Z95 * float(np.sqrt(variance))
    return value - half, value + half


def _with_bounds(
    auroc: Floats, joint: Floats | None, joint_observed: Floats | None
) -> Floats:
    """R with a row for each bound below it, shape (T+3, K)."""
    unknown = np.full(auroc.shape[1], np.nan)
    bounds = [unknown if row is None else row for row in (joint, joint_observed)]
    return np.vstack([auroc, *bounds])


def _value(cells: Floats, weights: Floats) -> float:
    """The weighted sum; NaN if nothing has a weight."""
    if not weights.any():
        return float("nan")
    return float((np.where(weights != 0, cells, 0) * weights).sum())


def _all_weights(cells: Floats, introduced: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """Weights of the cells in each figure, shape (T+3, K); 0 everywhere: undefined."""
    last = len(cells) - 3
    each = [
        (k, int(tau))
        for k, tau in enumerate(introduced)
        if not np.isnan(cells[last, k])
    ]
    joint, observed = last + 1, last + 2

    def mean(terms: Iterable[Sequence[_Cell]]) -> Floats:
        """Weights of the mean of those terms of which every cell is known."""
        known = [
            term
            for term in terms
            if not any(np.isnan(cells[row, k]) for row, k, _ in term)
        ]
        weights = np.zeros_like(cells)
        for row, k, factor in (cell for term in known for cell in term):
            weights[row, k] += factor / len(known)
        return weights

    def mean_of_tasks(weights: Sequence[Floats]) -> Floats:
        defined = [one for one in weights if one.any()]
        return np.mean(defined, axis=0) if defined else np.zeros_like(cells)

    def best(k: int, tau: int) -> int:
        """The task after which the finding did best, before the last."""
        row = cells[tau:last, k]
        return tau + (0 if np.isnan(row).all() else int(np.nanargmax(row)))

    steps = range(1, last + 1)
    return {
        "zero_shot_auroc": mean([(0, k, 1)] for k in range(cells.shape[1])),
        "final_auroc": mean(
            [(last, k, 1)] for k, tau in each if tau <= last or not last
        ),
        "final_auroc_all": mean([(last, k, 1)] for k, _ in each),
        "average_incremental_auroc": mean_of_tasks(
            [mean([(t, k, 1)] for k, tau in each if tau <= t) for t in steps]
        ),
        "backward_transfer": mean(
            [(last, k, 1), (tau, k, -1)] for k, tau in each if tau < last
        ),
        "forgetting": mean(
            [(best(k, tau), k, 1), (last, k, -1)] for k, tau in each if tau < last
        ),
        "forward_transfer": mean(
            [(tau - 1, k, 1), (0, k, -1)] for k, tau in each if 1 < tau <= last
        ),
        "joint_gap": mean([(joint, k, 1), (last, k, -1)] for k, _ in each),
        "sequence_gap": mean([(observed, k, 1), (last, k, -1)] for k, _ in each),
        "zero_shot_retention": mean_of_tasks(
            [mean([(t, k, 1), (0, k, -1)] for k, tau in each if tau > t) for t in steps]
        ),
    }
