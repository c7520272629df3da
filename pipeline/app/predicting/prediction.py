"""What a run says of an image: probabilities, thresholds, decisions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

__all__ = [
    "PREDICTION_SCHEMA",
    "DecisionRule",
    "ImagePrediction",
    "rows_of",
    "to_table",
]

#: A row for each image and finding, or one row for an image that could not be used.
PREDICTION_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),  # which of the things given the image came from
        ("path", pa.string()),  # null for a picture in memory
        ("finding", pa.string()),
        ("probability", pa.float64()),
        ("threshold", pa.float64()),
        ("decision", pa.string()),  # positive: the probability reaches the threshold
        ("threshold_from", pa.string()),
        ("error", pa.string()),  # null where the image could be used
    ]
)
#: What tuning leaves where no validation image has the finding.
_UNTUNED = 0.5


@dataclass(frozen=True)
class DecisionRule:
    """From which probability a run calls each finding positive.

    Attributes:
        findings: K names.
        thresholds: Finding -> probability, within 0..1.
        threshold_from: Finding -> ``validation`` if the threshold was tuned on the
            run's validation images (best F1), ``default`` if none of them has the
            finding, so that it is 0.5.
    """

    findings: tuple[str, ...]
    thresholds: dict[str, float]
    threshold_from: dict[str, str]

    @classmethod
    def of(cls, findings: Sequence[str], thresholds: npt.NDArray[np.floating]) -> Self:
        """The rule of a run's thresholds, shape (K,).

        >>> DecisionRule.of(["Edema"], np.array([0.5])).threshold_from
        {'Edema': 'default'}
        """
        by_name = dict(zip(findings, map(float, thresholds), strict=True))
        return cls(
            tuple(findings),
            by_name,
            {
                name: "default" if value == _UNTUNED else "validation"
                for name, value in by_name.items()
            },
        )


@dataclass(frozen=True)
class ImagePrediction:
    """What a run says of one image.

    Attributes:
        path: The file; None for a picture in memory.
        error: Why there is no prediction; empty if there is one.
        probabilities: Finding -> probability, within 0..1.
        called: Findings whose probability reaches the run's threshold.
        thresholds: Finding -> threshold.
        index: Which of the things given the image came from, from 0.
    """

    path: str | None
    error: str
    probabilities: dict[str, float] = field(default_factory=dict)
    called: tuple[str, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)
    index: int = 0

    @classmethod
    def of(
        cls,
        index: int,
        path: str | None,
        error: str,
        probability: npt.NDArray[np.float32] | None,
        rule: DecisionRule,
    ) -> Self:
        """A prediction from scores, shape (K,); without scores, an image's error."""
        if probability is None:
            return cls(path, error, index=index)
        by_name = dict(zip(rule.findings, map(float, probability), strict=True))
        called = tuple(
            name for name, value in by_name.items() if value >= rule.thresholds[name]
        )
        return cls(path, "", by_name, called, rule.thresholds, index)


def rows_of(
    predictions: Sequence[ImagePrediction], rule: DecisionRule
) -> Iterator[tuple[Any, ...]]:
    """Values in the order of `PREDICTION_SCHEMA`."""
    for one in predictions:
        if one.error:
            yield one.index, one.path, None, None, None, None, None, one.error
        for name, probability in one.probabilities.items():
            yield (
                one.index,
                one.path,
                name,
                probability,
                rule.thresholds[name],
                "positive" if name in one.called else "negative",
                rule.threshold_from[name],
                None,
            )


def to_table(predictions: Sequence[ImagePrediction], rule: DecisionRule) -> pa.Table:
    """The rows of images as a table of `PREDICTION_SCHEMA`."""
    columns = list(zip(*rows_of(predictions, rule), strict=True))
    if not columns:
        return PREDICTION_SCHEMA.empty_table()
    return pa.table(
        [
            pa.array(values, kind)
            for values, kind in zip(columns, PREDICTION_SCHEMA.types, strict=True)
        ],
        schema=PREDICTION_SCHEMA,
    )
