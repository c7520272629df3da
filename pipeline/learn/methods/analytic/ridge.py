"""Bayesian ridge regression from sums, averaged over how far to trust the prior.

For one finding, with labels y and features φ about their means:

    y = Φw + noise,   noise ~ N(0, σ²),   w ~ N(α·w0, τ²S⁻²),   α ≥ 0

w0 is the zero-shot direction, S the spread of each feature, so that rescaled features
count alike. It is the root of (n·variance + 20·m) / (n + 20) over m, the mean variance:
few images say little of it. Two numbers say how the finding behaves, and both are
free of the scale of features, of labels and of w0:

- r, the correlation of labels with zero-shot scores that α stands for:
  α = r·√(Σy² / Σ(Φw0)²);
- h, the variance that the deviation from α·w0 explains, in units of the noise:
  τ²/σ² = h·n / trace(S⁻¹ΦᵀΦS⁻¹). At h = 0 there is no deviation: the scores rank
  images as zero-shot does.

Every pair (r, h) of a grid has a marginal likelihood, in which σ² is integrated out.
The weights are the mean over the grid, each pair with its posterior probability; a
single best pair would jump as one label changes. All of it follows from n, Σy², ΦᵀΦ
and Φᵀy alone: no validation image is needed, and order and division into tasks or
hospitals have no influence. docs/method.md says what was tried and what was chosen.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .sums import Floats, Sums

__all__ = [
    "CORRELATIONS",
    "RATIOS",
    "Centred",
    "Posterior",
    "Solution",
    "centre",
    "feature_scale",
    "posterior",
    "solve",
]

#: Candidates for h, with zero-shot itself as the first.
RATIOS = np.r_[0.0, 10.0 ** np.arange(-3, 1.01, 0.25)]
#: Candidates for r.
CORRELATIONS = np.r_[0.0, np.arange(0.025, 0.8, 0.05)]
#: Prior: the chance that zero-shot says nothing, r = 0,
_USELESS = 0.3
#: and otherwise half a normal distribution of r with this scale;
_CORRELATION_SCALE = 0.2
#: the chance that zero-shot's ranking is to be kept as it is, h = 0,
_ZERO_SHOT = 0.1
#: and otherwise a normal distribution of log10 h. Its mean is that of a finding which
#: half of the images have: labels of rarer ones vary less, by 4p(1 - p).
_LOG_RATIO, _LOG_RATIO_SPREAD = -0.375, 0.25
#: Share of the log evidence that counts: labels of one patient are alike, and labels
#: of 0 and 1 have no normal noise.
_EVIDENCE = 0.5
#: Images by which the spread of a feature is drawn towards the mean.
_FEW = 20
#: Directions in which weights differ between candidates, per finding, at most.
_DIRECTIONS = 8


@dataclass(frozen=True)
class Centred:
    """A_k about the mean of its images: eigenvalues and vectors of S⁻¹A_kS⁻¹.

    Attributes:
        count: Weight of the observed images.
        mean: Mean of φ, shape (F,).
        values: Eigenvalues, shape (F,), rising.
        vectors: S⁻¹ times the eigenvectors, in columns, shape (F, F).
        scale: S, shape (F,).
    """

    count: float
    mean: Floats
    values: Floats
    vectors: Floats
    scale: Floats

    def along(self, weights: Floats) -> Floats:
        """Coordinates of weights, shape (F,): `vectors` times them are the weights."""
        product: Floats = self.vectors.T @ (self.scale**2 * weights)
        return product


@dataclass(frozen=True)
class Solution:
    """The posterior of K findings; v are the eigenvectors of a finding's matrix.

    Attributes:
        weights: Mean of w, shape (K, F).
        intercepts: b, shape (K,).
        learned: Whether there were labels of both classes, shape (K,), bool; otherwise
            weights are w0.
        mean: Mean of the images, shape (K, F).
        variance: Variance of w along v within candidates, shape (K, F).
        noise: Variance of the intercept, shape (K,).
        directions: Between candidates, w varies by a covariance BᵀB along v; B, shape
            (K, `_DIRECTIONS`, F).
        prevalence: Smoothed share of positives among observed images, shape (K,).
        zero_shot: Posterior probability that zero-shot's ranking is kept, shape (K,).
    """

    weights: Floats
    intercepts: Floats
    learned: npt.NDArray[np.bool_]
    mean: Floats
    variance: Floats
    noise: Floats
    directions: Floats
    prevalence: Floats
    zero_shot: Floats


def centre(gram: Floats) -> Centred | None:
    """Take the mean out of a matrix of sums; None if its images are all the same.

    Args:
        gram: Shape (F+1, F+1).
    """
    count = gram[-1, -1]
    if count < 2:
        return None
    mean = gram[:-1, -1] / count
    about = gram[:-1, :-1] - count * np.outer(mean, mean)
    scale = np.trace(gram[:-1, :-1])
    # What is left of constant features is rounding.
    if np.trace(about) <= 1e-12 * scale:
        return None
    scale = feature_scale(np.diag(about) / count, count)
    values, vectors = np.linalg.eigh(about / np.outer(scale, scale))
    vectors /= scale[:, None]
    return Centred(float(count), mean, np.maximum(values, 0), vectors, scale)


def feature_scale(variance: Floats, count: float) -> Floats:
    """S: the spread of each feature, where few images say little of it.

    Args:
        variance: Variance of each feature, at least 0, not all 0, shape (F,).
        count: Images.

    >>> feature_scale(np.array([1.0, 3.0]), 20).round(3).tolist()
    [0.866, 1.118]
    """
    middle = variance.mean()
    shrunk = (count * variance + _FEW * middle) / (count + _FEW)
    return np.asarray(np.sqrt(shrunk / middle))


def solve(train: Sums, prior: Floats, centred: list[Centred | None]) -> Solution:
    """The posterior of each finding by itself: labels of others never move it.

    Args:
        train: Sums of training cells.
        prior: w0, shape (K, F); findings without both classes get it as it is.
        centred: The centred form of each matrix of `train`.
    """
    n_findings, n_features = prior.shape
    positives = train.moments[:, -1]
    counts = train.grams[train.group, -1, -1]
    solution = Solution(
        weights=prior.copy(),
        intercepts=np.zeros(n_findings),
        learned=np.zeros(n_findings, dtype=bool),
        mean=np.zeros(prior.shape),
        variance=np.zeros(prior.shape),
        noise=np.zeros(n_findings),
        directions=np.zeros((n_findings, _DIRECTIONS, n_features)),
        prevalence=(positives + 1) / (counts + 2),
        zero_shot=np.ones(n_findings),
    )
    for k in range(n_findings):
        base = centred[train.group[k]]
        if base is None:
            continue
        spread = train.squares[k] - positives[k] ** 2 / base.count
        if spread <= 1e-12 * base.count:
            continue  # one class says nothing about what sets the classes apart
        _solve_one(solution, k, base, train.moments[k], spread, prior[k])
    return solution


@dataclass(frozen=True)
class Posterior:
    """Of one finding, along the vectors of its `Centred`; H × R candidates.

    Attributes:
        chance: Probability of each pair (h, r), shape (H, R).
        shares: α of each r, shape (R,).
        fitted: What data add to the weights, shape (H, F).
        kept: What α times w0 leaves of them, shape (H, F).
        ratio: τ²/σ² of each h, shape (H, 1).
        shrunk: By what data reduce the variance, shape (H, F).
        squares: Sum of squares of the residuals, with σ² integrated out, shape (H, R).
        mean: Mean of the weights, shape (F,).
    """

    chance: Floats
    shares: Floats
    fitted: Floats
    kept: Floats
    ratio: Floats
    shrunk: Floats
    squares: Floats
    mean: Floats


def posterior(base: Centred, moment: Floats, spread: float, prior: Floats) -> Posterior:
    """Weights of one finding, averaged over the grid.

    Args:
        base: A_k about its mean. Directions in which no image varies may be missing, as
            long as w0 lies within those that are there.
        moment: c_k, shape (F+1,).
        spread: Σy² of the centred labels, above 0.
        prior: w0, shape (F,).
    """
    data = base.vectors.T @ (moment[:-1] - base.mean * moment[-1])
    towards = base.along(prior)
    along = float((base.values * towards**2).sum())
    shares = np.zeros(len(CORRELATIONS))
    if along > 0:
        shares = CORRELATIONS * np.sqrt(spread / along)
    # Prior variance of w over σ², and by what data reduce it, shape (H, 1) and (H, F).
    ratio = RATIOS[:, None] * base.count / base.values.sum()
    shrunk = 1 / (1 + base.values * ratio)
    squares = _squares(base.values, data, towards, ratio, shrunk, spread, shares)
    chance = _posterior(squares, shrunk, base.count, moment[-1], has_prior=along > 0)
    # w = fitted + α·kept; its mean is over h and α.
    fitted, kept = data * ratio * shrunk, towards * shrunk
    mean = chance.sum(axis=1) @ fitted + (chance @ shares) @ kept
    return Posterior(chance, shares, fitted, kept, ratio, shrunk, squares, mean)


def _solve_one(
    solution: Solution,
    k: int,
    base: Centred,
    moment: Floats,
    spread: float,
    prior: Floats,
) -> None:
    """Fill in finding k; `spread` is Σy² of the centred labels."""
    one = posterior(base, moment, spread, prior)
    solution.weights[k] = base.vectors @ one.mean
    mean_label = moment[-1] / base.count
    solution.intercepts[k] = mean_label - solution.weights[k] @ base.mean
    solution.learned[k] = True
    solution.mean[k] = base.mean
    solution.zero_shot[k] = one.chance[0].sum()
    # σ² is integrated out: its mean is that of an inverse gamma distribution.
    noise = one.squares / max(base.count - 3, 1)
    solution.variance[k] = (one.chance * noise).sum(axis=1) @ (one.ratio * one.shrunk)
    solution.noise[k] = float((one.chance * noise).sum()) / base.count
    rows = _directions(one.chance, one.shares, one.fitted, one.kept, one.mean)
    solution.directions[k, : len(rows)] = rows


def _squares(
    values: Floats,
    data: Floats,
    towards: Floats,
    ratio: Floats,
    shrunk: Floats,
    spread: float,
    shares: Floats,
) -> Floats:
    """(y − αs)ᵀ(I + ΦΦᵀτ²/σ²)⁻¹(y − αs) with s = Φw0, shape (H, R)."""
    of_labels = spread - (data**2 * ratio * shrunk).sum(axis=1)
    of_both = (data * towards * shrunk).sum(axis=1)
    of_scores = (values * towards**2 * shrunk).sum(axis=1)
    squared: Floats = (
        of_labels[:, None]
        - 2 * of_both[:, None] * shares
        + of_scores[:, None] * shares**2
    )
    return np.maximum(squared, 1e-9 * spread)


def _posterior(
    squares: Floats, shrunk: Floats, count: float, positives: float, *, has_prior: bool
) -> Floats:
    """Probability of each candidate, shape (H, R); they sum to 1."""
    evidence: Floats = -0.5 * (count - 1) * np.log(squares)
    evidence += 0.5 * np.log(shrunk).sum(axis=1)[:, None]
    chance = _EVIDENCE * evidence + log_prior((positives + 1) / (count + 2))
    if not has_prior:  # without descriptions w0 is 0, and so is any share of it
        chance[0] = -np.inf
    chance = np.exp(chance - chance.max())
    return np.asarray(chance / chance.sum())


def log_prior(prevalence: float) -> Floats:
    """Log of the prior probability of each candidate, shape (H, R).

    Args:
        prevalence: Share of positive images, between 0 and 1 exclusive.

    >>> np.exp(log_prior(0.2)).sum(axis=1)[0].round(3)  # of 0.1 × 0.7
    np.float64(0.07)
    """
    middle = _LOG_RATIO + np.log10(4 * prevalence * (1 - prevalence))
    far = (np.log10(RATIOS[1:]) - middle) / _LOG_RATIO_SPREAD
    of_ratio = np.exp(-0.5 * far**2)
    of_ratio = np.r_[_ZERO_SHOT, (1 - _ZERO_SHOT) * of_ratio / of_ratio.sum()]
    of_share = np.exp(-0.5 * (CORRELATIONS[1:] / _CORRELATION_SCALE) ** 2)
    of_share = np.r_[_USELESS, (1 - _USELESS) * of_share / of_share.sum()]
    chance = np.outer(of_ratio, of_share)
    chance[0, 0] = 0  # no deviation from nothing: no scores at all
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(chance))


def _directions(
    chance: Floats, shares: Floats, fitted: Floats, kept: Floats, mean: Floats
) -> Floats:
    """B of `Solution.directions`: how w differs between candidates."""
    # E[ww'] over α for each h has rank two: factor it, then keep what varies most.
    of_ratio = chance.sum(axis=1)
    known = np.where(of_ratio > 0, of_ratio, 1)
    share = (chance @ shares) / known
    spread = np.sqrt(np.maximum(chance @ shares**2 / known - share**2, 0))
    rows = np.sqrt(of_ratio)[:, None] * np.concatenate(
        [fitted + share[:, None] * kept - mean, spread[:, None] * kept], axis=1
    )
    rows = rows.reshape(-1, len(mean))
    # The eigenvectors of the small product are enough, and cost little.
    vectors = np.linalg.eigh(rows @ rows.T).eigenvectors
    return np.asarray(vectors.T[-_DIRECTIONS:] @ rows)
