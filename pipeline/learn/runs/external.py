"""A finished run on other images: another dataset, another hospital."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import FeatureStore, MetricValue, add_metrics, find_run
from retune.store.errors import ConfigurationError, LeakageError, TrainingError
from retune.store.plural import counted

from ..problem.features import SPLITS, Features
from ..problem.prediction import Prediction
from ..problem.targets import BlankPolicy, Targets, UncertainPolicy, make_targets
from ..stats.catalog_names import Metric
from ..stats.evaluation import EvaluatedRows, Evaluation, evaluate_scores
from ..stats.operating_point import ThresholdOrigin
from .decision import rule_of_validation
from .learning_set import ImageSet
from .metric_rows import evaluation_values
from .reopened import (
    ReopenedRun,
    load_model_of,
    load_other_images,
    load_own_images,
    reopen_run,
)
from .saved_model import predict
from .seen_images import find_seen_images

__all__ = ["ExternalEvaluation", "evaluate_run"]


@dataclass(frozen=True)
class ExternalEvaluation:
    """Figures of a run on some images.

    Attributes:
        run_id: The run.
        split: How the figures are filed in `metrics`, such as ``padchest/all`` or
            ``store/test where age < 18``.
        n_images: How many images.
        n_trained: How many of them are of patients, or are pictures, that this store
            gave the run to train on.
        n_contaminated: Images of patients that the backbone was trained on: left out,
            or counted if they were allowed.
        findings: Findings that both the run and the images' labels know.
        evaluation: Their figures.
        not_evaluated: Finding of the run -> why it has no figure.
        origins: Where the threshold of each of `findings` comes from; transferred where
            images are of other datasets than it was chosen on.
        coverage: That was asked for; None: no answer sets.
        covered: Share of images whose answer set holds the right answer, shape (K,);
            None without a coverage.
        single: Share of images whose set has one answer, shape (K,).
        n_out_of_distribution: Images unlike all that the run was trained on; None where
            the method does not know.
    """

    run_id: str
    split: str
    n_images: int
    n_trained: int
    n_contaminated: int
    findings: tuple[str, ...]
    evaluation: Evaluation
    not_evaluated: dict[str, str]
    origins: tuple[ThresholdOrigin, ...] = ()
    coverage: float | None = None
    covered: npt.NDArray[np.float64] | None = None
    single: npt.NDArray[np.float64] | None = None
    n_out_of_distribution: int | None = None

    def __repr__(self) -> str:
        value, low, high = self.evaluation.macro
        return (
            f"ExternalEvaluation({self.run_id}, {self.split}, "
            f"{counted(self.n_images, 'image')}: "
            f"{counted(len(self.findings), 'finding')}, mean AUROC {value:.3f} "
            f"({low:.3f} to "
            f"{high:.3f}))"
        )


def evaluate_run(
    store: FeatureStore,
    name: str,
    *,
    datasets: Sequence[str] | None = None,
    split: str = "test",
    where: str | None = None,
    uncertain: UncertainPolicy | None = None,
    blank: BlankPolicy | None = None,
    allow_leakage: bool = False,
    allow_contaminated: bool = False,
    operating_point: str | None = None,
    coverage: float | None = None,
    min_positives: int | None = None,
) -> ExternalEvaluation:
    """Evaluate a run and enter the figures into `metrics`.

    Images are in the splits that the run had, also if it divided patients anew.

    Args:
        store: With the run and with images encoded by the run's encoder.
        name: Run id, the beginning of one, or ``latest``.
        datasets: Only these; None for those of the run. With neither `datasets` nor
            `where`, exactly the images that the run had.
        split: ``train``, ``validation``, ``test`` or ``all``.
        where: A SQL condition over `images`.
        uncertain: Policy for uncertain labels; None: the run's.
        blank: Policy for findings not mentioned; None: the run's.
        allow_leakage: Also on patients and pictures that the run was trained on, as
            with `split` ``train`` in any case.
        allow_contaminated: Also on images of patients that the backbone was trained on.
        operating_point: Choose thresholds anew on the run's validation images; None:
            the run's own.
        coverage: Also measure answer sets of this coverage, from validation.
        min_positives: Positives, and negatives, from which a finding enters means;
            None: the run's.

    Raises:
        ConfigurationError: Run, dataset or split is unknown, or no image fits.
        LeakageError: The run was trained on some of these patients or pictures.
        TrainingError: Run and images have no finding in common, or the run's record
            or folder is damaged.
    """
    reopened = reopen_run(store, find_run(store, name))
    run, config = reopened.run, reopened.record.config
    saved = load_model_of(store, reopened)
    image_set = _images(store, reopened, datasets, split, where, allow_contaminated)
    features = image_set.features
    rows = _rows(features, split)
    seen = find_seen_images(store, reopened, features.image_id[rows].tolist())
    if seen and split != "train" and not allow_leakage:
        raise LeakageError(
            f"{len(seen):,} of these {counted(len(rows), 'image', 'are')} of patients, "
            "or are "
            f"pictures, that run {run.run_id} was trained on, such as {min(seen)}",
            "Leave them out with `split` test, `datasets` or `where`, or say "
            "`allow_leakage` if you mean it.",
        )
    known = [name for name in saved.findings if name in features.findings]
    if not known:
        raise TrainingError(
            f"run {run.run_id} knows {', '.join(saved.findings)}; the images are "
            f"labelled for {', '.join(features.findings)}",
            "Choose other `datasets`.",
        )
    columns = [features.findings.index(name) for name in known]
    outputs = [saved.findings.index(name) for name in known]
    all_targets = make_targets(
        features.states,
        uncertain or config.uncertain,
        blank or config.blank,
        findings=features.findings,
    )
    targets = Targets(all_targets.value[:, columns], all_targets.observed[:, columns])
    thresholds, origins, sets = rule_of_validation(
        store, reopened, saved, operating_point=operating_point, coverage=coverage
    )
    if not _of_these(image_set, rows) <= set(_datasets_of(reopened)):
        origins = tuple(replace(one, transferred=True) for one in origins)
    scores = predict(saved.model, features.embedding, rows=rows, detailed=True)
    prediction = scores.ranking_by(config.score, run.method).columns(outputs)
    least = config.min_positives if min_positives is None else min_positives
    images = EvaluatedRows.of(features, targets, rows, least)
    evaluation = evaluate_scores(
        images,
        prediction,
        thresholds[outputs],
        seed=run.seed,
        constant=saved.constant[outputs],
    )
    covered = single = None
    if sets is not None:
        known_sets, chance = sets.columns(outputs), prediction.probability[rows]
        covered = known_sets.covered(chance, images.value, images.observed)
        single = known_sets.single(chance, images.observed)
    label = f"{'+'.join(datasets) if datasets else 'store'}/{split}"
    label += f" where {where}" if where else ""
    task = _last_task(store, run.run_id)
    add_metrics(
        store,
        run.run_id,
        [
            *evaluation_values(known, evaluation, task, label),
            *_set_values(known, covered, single, task, label),
        ],
    )
    reasons = {
        name: "these images are not labelled for it"
        for name in saved.findings
        if name not in known
    }
    reasons |= {
        name: "one class only among these images"
        for name, value in zip(known, evaluation.auroc, strict=True)
        if np.isnan(value)
    }
    return ExternalEvaluation(
        run.run_id,
        label,
        len(rows),
        len(seen),
        image_set.provenance.n_contaminated,
        tuple(known),
        evaluation,
        reasons,
        tuple(origins[index] for index in outputs),
        coverage,
        covered,
        single,
        _n_unlike(prediction, rows),
    )


def _datasets_of(reopened: ReopenedRun) -> tuple[str, ...]:
    """The datasets that a run chose its thresholds on."""
    return tuple(reopened.record.provenance.selection.datasets or ())


def _of_these(images: ImageSet, rows: npt.NDArray[np.int64]) -> set[str]:
    """The datasets of some images."""
    return set(images.images["dataset"].take(pa.array(rows)).to_pylist())


def _n_unlike(prediction: Prediction, rows: npt.NDArray[np.int64]) -> int | None:
    flag, distance = prediction.out_of_distribution, prediction.distance
    if flag is None or distance is None or np.isnan(distance[rows]).all():
        return None
    return int(flag[rows].sum())


def _set_values(
    findings: Sequence[str],
    covered: npt.NDArray[np.float64] | None,
    single: npt.NDArray[np.float64] | None,
    task: int,
    split: str,
) -> Iterator[MetricValue]:
    """What answer sets reach as rows of `metrics`."""
    for metric, values in (
        (Metric.CONFORMAL_COVERAGE, covered),
        (Metric.CONFORMAL_SINGLE, single),
    ):
        for name, value in zip(
            findings, () if values is None else values, strict=False
        ):
            yield MetricValue(task, split, name, metric, float(value))


def _images(
    store: FeatureStore,
    reopened: ReopenedRun,
    datasets: Sequence[str] | None,
    split: str,
    where: str | None,
    allow_contaminated: bool,
) -> ImageSet:
    """The run's own images, unless others were asked for."""
    if split not in (*SPLITS, "all"):
        raise ConfigurationError(
            f"unknown `split` {split}", f"Use {', '.join(SPLITS)} or all."
        )
    if datasets is None and where is None and not allow_contaminated:
        return load_own_images(store, reopened, SPLITS if split == "all" else [split])
    return load_other_images(
        store,
        reopened,
        datasets=datasets,
        where=where,
        allow_contaminated=allow_contaminated,
    )


def _rows(features: Features, split: str) -> npt.NDArray[np.int64]:
    chosen = SPLITS if split == "all" else (split,)
    rows = np.sort(np.concatenate([features.rows(name) for name in chosen]))
    if not len(rows):
        raise ConfigurationError(
            f"none of these images is in the {split} split", "Use `split` all."
        )
    return rows


def _last_task(store: FeatureStore, run_id: str) -> int:
    rows = store.rows(
        "SELECT coalesce(max(task), 0) FROM metrics WHERE run_id = ?", [run_id]
    )
    return int(rows[0][0])
