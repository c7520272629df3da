"""New images through a backbone and a run's adaptors: where encode and learn meet.

Neither room knows the other; this file is the only one that uses both.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retune.store import EncoderSpec, FeatureStore, find_run
from retune.store.errors import FingerprintMismatchError

from ..encode.backbones.chunking import with_long_texts
from ..encode.backbones.loading import load_backbone, source_of
from ..encode.images.reading import ImageItem, read_image
from ..learn.runs.record import load_run_model
from ..learn.runs.saved_model import predict

__all__ = ["ImagePrediction", "predict_images"]


@dataclass(frozen=True)
class ImagePrediction:
    """What a run says of one image file.

    Attributes:
        path: The file.
        error: Why there is no prediction; empty if there is one.
        probabilities: Finding -> probability.
        called: Findings whose probability reaches the run's threshold.
    """

    path: str
    error: str
    probabilities: dict[str, float]
    called: tuple[str, ...]


def predict_images(
    store: FeatureStore,
    run_name: str,
    paths: Sequence[Path],
    *,
    backbone: str | None = None,
    device: str = "auto",
) -> list[ImagePrediction]:
    """Predict findings of image files that need not be in the store.

    Args:
        store: With the run.
        run_name: Run id, the beginning of one, or ``latest``.
        paths: Image files.
        backbone: Where the run's backbone lies now; None: where it was at `embed`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        One item per path, in order.

    Raises:
        FingerprintMismatchError: The backbone is not the one the run was trained on.
        BackboneError: It cannot be loaded.
        ConfigurationError: The run is unknown.
        TrainingError: The run's folder is damaged.
    """
    run = find_run(store, run_name)
    saved = load_run_model(store, run)
    spec = EncoderSpec.from_json(
        store.sql(
            "SELECT spec FROM encoders WHERE fingerprint = ?", [run.fingerprint]
        ).fetchall()[0][0]
    )
    source = source_of(
        backbone or spec.backbone,
        precision=spec.precision,
        output_dtype=spec.output_dtype,
        decode=str(spec.preprocess.get("decode", "full")),
        pixels=int(str(spec.preprocess.get("pixels", 1))),
    )
    loaded = load_backbone(
        source,
        precision=spec.precision,
        output_dtype=spec.output_dtype,
        device=device,
    )
    loaded = with_long_texts(loaded, str(spec.tokenizer.get("long", "cut")))
    if loaded.spec.fingerprint != run.fingerprint:
        raise FingerprintMismatchError(
            f"run {run.run_id} was trained on vectors of {run.fingerprint}; "
            f"'{source.name}' is {loaded.spec.fingerprint}",
            "Give the backbone of the run with --backbone. Its weights, "
            "preprocessing and library versions must be those of `embed`.",
        )
    predictions = []
    for path in paths:
        item = ImageItem(str(path), "", str(path))
        read = read_image(
            item,
            loaded.preprocess.to_pixels,
            lambda _: False,
            loaded.preprocess.decode_at_least,
        )
        if read.pixels is None:
            reason = read.failure.error if read.failure else "no pixels"
            predictions.append(ImagePrediction(str(path), reason, {}, ()))
            continue
        # Rounded as in the store, so that a known image gets the same prediction.
        vector = loaded.encode_images(read.pixels[np.newaxis]).astype(spec.output_dtype)
        probability = predict(saved.model, vector).probability[0]
        predictions.append(
            ImagePrediction(
                str(path),
                "",
                dict(zip(saved.findings, map(float, probability), strict=True)),
                tuple(
                    name
                    for name, value, threshold in zip(
                        saved.findings, probability, saved.thresholds, strict=True
                    )
                    if value >= threshold
                ),
            )
        )
    return predictions
