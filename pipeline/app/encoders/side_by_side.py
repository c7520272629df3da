"""Several encoders on exactly the same images and patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from retune.store.errors import ConfigurationError

from ...encode.concatenation import side_by_side
from ...learn.curves.curve import Curve, CurveConfig, CurvePoint, measure_curve
from ...learn.problem.features import SET_ASIDE, Features, Prompts
from ...learn.runs.experiment import Experiment, ExperimentConfig, run_experiment
from ...learn.runs.learning_set import LearningSet
from ...learn.stats.intervals import patient_variance
from ...learn.stats.paired import MacroDifference, macro_difference
from ...progress import Progress, ProgressCallback, silent

__all__ = [
    "Candidate",
    "Scored",
    "common_images",
    "concatenated",
    "few_patients",
    "less_few",
    "score_all",
]

#: Training patients of the points of a data-efficiency curve, and draws of them.
_SHOTS, _DRAWS = (8, 32, 128, None), 3
#: Standard deviations to either side that hold 95 % of a normal distribution.
_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Candidate:
    """An encoder, or several put side by side, with its vectors and texts.

    Attributes:
        name: As a user named it.
        features: Features of the common images.
        prompts: Prompts of the findings; none if the encoder knows images only.
    """

    name: str
    features: Features
    prompts: Prompts

    @property
    def dim(self) -> int:
        """D."""
        return int(self.features.embedding.shape[1])


@dataclass(frozen=True)
class Scored:
    """What a candidate scored in each scenario.

    Attributes:
        candidate: The encoder.
        experiments: Scenario -> what it gave; without ``zero-shot`` if it has no texts.
        less_first: Scenario -> its mean AUROC less that of the first candidate.
    """

    candidate: Candidate
    experiments: Mapping[str, Experiment]
    less_first: Mapping[str, MacroDifference]


def common_images(sets: Mapping[str, LearningSet]) -> list[Candidate]:
    """The images that every encoder has a vector of, in the same order.

    An image that one encoder must not be tested on, because its backbone was trained
    on the patient, is set aside for all.

    Args:
        sets: Name -> images and texts of one encoder, under the same selection.

    Raises:
        ConfigurationError: They have no images in common, or differ in findings.
    """
    first = next(iter(sets.values())).features
    ids = first.image_id
    for one in sets.values():
        ids = np.intersect1d(ids, one.features.image_id)
    if not len(ids):
        raise ConfigurationError(
            f"no image has vectors of all of {', '.join(sets)}",
            "Encode or import the same images with each of them.",
        )
    splits = []
    rows = {}
    for name, one in sets.items():
        order = np.argsort(one.features.image_id)
        rows[name] = order[np.searchsorted(one.features.image_id[order], ids)]
        splits.append(one.features.split[rows[name]])
    aside = np.any([split == SET_ASIDE for split in splits], axis=0)
    split = np.where(aside, SET_ASIDE, splits[0]).astype(object)
    return [
        Candidate(name, _only(one.features, rows[name], split), one.prompts)
        for name, one in sets.items()
    ]


def _only(
    features: Features, rows: npt.NDArray[np.int64], split: npt.NDArray[np.object_]
) -> Features:
    return replace(
        features,
        image_id=features.image_id[rows],
        patient_id=features.patient_id[rows],
        split=split,
        embedding=features.embedding[rows],
        states=features.states[rows],
    )


def concatenated(name: str, parts: Sequence[Candidate]) -> Candidate:
    """Encoders side by side: each vector normalised, then one after the other.

    Texts are put together if all that have any have the same descriptions; of encoders
    that have none the numbers in them are zero.

    Args:
        name: Name of the whole, such as ``mini+rad-dino``.
        parts: On the same images.
    """
    features = replace(
        parts[0].features,
        embedding=side_by_side([one.features.embedding for one in parts]),
    )
    spoken = [one.prompts for one in parts if one.prompts]
    alike = all(
        np.array_equal(one.finding, spoken[0].finding)
        and np.array_equal(one.positive, spoken[0].positive)
        for one in spoken
    )
    if not spoken or not alike:
        return Candidate(name, features, Prompts.none(features.embedding.shape[1]))
    n_texts = len(spoken[0].embedding)
    texts = [
        one.prompts.embedding if one.prompts else np.zeros((n_texts, one.dim))
        for one in parts
    ]
    whole = replace(spoken[0], embedding=side_by_side(texts))
    return Candidate(name, features, whole)


def score_all(
    candidates: Sequence[Candidate],
    scenarios: Sequence[str],
    config: ExperimentConfig,
    progress: ProgressCallback = silent,
) -> list[Scored]:
    """Run each scenario with each candidate, and test what differs from the first.

    Args:
        candidates: On the same images.
        scenarios: Names; ``zero-shot`` is left out where there are no texts.
        config: How to learn; its scenario is replaced.
        progress: Told after each run.

    Raises:
        TrainingError: A scenario cannot be run on these images.
    """
    scored: list[Scored] = []
    for number, candidate in enumerate(candidates):
        experiments = {
            scenario: run_experiment(
                candidate.features,
                candidate.prompts,
                replace(config, scenario=scenario),
            )
            for scenario in scenarios
            if scenario != "zero-shot" or candidate.prompts
        }
        less = {
            scenario: _difference(
                candidate.features, one, scored[0].experiments[scenario]
            )
            for scenario, one in experiments.items()
            if scored and scenario in scored[0].experiments
        }
        scored.append(Scored(candidate, experiments, less))
        progress(Progress("backbones", number + 1, len(candidates), candidate.name))
    return scored


def few_patients(
    candidate: Candidate, findings: Sequence[str], config: ExperimentConfig
) -> Curve:
    """Test AUROC of the exact method by the number of training patients.

    All candidates learn from the same patients, because the draws depend on images and
    seed alone.

    Args:
        candidate: An encoder.
        findings: Those whose mean it is.
        config: Its policies and seed.
    """
    return measure_curve(
        candidate.features,
        candidate.prompts,
        CurveConfig(
            shots=_SHOTS,
            seeds=_DRAWS,
            seed=config.train.seed,
            methods=("analytic",),
            findings=tuple(findings),
            uncertain=config.uncertain,
            blank=config.blank,
            min_positives=1,
            train=config.train,
        ),
    )


def less_few(curve: Curve, first: Curve, point: CurvePoint) -> tuple[float, ...]:
    """What a point is above that of another encoder, with its 95 % interval.

    Both learned from the same patients and are tested on the same ones; what a test
    patient moves is taken together before it is squared, so that the interval is of
    the difference. Which patients were drawn is not in it.

    Args:
        curve: Of one encoder.
        first: Of the other, on the same images and findings.
        point: One of `curve`.
    """
    key = point.method, point.n_patients
    rows = [*curve.influences[key], *first.influences[key]]
    n_draws, n_findings = len(curve.influences[key]), len(curve.findings)
    weights = np.full((len(rows), n_findings), 1 / (n_draws * n_findings))
    weights[n_draws:] *= -1
    others = [one.auroc.mean() for one in first.influences[key]]
    difference = point.auroc - float(np.mean(others))
    margin = _NORMAL_95 * patient_variance(rows, weights) ** 0.5
    return difference, difference - margin, difference + margin


def _difference(
    features: Features, one: Experiment, first: Experiment
) -> MacroDifference:
    """Mean AUROC of one less that of the first, by a bootstrap over patients."""
    from ...learn.problem.targets import make_targets

    rows = features.rows("test")
    columns = [features.findings.index(name) for name in one.findings]
    targets = make_targets(
        features.states[rows][:, columns],
        one.config.uncertain,
        one.config.blank,
        findings=one.findings,
    )
    return macro_difference(
        one.prediction.score[rows],
        first.prediction.score[rows],
        targets.value,
        targets.observed,
        features.patient_id[rows],
        findings=one.final.counted,
    )
