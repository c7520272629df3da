"""The steps of a night, each a command that is run here."""

import io
import json
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .configuration import NightlyConfig, Step

__all__ = ["StepResult", "run_step"]

#: What a step that succeeds ends with, or that some images could not be used.
_SOME_UNUSABLE = 6


@dataclass(frozen=True)
class StepResult:
    """What came of a step.

    Attributes:
        name: The command.
        exit_code: Exit code of the command.
        seconds: How long it took.
        figures: What it counted.
        messages: What else it said.
    """

    name: str
    exit_code: int
    seconds: float
    figures: dict[str, Any] = field(default_factory=dict)
    messages: tuple[str, ...] = ()

    @property
    def is_fine(self) -> bool:
        """Whether the night may be called well."""
        return self.exit_code == 0


def run_step(
    step: Step, config: NightlyConfig, run: Callable[[list[str]], int]
) -> StepResult:
    """Run one step.

    Args:
        step: Which.
        config: Configuration of the night.
        run: Runs a command line and gives its exit code.
    """
    started = time.monotonic()
    if step.name == "predict":
        code, figures, said = _predict(step, config)
    else:
        code, figures, said = _command(step, config, run)
    seconds = round(time.monotonic() - started, 3)
    return StepResult(step.name, code, seconds, figures, said)


def _command(
    step: Step, config: NightlyConfig, run: Callable[[list[str]], int]
) -> tuple[int, dict[str, Any], tuple[str, ...]]:
    """Run a command as `main` would, with its figures as JSON."""
    arguments = step.arguments(config.store)
    if step.name == "report":
        out = config.folder / str(step.options.get("out", "report.html"))
        step = Step(step.name, {**step.options, "out": str(out)})
        arguments = step.arguments(config.store)
    else:
        arguments.append("--json")
    with (
        redirect_stdout(io.StringIO()) as out_text,
        redirect_stderr(io.StringIO()) as err,
    ):
        code = run(arguments)
    figures = {} if step.name == "report" else _figures(out_text.getvalue())
    if step.name == "embed" and not code and _unusable(figures):
        code = _SOME_UNUSABLE
    said = tuple(line for line in err.getvalue().splitlines() if line.strip())
    return code, figures, said


def _figures(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _unusable(figures: dict[str, Any]) -> int:
    return int(figures.get("images_failed", 0)) + int(figures.get("images_refused", 0))


def _predict(
    step: Step, config: NightlyConfig
) -> tuple[int, dict[str, Any], tuple[str, ...]]:
    """Predict the images of the store that no earlier night predicted by this run."""
    from retune.pipeline.app.erasing.nights import (
        predicted_name,
        predictions_name,
        remember_night_folder,
    )
    from retune.pipeline.app.predict import PredictRequest, predict_images
    from retune.pipeline.app.predicting.prediction_output import file_output
    from retune.store import FeatureStore, find_run
    from retune.store.errors import RetuneError

    try:
        store = FeatureStore(config.store)
        run = find_run(store, str(step.options["run"]))
        done_file = config.folder / predicted_name(run.run_id)
        remember_night_folder(store.path, config.folder)
        waiting = _waiting(store, run.fingerprint, done_file)
        if not waiting:
            return 0, {"images_predicted": 0}, ()
        extension = str(step.options.get("format", "parquet")).lstrip(".")
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        out = config.folder / predictions_name(run.run_id, stamp, extension)
        backbone = step.options.get("backbone")
        request = PredictRequest(
            run.run_id,
            [path for _, path in waiting],
            None if backbone is None else str(backbone),
            str(step.options.get("device", "auto")),
        )
        summary = predict_images(store, request, file_output(out))
    except RetuneError as error:
        return error.exit_code, {}, (f"Error: {error.message}",)
    with done_file.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{digest}\n" for digest, _ in waiting)
    figures = {
        "run": run.run_id,
        "images_predicted": summary.n_images - summary.n_unusable,
        "images_unusable": summary.n_unusable,
        "file": str(out),
    }
    return (_SOME_UNUSABLE if summary.n_unusable else 0), figures, ()


def _waiting(store: Any, fingerprint: str, done_file: Path) -> list[tuple[str, str]]:
    """Content digest and path of each encoded image without a prediction."""
    from retune.store.hidden_paths import real_path

    known: set[str] = set()
    if done_file.is_file():
        known = set(done_file.read_text(encoding="utf-8").split())
    rows = store.rows(
        """SELECT content_digest, min_by(root, path), min(path) FROM images
        JOIN datasets USING (dataset) JOIN features ON item_id = content_digest
        WHERE fingerprint = ? AND modality = 'image'
        GROUP BY content_digest ORDER BY 2, 3""",
        [fingerprint],
    )
    return [
        (digest, real_path(root, path))
        for digest, root, path in rows
        if digest not in known
    ]
