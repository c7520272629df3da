"""What a night leaves: a line, a file for machines, metrics for Prometheus."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .steps import StepResult

__all__ = ["exit_code", "prometheus_text", "summary_line", "write_file"]

#: Metric -> step, figure, help.
_FIGURES = {
    "retune_images": ("ingest", "n_images", "Images in the tables of the night."),
    "retune_images_new": ("ingest", "added", "Images that are new in the tables."),
    "retune_images_encoded": ("embed", "images_encoded", "Images encoded."),
    "retune_images_failed": ("embed", "images_failed", "Images not usable."),
    "retune_images_with_text": (
        "embed",
        "images_with_text",
        "Images with words burned in.",
    ),
    "retune_images_predicted": ("predict", "images_predicted", "Images predicted."),
}


def exit_code(results: Sequence[StepResult]) -> int:
    """That of the first step that was not fine; 0 if all were."""
    return next((one.exit_code for one in results if not one.is_fine), 0)


def figure(results: Sequence[StepResult], step: str, name: str) -> int | None:
    """The sum of a figure over the steps of this name; None if none has it."""
    values = [
        int(one.figures[name])
        for one in results
        if one.name == step and isinstance(one.figures.get(name), int)
    ]
    return sum(values) if values else None


def summary_line(results: Sequence[StepResult], seconds: float) -> str:
    """One line for a person or a mail."""
    code = exit_code(results)
    parts = []
    for step, name, _ in _FIGURES.values():
        count = figure(results, step, name)
        if count is not None:
            parts.append(
                f"{name.replace('_', ' ').replace('n images', 'images')} {count:,}"
            )
    alarms = _alarms(results)
    if alarms is not None:
        parts.append(f"drift alarms {alarms}")
    work = (figure(results, "embed", "images_encoded") or 0) + (
        figure(results, "predict", "images_predicted") or 0
    )
    if not work and not code:
        parts.append("nothing to do")
    bad = [
        f"{one.name} ended with {one.exit_code}" for one in results if not one.is_fine
    ]
    state = "not well: " + ", ".join(bad) if bad else "well"
    return f"night {state}; {', '.join(parts)}; {seconds:.0f} s"


def _alarms(results: Sequence[StepResult]) -> int | None:
    counts = [
        len(one.figures["alarms"])
        for one in results
        if isinstance(one.figures.get("alarms"), list)
    ]
    return sum(counts) if counts else None


def as_json(
    results: Sequence[StepResult], started: datetime, seconds: float
) -> dict[str, Any]:
    """The night as plain values."""
    return {
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "exit_code": exit_code(results),
        "summary": summary_line(results, seconds),
        "steps": [vars(one) for one in results],
    }


def prometheus_text(results: Sequence[StepResult], seconds: float) -> str:
    """Metrics in the text format of Prometheus, for the node exporter's folder."""
    now = datetime.now(UTC).timestamp()
    lines: list[str] = []

    def add(name: str, help_text: str, values: dict[str, float]) -> None:
        lines.append(f"# HELP {name} {help_text}")
        lines.append(f"# TYPE {name} gauge")
        lines.extend(f"{name}{labels} {value:g}" for labels, value in values.items())

    add(
        "retune_nightly_success", "Whether the last night was well.",
        {"": float(not exit_code(results))},
    )  # fmt: skip
    lines += [
        "# HELP retune_nightly_end_timestamp_seconds When the last night ended.",
        "# TYPE retune_nightly_end_timestamp_seconds gauge",
        f"retune_nightly_end_timestamp_seconds {now:.0f}",
    ]
    add("retune_nightly_seconds", "How long it took.", {"": round(seconds, 3)})
    for name, value in (("exit_code", "exit_code"), ("seconds", "seconds")):
        add(
            f"retune_nightly_step_{name}", f"Of each step: {name}.",
            {
                f'{{step="{one.name}",place="{label}"}}': float(getattr(one, value))
                for label, one in enumerate(results)
            },
        )  # fmt: skip
    for name, (step, key, help_text) in _FIGURES.items():
        count = figure(results, step, key)
        if count is not None:
            add(name, help_text, {"": float(count)})
    alarms = _alarms(results)
    if alarms is not None:
        add("retune_drift_alarms", "Alarms of drift.", {"": float(alarms)})
    return "\n".join(lines) + "\n"


def write_file(file: Path, content: str | dict[str, Any], mode: int = 0o600) -> None:
    """Write a file at once, so that nobody reads a half.

    Raises:
        StoreWriteError: The disk refused.
    """
    from retune.store.errors import StoreWriteError

    text = content
    if not isinstance(text, str):
        text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.chmod(mode)
        os.replace(partial, file)  # noqa: PTH105 - as elsewhere, the name is clear
    except OSError as error:
        raise StoreWriteError(
            f"cannot write {file}: {error.strerror or error}", "Choose another place."
        ) from error
