"""What runs say of images: probabilities, decisions, how sure, and where wrong."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from retune.store import FeatureStore, find_run
from retune.store.errors import ConfigurationError, RetuneError
from retune.store.queries.tables import table_names

from ..run_entries import RunEntry, list_runs

__all__ = ["KINDS", "Kind", "Mistake", "Verdict", "Verdicts"]

Kind = Literal[
    "false-positives", "false-negatives", "uncertain", "unfamiliar", "suspects"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
_MOST_RUNS, _MOST_KEPT, _MOST_MISTAKES = 8, 8, 60
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """What a run says of one image.

    Attributes:
        run_id: The run.
        title: Its name or id, and its method.
        probability: Finding -> probability.
        decision: Finding -> positive or negative, by the run's threshold.
        deviation: Finding -> standard deviation of the score; empty where the method
            gives none.
        unfamiliar: The image is unlike those that the run was trained on; None where
            the method does not say.
    """

    run_id: str
    title: str
    probability: dict[str, float]
    decision: dict[str, str]
    deviation: dict[str, float]
    unfamiliar: bool | None


@dataclass(frozen=True)
class Mistake:
    """An image of a list of errors.

    Attributes:
        image_id: The image.
        probability: Probability of the finding.
        label: ``positive``, ``negative`` or ``unknown``, as the run counts it.
        measure: What the list is sorted by.
    """

    image_id: str
    probability: float
    label: str
    measure: float


class Verdicts:
    """Runs in memory, the newest few of those that were asked.

    Args:
        store: With the runs.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._models: OrderedDict[str, Any] = OrderedDict()

    def on_image(
        self, vector: npt.NDArray[np.float32], fingerprint: str
    ) -> tuple[list[Verdict], list[str]]:
        """What the newest runs of an encoder say of a vector, shape (D,).

        Returns:
            Their verdicts, and a sentence for each run that cannot say anything.
        """
        verdicts, problems = [], []
        for entry in self._runs(fingerprint)[:_MOST_RUNS]:
            try:
                verdicts.append(self._verdict(entry, vector))
            except RetuneError as error:
                problems.append(f"run {entry.run_id}: {error.message}")
        return verdicts, problems

    def _runs(self, fingerprint: str) -> list[RunEntry]:
        rows = self._store.rows(
            "SELECT run_id FROM runs WHERE fingerprint = ? AND status = 'finished'",
            [fingerprint],
        )
        ours = {run_id for (run_id,) in rows}
        return [entry for entry in list_runs(self._store) if entry.run_id in ours]

    def _verdict(self, entry: RunEntry, vector: npt.NDArray[np.float32]) -> Verdict:
        saved = self._model(entry.run_id)
        probability, deviation, unfamiliar = judged(saved, vector[None])
        names = saved.findings
        decided = probability[0] >= saved.thresholds
        return Verdict(
            entry.run_id,
            f"{entry.name or entry.run_id[:15]} · {entry.scenario} · {entry.method}",
            dict(zip(names, map(float, probability[0]), strict=True)),
            {
                name: "positive" if yes else "negative"
                for name, yes in zip(names, decided, strict=True)
            },
            {}
            if deviation is None
            else {
                name: float(value)
                for name, value in zip(names, deviation[0], strict=True)
                if np.isfinite(value)
            },
            None if unfamiliar is None else bool(unfamiliar[0] > 1),
        )

    def _model(self, run_id: str) -> Any:
        if run_id not in self._models:
            from ...learn.runs.reopened import load_run_model

            run = find_run(self._store, run_id)
            self._models[run_id] = load_run_model(self._store, run)
            while len(self._models) > _MOST_KEPT:
                self._models.popitem(last=False)
        self._models.move_to_end(run_id)
        return self._models[run_id]

    def probabilities(
        self, run_name: str, finding: str, vectors: npt.NDArray[np.floating]
    ) -> Floats:
        """A run's probability of one finding for vectors, shape (N, D)."""
        saved = self._model(find_run(self._store, run_name).run_id)
        if finding not in saved.findings:
            raise ConfigurationError(
                f"run {run_name} does not know {finding!r}",
                f"It knows {', '.join(saved.findings)}.",
            )
        probability, _, _ = judged(saved, vectors)
        return probability[:, saved.findings.index(finding)]

    def mistakes(
        self, run_name: str, finding: str, mistake_type: Kind
    ) -> list[Mistake]:
        """Test images of a run where it errs most, or is least sure.

        Args:
            run_name: The run.
            finding: One of its findings.
            mistake_type: ``false-positives`` and ``false-negatives``, the most
                confident first; ``uncertain``: by the score's standard deviation, or
                nearest to the threshold where the method gives none; ``unfamiliar``:
                farthest from the images that the run was trained on; ``suspects``:
                labels of any split that the last label audit of the run's encoder
                doubts most.

        Raises:
            ConfigurationError: The finding or kind is unknown, or the run's images are
                gone.
            TrainingError: The run's folder is damaged.
        """
        from ...learn.runs.scored_run import score_run

        if mistake_type not in KINDS:
            raise ConfigurationError(
                f"unknown kind of error {mistake_type!r}",
                f"Use one of {', '.join(KINDS)}.",
            )
        run = find_run(self._store, run_name)
        if mistake_type == "suspects":
            return self._suspects(run.fingerprint, finding)
        scored = score_run(self._store, run)
        if finding not in scored.findings:
            raise ConfigurationError(
                f"run {run.run_id} does not know {finding!r}",
                f"It knows {', '.join(scored.findings)}.",
            )
        saved = self._model(run.run_id)
        column = scored.findings.index(finding)
        threshold = float(saved.thresholds[saved.findings.index(finding)])
        probability = scored.probability[:, column].astype(np.float64)
        observed = scored.targets.observed[:, column]
        positive = scored.targets.value[:, column] >= 0.5
        wrong = observed & (positive != (probability >= threshold))
        measure: Floats
        if mistake_type == "false-positives":
            chosen, measure = wrong & ~positive, probability
        elif mistake_type == "false-negatives":
            chosen, measure = wrong & positive, -probability
        else:
            doubt = self._doubt(saved, scored.image_id.tolist(), finding, mistake_type)
            if doubt is None and mistake_type == "unfamiliar":
                return []
            measure = -np.abs(probability - threshold) if doubt is None else doubt
            chosen = np.isfinite(measure)
            if mistake_type == "unfamiliar":
                chosen &= measure > 1
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(-measure[rows], kind="stable")][:_MOST_MISTAKES]
        return [
            Mistake(
                str(scored.image_id[row]),
                float(probability[row]),
                "unknown"
                if not observed[row]
                else ("positive" if positive[row] else "negative"),
                float(measure[row]),
            )
            for row in rows
        ]

    def _suspects(self, fingerprint: str, finding: str) -> list[Mistake]:
        """Of the last `audit labels`, the most doubtful first; empty without one."""
        if "label_audits" not in table_names(self._store):
            return []
        rows = self._store.rows(
            """SELECT image_id, probability, label, disagreement FROM label_audits
            JOIN images USING (image_id)
            WHERE finding = ? AND audit_id = (SELECT arg_max(audit_id, made_at)
                FROM label_audits WHERE fingerprint = ?)
            ORDER BY rank LIMIT ?""",
            [finding, fingerprint, _MOST_MISTAKES],
        )
        return [
            Mistake(image, probability, "positive" if label else "negative", measure)
            for image, probability, label, measure in rows
        ]

    def _doubt(
        self, saved: Any, image_id: Sequence[str], finding: str, mistake_type: Kind
    ) -> Floats | None:
        """Deviation of the score, or distance over its limit; None: not to be had."""
        import pyarrow as pa

        from retune.store import read_labelled_images

        read = read_labelled_images(
            self._store,
            saved.fingerprint,
            image_ids=pa.array([str(one) for one in image_id], pa.string()),
        )
        _, deviation, distance = judged(saved, read.embedding)
        row_of_image = {
            one: row for row, one in enumerate(read.images["image_id"].to_pylist())
        }
        rows = [row_of_image[str(one)] for one in image_id]
        if mistake_type == "unfamiliar":
            return None if distance is None else distance[rows]
        if deviation is None:
            return None
        doubt: Floats = deviation[rows, saved.findings.index(finding)]
        return doubt


def judged(
    saved: Any, vectors: npt.NDArray[np.floating]
) -> tuple[Floats, Floats | None, Floats | None]:
    """Probabilities (N, K), deviations (N, K) and distances over their limit (N,).

    The last two are None where the method has none.
    """
    import torch

    from ...learn.runs.saved_model import predict

    probability = predict(saved.model, vectors).probability.astype(np.float64)
    model = saved.model
    if not hasattr(model, "uncertainty"):
        return probability, None, None
    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(vectors)).float()
        deviation = model.uncertainty(x).double().numpy()
        distance = (model.distance(x) / model.distance_limit).double().numpy()
    return probability, deviation, distance
