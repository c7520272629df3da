"""What a run says of an image: probabilities, thresholds, decisions."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...learn.problem.prediction import Prediction
from ...learn.stats.conformal import ConformalRule
from ...learn.stats.operating_point import ThresholdOrigin

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
        ("uncertainty", pa.float64()),  # null where the method knows none, as the next
        ("threshold", pa.float64()),
        ("decision", pa.string()),  # positive: the probability reaches the threshold
        ("threshold_from", pa.string()),  # validation, transferred or default
        ("operating_point", pa.string()),  # the rule that chose it; null: default
        (
            "answers",
            pa.string(),
        ),  # with a coverage: positive, negative, either, neither
        ("distance", pa.float64()),
        ("out_of_distribution", pa.bool_()),
        ("error", pa.string()),  # null where the image could be used
        ("model", pa.string()),  # id of the run
    ]
)
_CALLED = {True: "positive", False: "negative"}


@dataclass(frozen=True)
class DecisionRule:
    """From which probability a run calls each finding positive.

    Attributes:
        findings: K names.
        thresholds: Finding -> probability, within 0..1.
        origins: Finding -> where its threshold comes from.
        sets: Which answers are in a finding's set; None if no coverage was asked for.
        distance_limit: Images further from those trained on are out of distribution;
            None where the method knows no distance.
        alarm_rate: Share of validation images expected beyond that limit.
        model: Id of the run.
    """

    findings: tuple[str, ...]
    thresholds: dict[str, float]
    origins: dict[str, ThresholdOrigin]
    sets: ConformalRule | None = None
    distance_limit: float | None = None
    alarm_rate: float = 0.0
    model: str = ""

    @classmethod
    def of(
        cls,
        findings: Sequence[str],
        thresholds: npt.NDArray[np.floating],
        origins: Sequence[ThresholdOrigin] = (),
        sets: ConformalRule | None = None,
    ) -> Self:
        """The rule of a run's thresholds, shape (K,).

        Without origins they are taken to be those of a run from before these were kept.

        >>> DecisionRule.of(["Edema"], np.array([0.5])).threshold_from
        {'Edema': 'default'}
        """
        values = list(map(float, thresholds))
        known = origins or list(map(ThresholdOrigin.before, values))
        return cls(
            tuple(findings),
            dict(zip(findings, values, strict=True)),
            dict(zip(findings, known, strict=True)),
            sets,
        )

    @property
    def threshold_from(self) -> dict[str, str]:
        """Finding -> ``validation``, ``transferred`` or ``default``."""
        return {name: origin.source for name, origin in self.origins.items()}

    def transferred(self) -> Self:
        """The same rule on images of another dataset than it was chosen on."""
        return replace(
            self,
            origins={
                name: replace(origin, transferred=True)
                for name, origin in self.origins.items()
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
        threshold_from: Finding -> ``validation``, ``transferred`` (the image is of
            another dataset) or ``default``.
        uncertainties: Finding -> standard deviation of the score for lack of training
            images like this one; empty where the method knows none.
        distance: From the images trained on, about 1 for one of them; None where the
            method knows none.
        out_of_distribution: Whether that is beyond the limit; None as above.
        answers: Finding -> the answers in its set; empty without a coverage.
    """

    path: str | None
    error: str
    probabilities: dict[str, float] = field(default_factory=dict)
    called: tuple[str, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)
    index: int = 0
    threshold_from: dict[str, str] = field(default_factory=dict)
    uncertainties: dict[str, float] = field(default_factory=dict)
    distance: float | None = None
    out_of_distribution: bool | None = None
    answers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        index: int,
        path: str | None,
        error: str,
        scored: Prediction | None,
        rule: DecisionRule,
    ) -> Self:
        """A prediction from the scores of one image; without them, its error."""
        if scored is None:
            return cls(path, error, index=index)
        probability = scored.probability[0]
        by_name = dict(zip(rule.findings, map(float, probability), strict=True))
        called = tuple(
            name for name, value in by_name.items() if value >= rule.thresholds[name]
        )
        words = [] if rule.sets is None else rule.sets.words(probability).tolist()
        distance = None if scored.distance is None else float(scored.distance[0])
        known = distance is not None and not math.isnan(distance)
        flag = scored.out_of_distribution
        return cls(
            path,
            "",
            by_name,
            called,
            rule.thresholds,
            index,
            rule.threshold_from,
            _known(rule.findings, scored.uncertainty),
            distance if known else None,
            bool(flag[0]) if known and flag is not None else None,
            dict(zip(rule.findings, words, strict=False)),
        )


def _known(
    findings: Sequence[str], values: npt.NDArray[np.floating] | None
) -> dict[str, float]:
    """Finding -> value of the first row, without those that are NaN."""
    if values is None:
        return {}
    pairs = zip(findings, map(float, values[0]), strict=True)
    return {name: value for name, value in pairs if not math.isnan(value)}


def rows_of(
    predictions: Sequence[ImagePrediction], rule: DecisionRule
) -> Iterator[tuple[Any, ...]]:
    """Values in the order of `PREDICTION_SCHEMA`."""
    nothing = (None,) * (len(PREDICTION_SCHEMA) - 4)
    for one in predictions:
        if one.error:
            yield one.index, one.path, *nothing, one.error, rule.model
        for name, probability in one.probabilities.items():
            yield (
                one.index,
                one.path,
                name,
                probability,
                one.uncertainties.get(name),
                rule.thresholds[name],
                _CALLED[name in one.called],
                one.threshold_from[name],
                rule.origins[name].operating_point or None,
                one.answers.get(name),
                one.distance,
                one.out_of_distribution,
                None,
                rule.model,
            )


def to_table(predictions: Sequence[ImagePrediction], rule: DecisionRule) -> pa.Table:
    """The rows of images as a table of `PREDICTION_SCHEMA`."""
    columns = list(zip(*rows_of(predictions, rule), strict=True))
    if not columns:
        return PREDICTION_SCHEMA.empty_table()
    return pa.table(
        [
            pa.array(values, arrow_type)
            for values, arrow_type in zip(columns, PREDICTION_SCHEMA.types, strict=True)
        ],
        schema=PREDICTION_SCHEMA,
    )
