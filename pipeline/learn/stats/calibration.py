"""From a score to a probability."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Line", "calibrate", "platt", "smoothed_share"]

#: How far the fitted slope may be from the expected one, as a factor, and how far the
#: middle of the logits may move: standard deviations of a normal prior.
_FACTOR_SPREAD, _SHIFT_SPREAD = 0.5, 2.0
#: For `calibrate`: the slope per standard deviation of the scores, which is about 0.5
#: at an AUROC of 0.64 and 1.2 at 0.8;
_SLOPE, _SLOPE_SPREAD = 0.5, 0.5
#: the same where the scores estimate probabilities, as a factor of the expected slope;
_TRUSTED_SPREAD = 0.5
#: and the scale of the Cauchy prior of the height: near the share of positives, unless
#: many validation labels contradict it.
_HEIGHT_SCALE = 0.5
#: No line is flatter than this share of the expected slope.
_LEAST_FACTOR = 0.05
_STEPS = 50
_SHARES = tuple(0.5**power for power in range(20))


class Line(NamedTuple):
    """The logit of a score: slope times score plus offset."""

    slope: float
    offset: float

    @classmethod
    def tangent(cls, prevalence: float) -> "Line":
        """Of scores that estimate probabilities, to first order about their mean.

        Args:
            prevalence: Between 0 and 1, exclusive.

        >>> Line.tangent(0.5)
        Line(slope=4.0, offset=-2.0)
        """
        slope = 1 / (prevalence * (1 - prevalence))
        middle = float(np.log(prevalence / (1 - prevalence)))
        return cls(slope, middle - slope * prevalence)


#: For scores that estimate a probability, about one half.
_PLAIN = Line.tangent(0.5)


def platt(
    scores: npt.NDArray[np.float64],
    positive: npt.NDArray[np.bool_],
    expected: Line | None = None,
) -> Line:
    """The line from score to logit, fitted to labels (Platt 1999).

    With an expected line the fit is pulled towards it by a normal prior: its slope by a
    factor of 1 ± 0.5, and its height in the middle of the scores by ± 2. So a few
    validation images move it little, many decide, and there always is a rising line.

    Without one, the targets are Platt's smoothed ones, so that separable labels have a
    finite fit; where labels of one class, or scores that fall as labels rise, give no
    rising line, it is that of a score that already is a probability.

    Args:
        scores: Shape (n,).
        positive: Shape (n,).
        expected: What to believe without labels.

    >>> slope, offset = platt(np.array([0.0, 1, 2, 3]), np.array([0, 0, 1, 1]) > 0)
    >>> bool(slope > 0), bool(abs(slope * 1.5 + offset) < 1e-6)
    (True, True)
    >>> platt(np.array([]), np.array([], dtype=bool), Line(30.0, 0.0))
    Line(slope=30.0, offset=0.0)
    """
    if expected is not None:
        return _near(scores, positive, expected)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    spread = float(scores.std()) if len(scores) else 0.0
    if not n_positive or not n_negative or spread <= 1e-12:
        return _PLAIN
    high, low = (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2)
    middle = float(scores.mean())
    design = np.column_stack([(scores - middle) / spread, np.ones(len(scores))])
    start = np.array([0.0, np.log((n_positive + 1) / (n_negative + 1))])
    line = _newton(design, np.where(positive, high, low), start, np.zeros(2), start)
    slope = float(line[0] / spread)
    if not np.isfinite(line).all() or slope <= 0:
        return _PLAIN
    return Line(slope, float(line[1] - slope * middle))


def smoothed_share(n_positive: float, n: float) -> float:
    """Share of positives, never 0 or 1.

    >>> smoothed_share(0, 8)
    0.1
    """
    return (n_positive + 1) / (n + 2)


def calibrate(
    scores: npt.NDArray[np.float64],
    positive: npt.NDArray[np.bool_],
    prevalence: float,
    expected: Line,
    *,
    trusted: bool = False,
) -> Line:
    """The line from score to logit, near what is known without validation labels.

    The most probable line given the labels and a prior. The prior of its height, at the
    mean of the scores, lies near the logit of the share of positives, which training
    labels know better than few validation labels do; it has heavy tails, so that it
    gives way where many of these contradict it. The slope's lies near the expected one
    if scores estimate probabilities; else about what a finding of middling difficulty
    has. docs/method.md says what else was tried.

    Args:
        scores: Scores of validation images, shape (n,).
        positive: Shape (n,).
        prevalence: Share of positives among training and validation labels, within
            (0, 1).
        expected: The line if there were no validation images.
        trusted: Whether scores estimate probabilities to which it leads.

    >>> few = calibrate(np.array([0.0, 1.0]), np.array([False, True]), 0.1, Line(1, 0))
    >>> few.slope > 0, round(float(1 / (1 + np.exp(-few.slope / 2 - few.offset))), 2)
    (True, 0.11)
    """
    middle = float(scores.mean()) if len(scores) else 0.0
    spread = float(scores.std()) if len(scores) else 0.0
    if spread <= 1e-12:
        return expected
    design = np.column_stack([(scores - middle) / spread, np.ones(len(scores))])
    height = float(np.log(prevalence / (1 - prevalence)))
    about = np.array([_SLOPE, height])
    least, width = _LEAST_FACTOR * _SLOPE, _SLOPE_SPREAD
    if trusted:
        about[0] = expected.slope * spread
        least, width = _LEAST_FACTOR * about[0], _TRUSTED_SPREAD * about[0]
    line = _heavy_tailed(design, positive.astype(float), about, width)
    if not np.isfinite(line).all():
        return expected
    slope = max(float(line[0]), least) / spread
    return Line(slope, float(line[1]) - slope * middle)


def _heavy_tailed(
    design: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    about: npt.NDArray[np.float64],
    width: float,
) -> npt.NDArray[np.float64]:
    """The most probable line, the prior of its height being a Cauchy distribution's.

    That prior is a normal one whose width is fitted along. From two starts, because
    there may be two maxima: the expected height, and that of the labels alone. Where
    labels are many, their curvature is far above the prior's, and the second is enough.
    """
    own = smoothed_share(float(target.sum()), len(target))
    starts = [float(np.log(own / (1 - own)))]
    # Forty times as curved as the prior ever is the other way, which is 1/(4·scale²).
    many = 10 / _HEIGHT_SCALE**2
    if len(target) * own * (1 - own) < many:
        starts.insert(0, about[1])
    likeliest, least = about, np.inf
    for height in starts:
        line = np.array([about[0], height])
        for _ in range(_STEPS):
            off = line[1] - about[1]
            pull = np.array([width**-2.0, 2 / (_HEIGHT_SCALE**2 + off**2)])
            moved = _newton(design, target, line, pull, about)
            settled = np.abs(moved - line).max() < 1e-7
            line = moved
            if settled:
                break
        loss = _loss(line, design, target, np.array([width**-2.0, 0.0]), about)
        loss += float(np.log1p(((line[1] - about[1]) / _HEIGHT_SCALE) ** 2))
        if loss < least:
            likeliest, least = line, loss
    return likeliest


def _near(
    scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_], expected: Line
) -> Line:
    """The most probable line about the expected one."""
    if not len(scores):
        return expected
    middle = float(scores.mean())
    logits = expected.slope * (scores - middle)
    height = expected.slope * middle + expected.offset
    design = np.column_stack([logits, np.ones(len(scores))])
    pull = np.array([_FACTOR_SPREAD, _SHIFT_SPREAD]) ** -2.0
    about = np.array([1.0, height])
    factor, offset = _newton(design, positive.astype(float), about, pull, about)
    if not np.isfinite(factor + offset):
        return expected
    slope = expected.slope * max(float(factor), _LEAST_FACTOR)
    return Line(slope, float(offset) - slope * middle)


def _newton(
    design: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    start: npt.NDArray[np.float64],
    pull: npt.NDArray[np.float64],
    about: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """The logistic regression of targets, pulled towards `about`; shape (2,)."""
    line = start.copy()
    loss = _loss(line, design, target, pull, about)
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ line, -30, 30)))
        bend = (design * (chance * (1 - chance))[:, None]).T @ design
        slope = design.T @ (target - chance) - pull * (line - about)
        step = np.linalg.solve(bend + np.diag(pull) + 1e-9 * np.eye(2), slope)
        step *= min(1.0, 5 / max(1e-12, float(np.abs(step).max())))
        # A full Newton step overshoots where the curve is flat: there, a part of it.
        for share in _SHARES:
            moved = line + share * step
            less = _loss(moved, design, target, pull, about)
            if less <= loss:
                line, loss = moved, less
                break
        else:
            break
        if np.abs(share * step).max() < 1e-9:
            break
    return line


def _loss(
    line: npt.NDArray[np.float64],
    design: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    pull: npt.NDArray[np.float64],
    about: npt.NDArray[np.float64],
) -> float:
    logit = design @ line
    fit = (np.logaddexp(0, logit) - target * logit).sum()
    return float(fit + 0.5 * (pull * (line - about) ** 2).sum())
