"""Runs as one HTML page that needs nothing beside it."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module, resources
from typing import Any

import numpy as np

from retune.store.errors import ConfigurationError
from retune.store.plural import counted

from ..learn.stats.incremental import FORMULAS
from . import page_tables
from .charts.heat_map import heat_map
from .charts.reliability import ReliabilityBin, reliability_diagram
from .comparable import Comparison, Lone, compare_groups, differing_settings
from .efficiency import ReportedCurve, draw_efficiency
from .groups import (
    MENTIONED,
    RunGroup,
    group_runs,
    setting_text,
    where_it_loses,
    without_repeats,
)
from .matrix import markdown_table
from .page_tables import format_figure
from .records import ReportedRun
from .text_table import escaped

__all__ = [
    "ExampleImage",
    "PageExtras",
    "Reliability",
    "build_page",
    "format_figure",
    "sequence_table",
    "shown_runs",
]

_COLUMNS = {
    "final_auroc": "final AUROC",
    "final_auroc_positive": "of s+ alone",
    "zero_shot_auroc": "zero-shot",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "sequence_gap": "sequence gap",
    "joint_gap": "gap to joint",
}
#: What the page shows beside the plot; the rest stands in a group's own table.
_OVERVIEW = {
    name: words for name, words in _COLUMNS.items() if name != "final_auroc_positive"
}
#: Differences of AUROCs, which have a sign.
_SIGNED = frozenset(name for name in FORMULAS if "auroc" not in name)
_DETAILS = {
    "auroc": "AUROC",
    "auroc_positive": "AUROC of s+",
    "average_precision": "AP",
    "f1": "F1",
    "sensitivity_at_90_specificity": "sens. at 90 % spec.",
    "brier": "Brier",
    "calibration_error": "cal. error",
}


@dataclass(frozen=True)
class Reliability:
    """What a run's probabilities were worth on its test images.

    Attributes:
        bins: Finding -> its bins; empty for those with too few images.
        note: Why there is none, or what to know of the labels; empty if nothing.
    """

    bins: Mapping[str, Sequence[ReliabilityBin]]
    note: str = ""


@dataclass(frozen=True)
class ExampleImage:
    """A test image as it is shown in the page.

    Attributes:
        caption: What is known of it.
        jpeg: The file's content.
    """

    caption: str
    jpeg: bytes

    @property
    def address(self) -> str:
        """As the source of an `<img>`."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode()


@dataclass(frozen=True)
class PageExtras:
    """What is shown of runs and does not stand in the metrics; by store and run id.

    Attributes:
        reliability: Reliability of single runs.
        images: Images of the test split of single runs.
        curves: Curves of the stores, by the number of training patients.
    """

    reliability: Mapping[tuple[str, str], Reliability] = field(default_factory=dict)
    images: Mapping[tuple[str, str], Sequence[ExampleImage]] = field(
        default_factory=dict
    )
    curves: Sequence[ReportedCurve] = ()


@dataclass(frozen=True)
class _Entry:
    """A group with the letter that it has in the page."""

    letter: str
    group: RunGroup
    reasons: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        known = self.group.method == "finetune" and self.group.preset != "default"
        return self.group.preset if known else self.group.method


@dataclass(frozen=True)
class _Section:
    """Comparable groups, or what is left."""

    anchor: str
    title: str
    entries: tuple[_Entry, ...]
    comparison: Comparison | None = None


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


def shown_runs(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """The runs whose details a page shows: the newest of each group."""
    return [group.newest for group in _groups(without_repeats(runs))]


def _groups(runs: Sequence[ReportedRun]) -> list[RunGroup]:
    return group_runs(runs, by_division=True)


def build_page(
    runs: Sequence[ReportedRun],
    *,
    version: str,
    made_at: str,
    extras: PageExtras | None = None,
) -> str:
    """The page.

    Args:
        runs: Oldest first.
        version: Version of retune.
        made_at: Date and time, for the head of the page.
        extras: What else to show of the runs of `shown_runs`.

    Raises:
        ConfigurationError: The package that fills it in is not installed.
    """
    try:
        jinja2 = import_module("jinja2")
    except ImportError as error:
        raise ConfigurationError(
            f"the page needs {error.name}, which is not installed",
            "python -m pip install 'retune-cli[report]', or use `markdown`.",
        ) from error
    kept = without_repeats(runs)
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    script = _resource("page.js")
    page: str = environment.from_string(_resource("page.html.j2")).render(
        sections=_sections(*compare_groups(_groups(kept))),
        stores=sorted({run.store for run in kept}),
        n_runs=len(kept),
        n_repeated=len(runs) - len(kept),
        columns=_OVERVIEW,
        signed=_SIGNED,
        details=_DETAILS,
        formulas=FORMULAS,
        version=version,
        made_at=made_at,
        style=_resource("page.css"),
        script=script,
        script_digest=_digest(script),
        figure=format_figure,
        losses=where_it_loses,
        mentioned=MENTIONED,
        tables=page_tables,
        differing=differing_settings,
        heat_map=heat_map,
        reliability_diagram=reliability_diagram,
        draw_efficiency=draw_efficiency,
        settings=_settings,
        setting_text=setting_text,
        extras=extras or PageExtras(),
        is_nan=np.isnan,
    )
    return page


def _shown(value: object) -> object:
    """A text in which nothing is hidden: no commands, no turned direction."""
    plain = isinstance(value, str) and not hasattr(value, "__html__")
    return escaped(str(value)) if plain else value


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _digest(script: str) -> str:
    """As a content security policy names the one script that may run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _sections(
    comparisons: Sequence[Comparison], alone: Sequence[Lone]
) -> list[_Section]:
    letters = iter(_letter(number) for number in range(10_000))
    sections = []
    for number, one in enumerate(comparisons, start=1):
        entries = tuple(_Entry(next(letters), group) for group in one.groups)
        sections.append(_Section(f"part-{number}", _title(one), entries, one))
    if alone:
        entries = tuple(_Entry(next(letters), one.group, one.reasons) for one in alone)
        sections.append(_Section("apart", "Not comparable, because", entries))
    return sections


def _title(comparison: Comparison) -> str:
    newest = comparison.groups[0].newest
    n_findings, n_images = len(comparison.basis.findings), newest.n_test_images
    images = "" if n_images is None else f" on {counted(n_images, 'test image')}"
    return f"{counted(n_findings, 'finding')}{images}, {newest.backbone}"


def _letter(number: int) -> str:
    """A number as letters, like the columns of a spreadsheet.

    >>> [_letter(number) for number in (0, 25, 26, 27)]
    ['A', 'Z', 'AA', 'AB']
    """
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def _settings(run: ReportedRun) -> Mapping[str, object]:
    """What was run, flat, for the reader who wants to repeat it."""
    record = run.record
    experiment: dict[str, Any] = asdict(record.config)
    train = experiment.pop("train")
    return {**asdict(record.provenance.selection), **experiment, **train}
