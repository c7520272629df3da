"""Logistic regression of some training images, its strength chosen by their folds."""

import numpy as np
import numpy.typing as npt

from ..problem.seeds import generator
from ..stats.metrics import auroc
from .logistic import fit_columns, linear_scores, standardise

__all__ = ["STRENGTHS", "logistic_regression"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
#: Candidates for C, as in the bound of `train`.
STRENGTHS = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
_FOLDS = 5
#: With more images, patients who have about so many choose C, with one fold of theirs.
_MANY = 20_000


def logistic_regression(
    embedding: npt.NDArray[np.floating],
    rows: Rows,
    label: Mask,
    observed: Mask,
    patient: Rows,
    seed: int,
) -> tuple[Floats, Floats, Mask]:
    """One logistic regression for each finding, on standardised embeddings.

    C is the one with the best mean AUROC over five folds that share no patient, dealt
    out so that each has its part of the patients with a positive image.

    Args:
        embedding: Embedding of N images, shape (N, D).
        rows: Those to learn from, shape (n,).
        label: Shape (n, K).
        observed: Cells that count, shape (n, K).
        patient: Number of each image's patient, shape (n,).
        seed: Seed of the folds.

    Returns:
        Weights, shape (D, K), intercepts, shape (K,), and whether a finding had images
        of both classes, shape (K,); the others have weights of 0.
    """
    n_findings = label.shape[1]
    weights = np.zeros((embedding.shape[1], n_findings))
    intercepts = np.zeros(n_findings)
    usable: Mask = np.logical_and(
        (observed & label).any(axis=0), (observed & ~label).any(axis=0)
    )
    findings = np.flatnonzero(usable)
    if not len(findings):
        return weights, intercepts, usable
    label, observed = label[:, findings], observed[:, findings]
    few = _some_patients(patient, seed)
    chosen = _choose(
        embedding,
        rows[few],
        label[few],
        observed[few],
        patient[few],
        seed,
        _FOLDS if few.all() else 1,
    )
    x = standardise(embedding, rows)
    weights[:, findings], intercepts[findings] = fit_columns(
        x, label, observed.astype(np.float32), 1 / STRENGTHS[chosen]
    )
    return weights, intercepts, usable


def _some_patients(patient: Rows, seed: int) -> Mask:
    """All images, or those of patients who together have about `_MANY`."""
    if len(patient) <= _MANY:
        return np.ones(len(patient), dtype=bool)
    names, number = np.unique(patient, return_inverse=True)
    order = generator(seed, "folds").permutation(len(names))
    so_far = np.cumsum(np.bincount(number)[order])
    taken = np.zeros(len(names), dtype=bool)
    taken[order[so_far <= _MANY]] = True
    return taken[number]


def _folds(positive: Mask, patient: Rows, seed: int) -> Rows:
    """Which fold each image is in, shape (n,)."""
    names, number = np.unique(patient, return_inverse=True)
    ill = np.bincount(number, positive, len(names)) > 0
    shuffled = generator(seed, "folds").permutation(len(names))
    dealt = np.concatenate([shuffled[ill[shuffled]], shuffled[~ill[shuffled]]])
    of_patient = np.empty(len(names), dtype=np.int64)
    of_patient[dealt] = np.arange(len(names)) % _FOLDS
    return of_patient[number]


def _choose(
    embedding: npt.NDArray[np.floating],
    rows: Rows,
    label: Mask,
    observed: Mask,
    patient: Rows,
    seed: int,
    n_folds: int,
) -> Rows:
    """Number of the best strength of each finding; the middle one where none is."""
    fold = np.stack(
        [
            _folds(one & seen, patient, seed)
            for one, seen in zip(label.T, observed.T, strict=True)
        ],
        axis=1,
    )
    quality = np.zeros((len(STRENGTHS), label.shape[1]))
    columns = []
    for fold_index in range(n_folds):
        inside, outside = (
            observed & (fold != fold_index),
            observed & (fold == fold_index),
        )
        cells = (inside & label, inside & ~label, outside & label, outside & ~label)
        fine = np.all([one.any(axis=0) for one in cells], axis=0)
        columns += [(fold_index, k) for k in np.flatnonzero(fine)]
    if columns:
        helds, findings = np.array(columns).T
        # Columns: strengths, and folds and findings within each.
        n_each, n_strengths = len(findings), len(STRENGTHS)
        helds, findings = np.tile(helds, n_strengths), np.tile(findings, n_strengths)
        seen, labels = observed[:, findings], label[:, findings]
        held = fold[:, findings] == helds
        penalty = np.repeat(1 / STRENGTHS, n_each)
        inside = (seen & ~held).astype(np.float32)
        x = standardise(embedding, rows)
        w, _ = fit_columns(x, labels, inside, penalty, enough=1e-4)
        rows_held = np.flatnonzero((seen & held).any(axis=1))
        scores = linear_scores(embedding, rows[rows_held], w)
        value = labels[rows_held].astype(np.float32)
        aurocs = auroc(scores, value, (seen & held)[rows_held])
        np.add.at(
            quality, (np.repeat(np.arange(n_strengths), n_each), findings), aurocs
        )
    middle = len(STRENGTHS) // 2
    return np.where(quality.any(axis=0), quality.argmax(axis=0), middle)
