"""The report: runs of one or more stores become a page or a Markdown table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from retune.store import FeatureStore, find_run
from retune.store.errors import ConfigurationError, RetuneError

from ..progress import Progress, ProgressCallback, silent
from ..report.charts.reliability import ReliabilityBin, reliability_bins
from ..report.efficiency import read_curves
from ..report.groups import group_runs, without_repeats
from ..report.page import (
    PageExtras,
    Reliability,
    build_page,
    sequence_table,
    shown_runs,
)
from ..report.records import ReportedRun, read_runs

__all__ = ["ReportRequest", "report_markdown", "write_report"]

#: Run id -> the store that it is in.
_Origins = Mapping[str, FeatureStore]


@dataclass(frozen=True)
class ReportRequest:
    """What to report.

    Attributes:
        stores: Where runs are; the first has the named ones.
        runs: Run ids, their beginnings, names, or ``latest``; all runs if none.
        as_backbone: Take the backbones of all runs for one of this name.
        images: Show test images; they are patients' images.
    """

    stores: tuple[Path, ...]
    runs: tuple[str, ...] = ()
    as_backbone: str | None = None
    images: bool = False


def _read(request: ReportRequest) -> tuple[list[ReportedRun], _Origins]:
    """The runs that a request means, oldest first within a store."""
    runs_read: list[ReportedRun] = []
    origins: dict[str, FeatureStore] = {}
    for store_index, path in enumerate(request.stores):
        store = FeatureStore(path)
        runs = read_runs(store, request.runs if store_index == 0 else ())
        origins |= {run.run_id: store for run in runs}
        runs_read += runs
    if request.as_backbone is not None:
        name = request.as_backbone
        runs_read = [replace(run, backbone=name, fingerprint=name) for run in runs_read]
    return runs_read, origins


def report_markdown(request: ReportRequest) -> str:
    """The comparison of groups of runs as a Markdown table.

    Raises:
        ConfigurationError: A name means no run or several, or there is no run at all.
    """
    runs, _ = _read(request)
    return sequence_table(group_runs(without_repeats(runs)))


def write_report(
    request: ReportRequest, out: Path, progress: ProgressCallback = silent
) -> int:
    """Write the page.

    Args:
        request: What to report.
        out: The file to write.
        progress: Called for each run whose test images are scored.

    Returns:
        How many runs were read.

    Raises:
        ConfigurationError: There is no run, a package is missing, or the file cannot
            be written.
    """
    runs, origins = _read(request)
    page = build_page(
        runs,
        version=version("retune-cli"),
        made_at=f"{datetime.now():%Y-%m-%d %H:%M}",
        extras=_extras(request, runs, origins, progress),
    )
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{out} cannot be written: {error.strerror}", "Choose another `out`."
        ) from error
    return len(runs)


def _extras(
    request: ReportRequest,
    runs: Sequence[ReportedRun],
    origins: _Origins,
    progress: ProgressCallback,
) -> PageExtras:
    from .example_images import example_images

    reliability, images = {}, {}
    shown = shown_runs(runs)
    for number, run in enumerate(shown, start=1):
        key, store = (run.store, run.run_id), origins[run.run_id]
        reliability[key] = _reliability(store, run)
        if request.images:
            images[key] = example_images(store, run)
        progress(Progress("runs", number, len(shown)))
    stores = [FeatureStore(path) for path in request.stores]
    curves = [curve for store in stores for curve in read_curves(store)]
    return PageExtras(reliability, images, curves)


def _reliability(store: FeatureStore, run: ReportedRun) -> Reliability:
    """Bins of a run's probabilities; a reason if its images can no longer be scored."""
    from ..learn.runs.scored_run import score_run

    try:
        scored = score_run(store, find_run(store, run.run_id))
    except RetuneError as error:
        return Reliability({}, f"There is none: {error.message}.")
    bins: dict[str, tuple[ReliabilityBin, ...]] = {}
    for name in run.findings:
        if name not in scored.findings:
            continue
        column = scored.findings.index(name)
        seen = scored.targets.observed[:, column]
        positive = scored.targets.value[seen, column] > 0.5
        bins[name] = reliability_bins(scored.probability[seen, column], positive)
    return Reliability(bins, "; ".join(scored.notes))
