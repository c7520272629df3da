"""A run's model in memory: images in, probabilities and decisions out.

Here encode and learn meet: neither room knows the other.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from PIL import Image

from retune.store import EncoderSpec, FeatureStore, Run, find_run
from retune.store.errors import ConfigurationError, TrainingError
from retune.store.plural import counted

from ...encode.reopened import load_encoder, reopen_backbone
from ...encode.vector_stream import VectorBatch, stream_vectors
from ...learn.erasing.marks import refuse_erased
from ...learn.problem.prediction import Prediction
from ...learn.runs.decision import rule_of_validation
from ...learn.runs.reopened import check_sound, load_model_of, reopen_run
from ...learn.runs.saved_model import SavedModel, predict
from ...learn.runs.state import load_state
from ...progress import Progress, ProgressCallback, silent
from .image_sources import ImageSources, Source, find_images
from .prediction import PREDICTION_SCHEMA, DecisionRule, ImagePrediction, to_table
from .run_roots import RunRoots

if TYPE_CHECKING:
    import pandas as pd

    from ...encode.backbones.contract import Backbone

__all__ = ["Predictions", "RunModel"]


def _with_limit(rule: DecisionRule, saved: SavedModel) -> DecisionRule:
    """A rule that also says from which distance on an image is unlike all others."""
    known = saved.model.state_dict()
    limit = known.get("distance_limit")
    if limit is None or not np.isfinite(float(limit)):
        return rule
    rate = float(known["alarm_rate"])
    return replace(rule, distance_limit=float(limit), alarm_rate=rate)


@dataclass(frozen=True)
class Predictions:
    """What a run says of images, a row for each image and finding.

    Attributes:
        table: Table of `PREDICTION_SCHEMA`. An image that could not be used has one
            row, with an `error` and neither finding nor probability.
    """

    table: pa.Table

    def frame(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame.

        Raises:
            ConfigurationError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401, ICN001 - arrow imports it by itself
        except ImportError as error:
            raise ConfigurationError(
                "a DataFrame needs pandas, which is not installed",
                "pip install pandas, or use the Arrow table: `.table`.",
            ) from error
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __repr__(self) -> str:
        errors = len(self) - self.table["error"].null_count
        return (
            f"<Predictions: {counted(len(self), 'row')}, {counted(errors, 'image')} "
            "not usable>"
        )


@dataclass(frozen=True)
class RunModel:
    """A run's adaptors behind its backbone, loaded once for as many images as you like.

    Attributes:
        run: The run; None for a model from a state file.
        saved: Its adaptors.
        backbone: The backbone that it was trained on.
        rule: Findings, thresholds, and where these come from.
        roots: Where datasets lie, to tell images of the run's from those of others.

    Example:
        model = RunModel.open(FeatureStore("feature-store"), "latest")
        model.predict(["x.png", numpy_array, pil_image, "folder/"]).frame()
    """

    run: Run | None
    saved: SavedModel
    backbone: "Backbone"
    rule: DecisionRule
    roots: RunRoots = field(default_factory=RunRoots)

    @classmethod
    def open(
        cls,
        store: FeatureStore,
        run_name: str,
        *,
        backbone: str | None = None,
        device: str = "auto",
        allow_erased: bool = False,
        operating_point: str | None = None,
        coverage: float | None = None,
        allow_pickle: bool = False,
    ) -> Self:
        """Load a run and its backbone.

        Args:
            store: With the run.
            run_name: Run id, the beginning of one, or ``latest``.
            backbone: Where the run's backbone lies now; None: where it was at `embed`.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            allow_erased: Also a run that was trained on erased data.
            operating_point: Choose thresholds anew on the run's validation images:
                ``f1``, ``youden``, ``sensitivity=S`` or ``specificity=S``; None: the
                run's own.
            coverage: Also give answer sets that hold the right answer in this share of
                positive and of negative images; None: none.
            allow_pickle: Take .bin and .pt weights if there are no safetensors.

        Raises:
            ErasedDataError: The run was trained on somebody who is erased.
            BackboneError: The backbone cannot be loaded.
            ConfigurationError: The run, the backbone's name or the device is unknown.
            FingerprintMismatchError: It is not the one that the run was trained on.
            StoreCorruptError: The encoder's record cannot be read.
            TrainingError: The run's folder is damaged.
        """
        run = find_run(store, run_name)
        refuse_erased(store, run.run_id, allow_erased=allow_erased)
        reopened = reopen_run(store, run)
        saved = load_model_of(store, reopened)
        thresholds, origins, sets = rule_of_validation(
            store,
            reopened,
            saved,
            operating_point=operating_point,
            coverage=coverage,
        )
        rule = DecisionRule.of(saved.findings, thresholds, origins, sets)
        rule = _with_limit(replace(rule, model=run.run_id), saved)
        loaded = reopen_backbone(
            store,
            run.fingerprint,
            backbone=backbone,
            device=device,
            allow_pickle=allow_pickle,
        )
        datasets = reopened.record.provenance.selection.datasets
        return cls(run, saved, loaded, rule, RunRoots.of(store, datasets))

    @classmethod
    def from_state(
        cls,
        file: Path,
        *,
        backbone: str | None = None,
        device: str = "auto",
        allow_pickle: bool = False,
    ) -> Self:
        """Load a model and its backbone from a state file alone; no store is needed.

        Thresholds are those of the run that the file is of, marked as transferred:
        nobody can tell whether images are of the dataset that they were chosen on.

        Args:
            file: ``state.safetensors`` of a run.
            backbone: Where its backbone lies; None: what the file names.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            allow_pickle: Take .bin and .pt weights if there are no safetensors.

        Raises:
            BackboneError: The backbone cannot be loaded.
            FingerprintMismatchError: It is not the one that the run was trained on.
            TrainingError: The file is damaged, or from before states held models.
        """
        carried = load_state(file).model
        if carried is None:
            raise TrainingError(
                f"{file} holds no model to predict with",
                "Runs of this version write one into their state; train or merge "
                "again, or name a run of a store.",
            )
        saved = carried.restored(file)
        check_sound(saved, file)
        try:
            spec = EncoderSpec.from_json(carried.encoder)
        except ValueError as error:
            raise TrainingError(
                f"{file} names no encoder: {error}",
                "Take the file from its run again.",
            ) from error
        rule = DecisionRule.of(
            saved.findings, saved.thresholds, saved.threshold_origins
        )
        rule = _with_limit(replace(rule, model=carried.run_id), saved)
        loaded = load_encoder(
            spec, backbone=backbone, device=device, allow_pickle=allow_pickle
        )
        # Nobody can tell whether images are of the dataset of its validation images.
        return cls(None, saved, loaded, rule.transferred())

    def predict(
        self,
        items: Source | Iterable[Source],
        progress: ProgressCallback = silent,
    ) -> "pd.DataFrame":
        """`predictions` as a DataFrame: a row per image and finding."""
        return self.predictions(items, progress).frame()

    def predictions(
        self,
        items: Source | Iterable[Source],
        progress: ProgressCallback = silent,
    ) -> Predictions:
        """Predict findings of images that need not be in the store.

        Args:
            items: One or several of: a file, a folder (searched with all in it), a
                pattern such as ``scans/*.png``, a PIL image, a NumPy array. Arrays are
                uint8 or uint16, of shape (height, width), (height, width, 1) or
                (height, width, 3).
            progress: Told after each batch.

        Returns:
            Rows in the order of `items`, in memory; `stream` is for more images than
            fit there.

        Raises:
            BackboneError: The backbone fails on every image of a batch.
        """
        single = isinstance(items, str | Image.Image | np.ndarray) or hasattr(
            items, "__fspath__"
        )
        sources = find_images([items] if single else items)  # type: ignore[list-item, arg-type]  # just asked
        tables = [to_table(part, self.rule) for part in self.stream(sources, progress)]
        return Predictions(pa.concat_tables([PREDICTION_SCHEMA.empty_table(), *tables]))

    def stream(
        self, sources: ImageSources, progress: ProgressCallback = silent
    ) -> Generator[list[ImagePrediction]]:
        """Predict batch by batch, at the rate of `embed`; memory holds a few batches.

        Args:
            sources: From `find_images`.
            progress: Told after each batch.

        Yields:
            Predictions of images that follow each other.

        Raises:
            BackboneError: The backbone fails on every image of a batch.
        """
        preprocess = self.backbone.preprocess
        batches = stream_vectors(
            self.backbone, sources, lambda item: sources.read(item, preprocess)
        )
        done = n_unusable = 0
        try:
            for batch in batches:
                part = self._score(batch, sources)
                done += len(part)
                n_unusable += sum(bool(one.error) for one in part)
                note = f"{n_unusable:,} not usable" if n_unusable else ""
                progress(Progress("images", done, len(sources), note))
                yield part
        finally:
            batches.close()

    def _score(
        self, batch: VectorBatch, sources: ImageSources
    ) -> list[ImagePrediction]:
        scored: list[Prediction] = []
        if len(batch.vectors):
            prediction = predict(self.saved.model, batch.vectors, detailed=True)
            scored = [prediction.image(row) for row in range(len(batch.vectors))]
        images = iter(scored)
        return [
            ImagePrediction.of(
                sources.given_as(item),
                sources.path_of(item),
                error,
                None if error else next(images),
                self._rule_for(sources.path_of(item)),
            )
            for item, error in zip(batch.items, batch.errors, strict=True)
        ]

    @cached_property
    def _transferred(self) -> DecisionRule:
        return self.rule.transferred()

    def _rule_for(self, path: str | None) -> DecisionRule:
        foreign = path is not None and self.roots.of_others(path)
        return self._transferred if foreign else self.rule

    def __repr__(self) -> str:
        known: Sequence[Any] = self.saved.findings
        return (
            f"<RunModel {self.rule.model}: {counted(len(known), 'finding')} by "
            f"{self.saved.method}, behind {self.backbone.spec.backbone}>"
        )
