"""Probabilities of an adapted model, from validation labels."""

import numpy as np
import numpy.typing as npt
import torch

from retune.store.vectors.mapped_pages import release_pages

from ..problem.contract import Problem
from ..stats.calibration import Line, calibrate, smoothed_share
from ..training.model import AdaptedModel

__all__ = ["calibrate_model"]

#: Rows that are turned into float32 at a time.
_BLOCK = 16_384
#: The logit as it was trained.
_AS_TRAINED = Line(1.0, 0.0)


def calibrate_model(
    model: AdaptedModel,
    problem: Problem,
    findings: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.float64] | None = None,
) -> None:
    """Set the line from logit to probability of some findings.

    Without validation labels of a finding it stays as it is.

    Args:
        model: On any device.
        problem: With the validation images.
        findings: Which, shape (K,).
        labels: Positive training labels and training labels, shape (2, K), of which the
            share of positives is that of the population; None: there are none.
    """
    features, targets = problem.features, problem.targets
    rows = features.rows("validation")
    if not len(rows):
        return
    x = torch.from_numpy(features.embedding[rows]).to(model.bias.device)
    release_pages(features.embedding)
    model.eval()
    with torch.inference_mode():
        parts = [model.logits(part.float()) for part in torch.split(x, _BLOCK)]
    logits = torch.cat(parts).double().cpu().numpy()
    for k in np.flatnonzero(findings):
        seen = targets.observed[rows, k]
        if not seen.any():
            continue
        positive = targets.value[rows[seen], k] > 0
        n_positive, n = (0.0, 0.0) if labels is None else labels[:, k].tolist()
        share = smoothed_share(n_positive + positive.sum(), n + len(positive))
        line = calibrate(logits[seen, k], positive, float(share), _AS_TRAINED)
        model.slope[k], model.offset[k] = line.slope, line.offset
