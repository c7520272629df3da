"""Runs as one HTML page that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module, resources
from typing import Any

import numpy as np

from retune.store.errors import ConfigurationError

from ..learn.stats.incremental import FORMULAS
from .figures import draw_course, draw_findings, draw_overview
from .groups import MENTIONED, RunGroup, group_runs, where_it_loses, without_repeats
from .matrix import markdown_table
from .records import Figure, ReportedRun

__all__ = ["build_page", "format_figure", "sequence_table"]

_SCENARIOS = ("label", "data", "class", "joint", "merge", "zero-shot")
_COLUMNS = {
    "final_auroc": "final AUROC",
    "final_auroc_positive": "of s+ alone",
    "zero_shot_auroc": "zero-shot",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "sequence_gap": "sequence gap",
    "joint_gap": "gap to joint",
}
_DETAILS = {
    "auroc": "AUROC (DeLong)",
    "auroc_bootstrap": "AUROC (patients)",
    "auroc_positive": "AUROC of s+",
    "average_precision": "AP",
    "f1": "F1",
    "sensitivity_at_90_specificity": "sens. at 90 % spec.",
    "brier": "Brier",
    "brier_constant": "Brier of a constant",
    "calibration_error": "cal. error",
    "calibration_error_constant": "of a constant",
    "threshold": "threshold",
}


@dataclass(frozen=True)
class _Section:
    """A scenario with one backbone: its groups and their picture."""

    scenario: str
    backbone: str
    groups: Sequence[RunGroup]
    picture: str


def format_figure(figure: Figure) -> str:
    """A figure with its interval, or a dash.

    >>> format_figure(Figure(0.5, 0.25, 0.75)), format_figure(Figure())
    ('0.500 (0.250 to 0.750)', '–')
    >>> format_figure(Figure(-0.0001, -0.0001, 0.0001))
    '0.000 (0.000 to 0.000)'
    """
    if np.isnan(figure.value):
        return "–"
    value, low, high = (
        f"{round(end, 3) + 0.0:.3f}".replace("-", "−")
        for end in (figure.value, figure.low, figure.high)
    )
    return value if np.isnan(figure.low) else f"{value} ({low} to {high})"


def _sections(groups: Sequence[RunGroup]) -> list[_Section]:
    keys = sorted(
        {(group.scenario, group.backbone) for group in groups},
        key=lambda key: (
            _SCENARIOS.index(key[0]) if key[0] in _SCENARIOS else len(_SCENARIOS),
            key,
        ),
    )
    sections = []
    for scenario, backbone in keys:
        part = [
            group
            for group in groups
            if (group.scenario, group.backbone) == (scenario, backbone)
        ]
        sections.append(_Section(scenario, backbone, part, draw_overview(part)))
    return sections


def sequence_table(groups: Sequence[RunGroup]) -> str:
    """The comparison of groups as a Markdown table, for a README or a paper."""
    header = ["scenario", "method", "runs", *_COLUMNS.values()]
    rows = [
        [
            group.scenario,
            group.name,
            str(len(group.runs)),
            *(format_figure(group.summary(metric)) for metric in _COLUMNS),
        ]
        for group in groups
    ]
    return markdown_table(header, rows)


def build_page(runs: Sequence[ReportedRun], *, version: str, made_at: str) -> str:
    """The page.

    Args:
        runs: Oldest first.
        version: Of retune.
        made_at: Date and time, for the head of the page.

    Raises:
        ConfigurationError: The packages that draw it are not installed.
    """
    try:
        jinja2 = import_module("jinja2")
        import_module("matplotlib.figure")  # told of here, not in mid-page
    except ImportError as error:
        raise ConfigurationError(
            f"the page needs {error.name}, which is not installed",
            "python -m pip install 'retune-cli[report]', or use `markdown`.",
        ) from error
    kept = without_repeats(runs)
    sections = _sections(group_runs(kept))
    template = resources.files(__package__).joinpath("page.html.j2").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page: str = environment.from_string(template).render(
        sections=sections,
        stores=sorted({run.store for run in kept}),
        n_runs=len(kept),
        n_repeated=len(runs) - len(kept),
        columns=_COLUMNS,
        details=_DETAILS,
        formulas=FORMULAS,
        version=version,
        made_at=made_at,
        figure=format_figure,
        losses=where_it_loses,
        mentioned=MENTIONED,
        course=draw_course,
        forest=draw_findings,
        matrix=_matrix,
        subgroups=_subgroups,
        settings=_settings,
    )
    return page


def _matrix(run: ReportedRun) -> list[dict[str, Any]]:
    """Rows of the R matrix and the bounds, each cell with its text and its shade."""
    rows = []
    names = ["zero-shot", *run.task_names()]
    for task, (name, values) in enumerate(zip(names, run.matrix(), strict=True)):
        learned = run.introduced <= task if task else np.zeros(len(values), dtype=bool)
        rows.append(_row(name, values, learned.tolist(), run.counted()))
    nothing = [False] * len(run.findings)
    return rows + [
        _row(name, row, nothing, run.counted()) for name, row in run.bounds().items()
    ]


def _row(
    name: str, values: Any, learned: Sequence[bool], counted: Any
) -> dict[str, Any]:
    known = values[~np.isnan(values) & counted]
    mean = float(known.mean()) if len(known) else float("nan")
    cells = [
        {"text": _plain(value), "shade": _shade(value), "learned": one}
        for value, one in zip(values.tolist(), learned, strict=True)
    ]
    return {"name": name, "cells": cells, "mean": _plain(mean)}


def _plain(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def _shade(value: float) -> str:
    """Background: white at 0.5, blue above, orange below."""
    if np.isnan(value):
        return "transparent"
    strength = min(1.0, abs(value - 0.5) / 0.5) * 0.55
    rgb = "0,114,178" if value >= 0.5 else "213,94,0"
    return f"rgba({rgb},{strength:.2f})"


def _subgroups(run: ReportedRun) -> list[dict[str, Any]]:
    """Mean AUROC of groups of test patients after the last task."""
    return [
        {
            "name": split.removeprefix("test/"),
            "images": run.figure("n_images", split=split).value,
            "mean": format_figure(run.figure("macro_auroc", split=split)),
            "defined": sum(
                not np.isnan(run.figure("auroc", name, split=split).value)
                for name in run.findings
            ),
        }
        for split in run.groups()
        if split.startswith("test/")
    ]


def _settings(run: ReportedRun) -> Mapping[str, object]:
    """What was run, flat, for the reader who wants to repeat it."""
    record = run.record
    experiment = asdict(record.config)
    train = experiment.pop("train")
    return {**asdict(record.provenance.selection), **experiment, **train}
