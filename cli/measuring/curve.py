"""`retune-cli curve`: how many patients a method needs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..terminal.options import (
    BackboneOption,
    BlankOption,
    ContaminatedOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    LeakageOption,
    QuietOption,
    SplitSeedOption,
    StoreOption,
    UncertainOption,
    WhereOption,
    split_names,
)
from ..terminal.printing import (
    contamination_line,
    print_csv,
    print_json,
    print_line,
    print_table,
    progress_bar,
    remark,
)
from ..terminal.selection import announce_selection

if TYPE_CHECKING:
    from retune.pipeline.app.measuring.curve import CurveResult

__all__ = ["curve_command"]


def curve_command(
    shots: Annotated[
        str,
        typer.Option(
            "--shots",
            help="Numbers of training patients, separated by commas; all for"
            " every patient.",
        ),
    ] = "8,16,32,64,128,all",
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds", min=1, help="Number of random draws of patients at each point."
        ),
    ] = 5,
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            help="Methods to compare: zero-shot, logistic-regression, or "
            "methods of `train`.",
        ),
    ] = "zero-shot,analytic,finetune,logistic-regression",
    store: StoreOption = Path("feature-store"),
    findings: Annotated[
        str | None,
        typer.Option("--findings", help="Only these, separated by commas."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, help="Random seed of the first draw and of training."
        ),
    ] = 0,
    min_positives: Annotated[
        int,
        typer.Option(
            "--min-positives",
            min=1,
            help="Test positives, and negatives, that a finding needs to enter a mean.",
        ),
    ] = 5,
    split_seed: SplitSeedOption = None,
    allow_leakage: LeakageOption = False,
    allow_contaminated: ContaminatedOption = False,
    uncertain: UncertainOption = "ignore",
    blank: BlankOption = "negative",
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    descriptions: Annotated[
        str, typer.Option("--descriptions", help="Description set to use.")
    ] = "default",
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="Also draw the result into a .png, .svg or .pdf file."
        ),
    ] = None,
    json: JsonOption = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV instead of a table.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Measure test AUROC by the number of patients that methods learn from.

    Each number of patients is drawn --seeds times; the test images are always the same.
    Metrics go to the table curves, those of each finding and draw too.

    Example: retune-cli curve --shots 8,32,128,all --seeds 5 --plot curve.png
    """
    from retune.pipeline.app.measuring.curve import CurveRequest, curve
    from retune.pipeline.learn.runs.selection import Selection
    from retune.pipeline.report.ablation_figure import check_figure
    from retune.store import FeatureStore
    from retune.store.errors import ConfigurationError

    if json and csv:
        raise ConfigurationError("--json and --csv exclude each other", "Give one.")
    if plot is not None:
        check_figure(plot)
    feature_store = FeatureStore(store)
    names = split_names(datasets)
    announce_selection(feature_store, names, where, quiet=quiet)
    request = CurveRequest(
        split_names(shots) or (),
        seeds,
        seed,
        split_names(methods) or (),
        Selection(
            names, where, split_seed, descriptions, allow_leakage, allow_contaminated
        ),
        split_names(findings),
        cast("Any", uncertain),  # checked where they are used
        cast("Any", blank),
        min_positives,
        backbone,
        fingerprint,
    )
    with progress_bar(quiet=quiet) as show:
        result = curve(feature_store, request, show)
    _tell(result, quiet=quiet, allowed=allow_contaminated)
    if json:
        print_json(_plain(result))
    elif csv:
        rows = [vars(one) for one in result.points]
        print_csv(list(rows[0]), [list(row.values()) for row in rows])
    else:
        _print_points(result, store)
    if plot is not None:
        result.plot(plot)
        remark(f"Figure: {plot}", quiet=quiet)


def _tell(result: "CurveResult", *, quiet: bool, allowed: bool) -> None:
    for count in result.curve.beyond:
        remark(f"Note: there are no {count:,} training patients", quiet=quiet)
    for name, why in result.curve.excluded.items():
        remark(f"Note: {name} is in no mean: {why}", quiet=quiet)
    n_contaminated = result.learning_set.provenance.n_contaminated
    if n_contaminated:
        remark(contamination_line(n_contaminated, allowed))


def _plain(result: "CurveResult") -> dict[str, object]:
    return {
        "curve_id": result.curve_id,
        "findings": result.curve.findings,
        "excluded": dict(result.curve.excluded),
        "points": [vars(one) for one in result.points],
        "scores": [vars(one) for one in result.curve.scores],
    }


def _print_points(result: "CurveResult", store: Path) -> None:
    print_table(
        ("method", "patients", "images", "draws", "AUROC", "from", "to", "SD"),
        [
            (
                one.method,
                one.n_patients,
                f"{one.n_images:,.0f}",
                one.n_draws,
                one.auroc,
                one.low,
                one.high,
                one.spread,
            )
            for one in result.points
        ],
    )
    print_line()
    print_line(f"mean test AUROC of {', '.join(result.curve.findings)}")
    print_line(
        "from, to: 95 % interval over test patients; SD: between draws of training "
        "patients"
    )
    print_line(f"curve {result.curve_id} in the table curves of {store}")
