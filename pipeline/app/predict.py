"""A run on new images: from a request to rows in a file or on a terminal."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError

from ..progress import Progress, ProgressCallback, silent
from .predicting.image_sources import Source, find_images
from .predicting.model import RunModel
from .predicting.prediction_output import Output

__all__ = ["PredictRequest", "PredictSummary", "predict_images", "state_file"]


@dataclass(frozen=True)
class PredictRequest:
    """Which run is asked about which images.

    Attributes:
        run: Run id, the beginning of one, ``latest``, or a state file.
        images: Files, folders, patterns or pictures in memory.
        backbone: Where the run's backbone lies now; None: where it was at `embed`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        allow_erased: Also a run that was trained on erased data.
        operating_point: Choose thresholds anew on the run's validation images; None:
            the run's own.
        coverage: Coverage of answer sets; None: none.
        allow_pickle: Take .bin and .pt weights if there are no safetensors.
    """

    run: str
    images: Iterable[Source]
    backbone: str | None = None
    device: str = "auto"
    allow_erased: bool = False
    operating_point: str | None = None
    coverage: float | None = None
    allow_pickle: bool = False


@dataclass(frozen=True)
class PredictSummary:
    """What came of a request.

    Attributes:
        run_id: The run that was meant.
        n_images: Images that were asked about, usable or not.
        n_unusable: Those that could not be used; each has an error in its row.
        image_seconds: Time for reading, encoding and scoring, without loading.
        n_out_of_distribution: Those that are unlike all that the run was trained on.
    """

    run_id: str
    n_images: int
    n_unusable: int
    image_seconds: float
    n_out_of_distribution: int = 0


def predict_images(
    store: FeatureStore | None,
    request: PredictRequest,
    output: Output,
    progress: ProgressCallback = silent,
) -> PredictSummary:
    """Predict findings of images, which need not be in the store.

    Args:
        store: With the run; None if the request names a state file.
        request: The run and the images.
        output: Takes the rows, batch by batch, in the order of the images.
        progress: Told after each batch.

    Raises:
        ConfigurationError: No image was named, or the run, the backbone's name or the
            device is unknown.
        RetuneError: See `RunModel.open`.
        StoreWriteError: The output's disk refused.
    """
    sources = find_images(request.images)
    if not len(sources):
        raise ConfigurationError(
            "no image was named",
            "Name files, folders or patterns; - reads a list from standard input.",
        )
    if len(sources) > 1:
        progress(Progress(f"loading run {request.run}", 0, 0))
    model = _open(store, request)
    started = time.perf_counter()
    n_unusable = n_unlike = 0
    with output(model.rule) as write:
        for part in model.stream(sources, progress):
            write(part)
            n_unusable += sum(bool(one.error) for one in part)
            n_unlike += sum(bool(one.out_of_distribution) for one in part)
    seconds = time.perf_counter() - started
    return PredictSummary(model.rule.model, len(sources), n_unusable, seconds, n_unlike)


def state_file(run: str) -> Path | None:
    """The state file that a name means; None if it means a run of a store.

    >>> state_file("latest") is None
    True
    >>> state_file("sent/state.safetensors").name
    'state.safetensors'
    """
    path = Path(run)
    return path if path.suffix == ".safetensors" or path.is_file() else None


def _open(store: FeatureStore | None, request: PredictRequest) -> RunModel:
    file = state_file(request.run)
    if file is None:
        if store is None:
            raise ConfigurationError(
                f"{request.run} is no state file", "Name a store, or a file."
            )
        return RunModel.open(
            store,
            request.run,
            backbone=request.backbone,
            device=request.device,
            allow_erased=request.allow_erased,
            operating_point=request.operating_point,
            coverage=request.coverage,
            allow_pickle=request.allow_pickle,
        )
    if request.operating_point is not None or request.coverage is not None:
        raise ConfigurationError(
            "a state file holds no validation images, by which `operating_point` and "
            "`coverage` are computed",
            "Name a run of a store, or leave them out: thresholds of the run are used.",
        )
    return RunModel.from_state(
        file,
        backbone=request.backbone,
        device=request.device,
        allow_pickle=request.allow_pickle,
    )
