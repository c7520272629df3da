"""A run's model as one file for elsewhere: ONNX, with a card beside it."""

import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.store import FeatureStore, Run, find_run
from retune.store.atomic_files import write_atomically
from retune.store.errors import ConfigurationError, TrainingError

from ...report.model_card import CardFigures, card_text

if TYPE_CHECKING:
    from ...encode.backbones.contract import Backbone
    from ...learn.runs.saved_model import SavedModel

__all__ = ["ExportedModel", "export_model"]

_HINT = "pip install 'retune-cli[onnx]'"
_OPSET = 17
#: More than this between torch and ONNX is a fault of the export.
_TOLERANCE = 1e-5
#: A backbone sums thousands of products in another order.
_PIXEL_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ExportedModel:
    """What was written.

    Attributes:
        run_id: The run.
        file: The ONNX file: `embedding` (N, D) float32, or `pixels` (N, height, width,
            3) uint8, to `probability` (N, K).
        card: The model card beside it.
        findings: K names, in the order of the output.
        largest_difference: Between torch's probabilities and ONNX's on random input.
    """

    run_id: str
    file: Path
    card: Path
    findings: tuple[str, ...]
    largest_difference: float


def export_model(
    store: FeatureStore,
    run_name: str,
    out: Path | None = None,
    *,
    with_backbone: bool = False,
    backbone: str | None = None,
) -> ExportedModel:
    """Write a run's model as ONNX: normalising, adaptor and calibration in one graph.

    The file holds no image, no id and no embedding of an image. Its metadata name
    findings, thresholds, run and the encoder whose embeddings it takes.

    Args:
        store: With the run.
        run_name: Run id, the beginning of one, a name, or ``latest``.
        out: The file; None: ``RUN.onnx`` in the current folder.
        with_backbone: Put the image tower before it: pixels in, probabilities out.
        backbone: Where the run's backbone lies now; None: where it was at `embed`.

    Raises:
        BackboneError: The backbone cannot be loaded.
        ConfigurationError: The run is unknown, or onnx is not installed.
        FingerprintMismatchError: It is not the backbone that the run was trained on.
        StoreWriteError: The disk refused.
        TrainingError: The run's folder is damaged, or its method cannot be exported.
    """
    from ...learn.runs.reopened import load_run_model

    run = find_run(store, run_name)
    saved = load_run_model(store, run)
    tower = None
    if with_backbone:
        from ...encode.reopened import reopen_backbone

        tower = reopen_backbone(store, run.fingerprint, backbone=backbone, device="cpu")
    content, difference = _as_onnx(saved, run, tower)
    file = Path(f"{run.run_id}.onnx") if out is None else out
    card = file.with_suffix(".md")
    write_atomically(file, content)
    write_atomically(card, card_text(_figures(store, run, saved)).encode())
    return ExportedModel(run.run_id, file, card, saved.findings, difference)


def _as_onnx(
    saved: "SavedModel", run: Run, backbone: "Backbone | None" = None
) -> tuple[bytes, float]:
    """The model as ONNX, checked against torch by onnxruntime."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ConfigurationError(
            f"exporting needs a package: {error}", _HINT
        ) from error
    import torch

    from .exported_graph import answering_module, example_input

    name = "embedding" if backbone is None else "pixels"
    example = example_input(saved, backbone)
    module = answering_module(saved, backbone)
    graph: Any = io.BytesIO()  # torch writes into it; its types know of paths only
    try:
        # Attention has a fast path that no exporter knows.
        torch.backends.mha.set_fastpath_enabled(False)
        with warnings.catch_warnings(), torch.no_grad():
            # torch warns of its own exporter; what it writes is compared with torch.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                (example,),
                graph,
                dynamo=False,
                opset_version=_OPSET,
                input_names=[name],
                output_names=["probability"],
                dynamic_axes={name: {0: "n"}, "probability": {0: "n"}},
            )
            wanted = module(example).numpy()
    # torch's exporter meets what it does not know with errors of almost any kind.
    except Exception as error:
        what = f"a model of method {saved.method}"
        if backbone is not None:
            what += f" behind {backbone.spec.backbone}"
        raise TrainingError(
            f"{what} cannot be exported: {error}",
            "Export it without its backbone, or report it with the run's "
            "configuration.",
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    model = onnx.load_from_string(graph.getvalue())
    for key, value in _metadata(saved, run, backbone).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (onnx_scores,) = session.run(None, {name: example.numpy()})
    return content, _difference(onnx_scores, wanted, backbone)


def _difference(onnx_scores: Any, wanted: Any, backbone: "Backbone | None") -> float:
    """The largest difference of probabilities, which must be small."""
    import numpy as np

    known = ~np.isnan(wanted)
    difference = float(np.abs(onnx_scores - wanted)[known].max(initial=0.0))
    if not difference <= (_TOLERANCE if backbone is None else _PIXEL_TOLERANCE):
        raise TrainingError(
            f"ONNX's probabilities differ by {difference:.2g} from torch's",
            "Report it with the run's configuration.",
        )
    return difference


def _metadata(
    saved: "SavedModel", run: Run, backbone: "Backbone | None"
) -> dict[str, str]:
    tower = {}
    if backbone is not None:
        tower = {
            "backbone": backbone.spec.backbone,
            "preprocess": json.dumps(dict(backbone.spec.preprocess)),
            "input": "uint8 RGB, resized and cropped as `preprocess` says, 0 to 255",
        }
    return tower | {
        "run": run.run_id,
        "method": saved.method,
        "encoder": saved.fingerprint,
        "findings": json.dumps(saved.findings),
        "thresholds": json.dumps(saved.thresholds.tolist()),
        "use": "for research only, not for diagnosis",
    }


def _figures(store: FeatureStore, run: Run, saved: "SavedModel") -> CardFigures:
    """What the card says, from the catalog."""
    rows = store.rows(
        """SELECT finding, arg_max(value, task), arg_max(ci_low, task),
            arg_max(ci_high, task)
        FROM metrics WHERE run_id = ? AND metric = 'auroc' AND split = 'test'
            AND finding IS NOT NULL GROUP BY finding ORDER BY finding""",
        [run.run_id],
    )
    groups = store.rows(
        """SELECT split, arg_max(value, task), arg_max(ci_low, task),
            arg_max(ci_high, task)
        FROM metrics WHERE run_id = ? AND metric = 'macro_auroc'
            AND starts_with(split, 'test/') GROUP BY split ORDER BY split""",
        [run.run_id],
    )
    encoder = store.rows(
        "SELECT any_value(backbone) FROM encoders WHERE fingerprint = ?",
        [run.fingerprint],
    )
    config = json.loads(run.config) if isinstance(run.config, str) else run.config
    return CardFigures(
        run_id=run.run_id,
        method=saved.method,
        scenario=run.scenario,
        backbone=str(encoder[0][0]) if encoder else "unknown",
        fingerprint=saved.fingerprint,
        dim=saved.dim,
        findings=saved.findings,
        thresholds=tuple(saved.thresholds.tolist()),
        auroc=tuple(rows),
        groups=tuple(groups),
        provenance=dict(config.get("provenance", {})),
    )
