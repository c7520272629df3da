"""`retune-cli drift`: what changed over months, sites, devices or any other column."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..terminal.options import (
    BackboneOption,
    DatasetsOption,
    ErasedOption,
    FingerprintOption,
    JsonOption,
    QuietOption,
    StoreOption,
    WhereOption,
    split_names,
)
from ..terminal.printing import print_json, print_line, print_table, progress_bar

if TYPE_CHECKING:
    from retune.pipeline.app.measuring.drift import DriftSummary

__all__ = ["drift_command"]

#: Exit code where a group is told apart better than --fail-above.
_DRIFTED = 8
_SHOWN = 40


def drift_command(
    by: Annotated[
        str,
        typer.Option(
            "--by",
            help="What groups images: month, year, day, dataset, site, "
            "device or any column.",
        ),
    ],
    store: StoreOption = Path("feature-store"),
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="SQL condition that chooses the reference images [all "
            "images outside the group].",
        ),
    ] = None,
    where: WhereOption = None,
    datasets: DatasetsOption = None,
    run: Annotated[
        str | None,
        typer.Option("--run", help="Also compare the scores and flags of this run."),
    ] = None,
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    alpha: Annotated[
        float,
        typer.Option(
            "--alpha", help="Probability of any false alarm over all comparisons."
        ),
    ] = 0.05,
    fail_above: Annotated[
        float | None,
        typer.Option(
            "--fail-above",
            metavar="AUROC",
            help="Exit with code 8 if a changed group has a higher "
            "classifier AUROC than this.",
        ),
    ] = None,
    min_patients: Annotated[
        int,
        typer.Option(
            "--min-patients", min=5, help="Minimum number of patients per group."
        ),
    ] = 5,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Random seed of the permutations.")
    ] = 0,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Draw a chart: .png, .svg or .pdf.")
    ] = None,
    allow_erased: ErasedOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Hold each group of images against a reference: pictures, labels, scores, gaps.

    Patients are permuted, not images. The chance that anything at all is called changed
    where nothing has is --alpha. Metrics go to the table drift.

    Example: retune-cli drift --by month --reference "acquired_at < '2025-01-01'"

    Example: retune-cli drift --by dataset --run latest --fail-above 0.6 --plot d.png
    """
    from retune.pipeline.app.measuring.drift import DriftRequest, drift
    from retune.store import FeatureStore

    request = DriftRequest(
        by,
        reference,
        where,
        split_names(datasets),
        run,
        backbone,
        fingerprint,
        alpha=alpha,
        fail_above=fail_above,
        seed=seed,
        min_patients=min_patients,
        plot=plot,
        allow_erased=allow_erased,
    )
    with progress_bar(quiet=quiet) as show:
        summary = drift(FeatureStore(store), request, show)
    if json:
        print_json(summary.as_json())
    elif not quiet or summary.alarms:
        _show(summary, by, alpha)
    if summary.failed:
        raise typer.Exit(_DRIFTED)


def _show(summary: "DriftSummary", by: str, alpha: float) -> None:
    apart = [row for row in summary.rows if row.metric == "c2st_auroc"]
    print_table(
        (by, "images", "patients", "told apart", "low", "high", "p", "corrected"),
        [
            (row.group, row.n_images, row.n_patients, _number(row.value),
             _number(row.low), _number(row.high), row.p_value, row.p_corrected)
            for row in apart
        ],
    )  # fmt: skip
    others = [row for row in summary.alarms if row.family != "embedding"]
    if others:
        print_line()
        print_table(
            (by, "what", "name", "group", "reference", "corrected p"),
            [
                (row.group, row.family, row.name, row.value, row.reference,
                 row.p_corrected)
                for row in others[:_SHOWN]
            ],
        )  # fmt: skip
        if len(others) > _SHOWN:
            print_line(f"and {len(others) - _SHOWN} more in the table drift")
    for note in summary.notes:
        print_line(f"Note: {note}")
    changed = sorted({row.group for row in summary.alarms})
    print_line(
        f"changed (corrected p < {alpha:g}): {', '.join(changed) or 'none'}; "
        f"drift_id {summary.drift_id}"
    )


def _number(value: float) -> float | None:
    return None if value != value else value
