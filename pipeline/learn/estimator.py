"""`AnalyticClassifier`: the exact method for people who have vectors and no store."""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from retune.store.errors import TrainingError
from retune.store.plural import counted

from .methods.analytic.ridge import centre, solve
from .methods.analytic.sums import Sums, add_sums, sum_rows

__all__ = ["AnalyticClassifier"]

Floats = npt.NDArray[np.float64]

if TYPE_CHECKING:

    class _ScikitClassifier:
        """The types of what scikit-learn's untyped bases give."""

        def __sklearn_tags__(self) -> Any: ...
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        def score(
            self,
            X: npt.ArrayLike,
            y: npt.ArrayLike,
            sample_weight: npt.ArrayLike | None = None,
        ) -> float: ...
else:

    class _ScikitClassifier(ClassifierMixin, BaseEstimator):
        """Parameters, tags and the score, as scikit-learn defines them."""


class AnalyticClassifier(_ScikitClassifier):
    """Exact ridge classifiers that learn batch by batch, and forget nothing.

    What it keeps are sums over images, so that batches, in any order, lead to the same
    weights as all images at once, and the sums of two hospitals can be added.

    Y is one of: a column of classes, shape (N,); or K findings at once, shape (N, K),
    each 0, 1 or NaN where a label is unknown, as `Store.arrays` gives it.

    Args:
        prior: Weights to start from, shape (K, D), such as the differences of the
            vectors of positive and negative descriptions; None: zero.

    Attributes:
        classes_: The classes; 0 and 1 where Y has several findings.
        coef_: Weights, shape (K, D); K is 1 for two classes.
        intercept_: Shape (K,).
        sums_: What was learned; `merge` adds it.

    Example:
        >>> X = np.array([[0.0, 1.0], [0.2, 1.0], [1.0, 0.1], [0.9, 0.0]])
        >>> y = np.array(["healthy", "healthy", "ill", "ill"])
        >>> whole = AnalyticClassifier().fit(X, y)
        >>> whole.predict([[0.1, 0.9], [1.0, 0.2]]).tolist()
        ['healthy', 'ill']
        >>> parts = [AnalyticClassifier().partial_fit(X[i::2], y[i::2]) for i in (0, 1)]
        >>> np.allclose((parts[0] + parts[1]).coef_, whole.coef_)
        True
    """

    classes_: npt.NDArray[Any]
    coef_: Floats
    intercept_: Floats
    sums_: Sums
    n_features_in_: int

    def __init__(self, prior: npt.ArrayLike | None = None) -> None:
        self.prior: npt.ArrayLike | None = prior

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> Self:
        """Learn from these images alone.

        Args:
            X: Vectors, shape (N, D).
            y: Classes, shape (N,), or findings, shape (N, K).

        Raises:
            ValueError: Shapes do not fit, X is not finite or y has one class only.
        """
        for name in ("sums_", "classes_", "_findings"):
            self.__dict__.pop(name, None)
        x, labels = self._checked(X, y, reset=True)
        self._take_classes(labels, None)
        if len(self.classes_) < 2:
            raise ValueError(
                f"classes: there is one class only, {self.classes_[0]!r}, and two are "
                "needed"
            )
        return self._learn(x, labels)

    def partial_fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, classes: npt.ArrayLike | None = None
    ) -> Self:
        """Add further images to what was learned.

        Args:
            X: Vectors, shape (N, D).
            y: Classes, shape (N,), or findings, shape (N, K).
            classes: All classes there will be; by default those of the first call.

        Raises:
            ValueError: Shapes do not fit, or y has a class that was not announced.
        """
        first = not hasattr(self, "classes_")
        x, labels = self._checked(X, y, reset=first)
        if first:
            self._take_classes(labels, classes)
        return self._learn(x, labels)

    def decision_function(self, X: npt.ArrayLike) -> Floats:
        """Scores: above 0 for the second class, or the class with the highest.

        Returns:
            Shape (N,) for two classes, else (N, K).
        """
        check_is_fitted(self, "coef_")
        x = validate_data(self, X, reset=False, dtype=np.float64)
        # The ridge estimates P(class), so that one half is the border.
        scores: Floats = x @ self.coef_.T + self.intercept_ - 0.5
        return scores if self._findings or scores.shape[1] > 1 else scores[:, 0]

    def predict_proba(self, X: npt.ArrayLike) -> Floats:
        """Probabilities of each class, shape (N, C), or of each finding, shape (N, K).

        They are the ridge's estimates, cut to 0 … 1; of several classes, shares of
        their sum.
        """
        scores = np.clip(self.decision_function(X) + 0.5, 1e-9, 1 - 1e-9)
        if self._findings:
            return scores
        if scores.ndim == 1:
            return np.column_stack([1 - scores, scores])
        shares: Floats = scores / scores.sum(axis=1, keepdims=True)
        return shares

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Classes, shape (N,), or findings as 0 and 1, shape (N, K)."""
        scores = self.decision_function(X)
        if self._findings:
            return (scores > 0).astype(np.int64)
        chosen = scores > 0 if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[np.asarray(chosen, dtype=np.int64)]

    def merge(self, *others: "AnalyticClassifier") -> "AnalyticClassifier":
        """A classifier that learned from the images of all.

        Raises:
            TrainingError: They have other classes, findings or dimensions.
        """
        merged = type(self)(prior=self.prior)
        for name in ("classes_", "n_features_in_", "_findings", "sums_"):
            setattr(merged, name, getattr(self, name))
        for other in others:
            same = (
                np.array_equal(other.classes_, self.classes_)
                and other.n_features_in_ == self.n_features_in_
                and other.sums_.moments.shape == self.sums_.moments.shape
                and other._findings == self._findings  # noqa: SLF001 - of this class
            )
            if not same:
                raise TrainingError(
                    "the classifiers have other classes, findings or dimensions",
                    "Fit them on the same columns with the same `classes`.",
                )
            merged.sums_ = add_sums(merged.sums_, other.sums_)
        return merged._solve()  # noqa: SLF001 - of this class

    def __add__(self, other: "AnalyticClassifier") -> "AnalyticClassifier":
        return self.merge(other)

    #: Whether Y has K findings with unknown cells, not one column of classes.
    _findings: bool

    def _checked(
        self, X: npt.ArrayLike, y: npt.ArrayLike, *, reset: bool
    ) -> tuple[Floats, npt.NDArray[Any]]:
        shape = np.asarray(y).shape
        several = len(shape) == 2 and shape[1] > 1
        if not several:
            x, labels = validate_data(self, X, y, reset=reset, dtype=np.float64)
            check_classification_targets(labels)
            return x, labels
        x = validate_data(self, X, reset=reset, dtype=np.float64)
        labels = np.asarray(y, dtype=np.float64)
        known = labels[~np.isnan(labels)]
        if len(labels) != len(x) or not np.isin(known, (0, 1)).all():
            raise ValueError(
                f"y of shape {labels.shape} must have {counted(len(x), 'row')} of 0, 1 "
                "or NaN"
            )
        return x, labels

    def _take_classes(
        self, labels: npt.NDArray[Any], classes: npt.ArrayLike | None
    ) -> None:
        self._findings = labels.ndim == 2
        if self._findings:
            self.classes_ = np.array([0, 1])
        else:
            self.classes_ = unique_labels(labels if classes is None else classes)

    def _learn(self, x: Floats, labels: npt.NDArray[Any]) -> Self:
        values, mask = self._targets(labels)
        rows = np.arange(len(x))
        new = sum_rows(lambda chosen: x[chosen], x.shape[1], rows, values, mask)
        known = getattr(self, "sums_", None)
        self.sums_ = new if known is None else add_sums(known, new)
        return self._solve()

    def _targets(
        self, labels: npt.NDArray[Any]
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """One column per finding, or per class; one for two classes."""
        if self._findings:
            if hasattr(self, "sums_") and len(self.sums_.moments) != labels.shape[1]:
                raise ValueError(
                    f"y has {counted(labels.shape[1], 'finding')}, before it had "
                    f"{len(self.sums_.moments)}"
                )
            return np.nan_to_num(labels), ~np.isnan(labels)
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise ValueError(f"y has classes that were not announced: {unknown}")
        chosen = self.classes_[1:] if len(self.classes_) == 2 else self.classes_
        values = (labels[:, np.newaxis] == chosen).astype(np.float64)
        return values, np.ones(values.shape, dtype=bool)

    def _solve(self) -> Self:
        sums = self.sums_
        n_findings, size = sums.moments.shape
        start = np.zeros((n_findings, size - 1))
        if self.prior is not None:
            start += np.asarray(self.prior, dtype=np.float64)
        centred = [centre(gram) for gram in sums.grams]
        solution = solve(sums, start, centred)
        self.coef_ = solution.weights
        # Labels of one class, or none, say how often it is so and nothing else.
        self.intercept_ = np.where(
            solution.learned, solution.intercepts, solution.prevalence
        )
        return self
