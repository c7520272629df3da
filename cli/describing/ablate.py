"""`retune-cli describe ablate`: does the text help?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import (
    BackboneOption,
    ContaminatedOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    LeakageOption,
    QuietOption,
    SplitSeedOption,
    StoreOption,
    WhereOption,
    split_names,
)
from ..terminal.printing import (
    contamination_line,
    print_json,
    print_line,
    print_table,
    progress_bar,
    remark,
)

if TYPE_CHECKING:
    from retune.pipeline.learn.curves.ablation import AblationRow
    from retune.pipeline.learn.stats.paired import MacroDifference

__all__ = ["ablate_command"]


def ablate_command(
    descriptions: Annotated[
        str, typer.Option("--descriptions", help="The set: a name or a YAML file.")
    ] = "default",
    findings: Annotated[
        str | None,
        typer.Option("--findings", help="Only these, separated by commas."),
    ] = None,
    store: StoreOption = Path("feature-store"),
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    split_seed: SplitSeedOption = None,
    allow_leakage: LeakageOption = False,
    allow_contaminated: ContaminatedOption = False,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, help="Random seed of training and of the controls."
        ),
    ] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help="Maximum number of epochs [the preset's]."
        ),
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure", help="Also draw the result into a .png, .svg or .pdf file."
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option("--device", help="Device of the text encoder: auto, cpu or cuda."),
    ] = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare descriptions with names, templates, and words that say nothing.

    Six ways to put the findings into words, each scored zero-shot and after joint
    training on the same images, splits and seed: mean test AUROC with its interval, and
    how far the descriptions are ahead, in pairs over patients. A negative number means
    that the other one wins. Nothing is stored.

    Example: retune-cli describe ablate --descriptions default --figure ablation.png
    """
    from retune.pipeline.app.measuring.ablate import AblationRequest, ablate
    from retune.pipeline.learn.runs.selection import Selection
    from retune.pipeline.report.ablation_figure import check_figure
    from retune.store import FeatureStore

    if figure is not None:
        check_figure(figure)
    request = AblationRequest(
        descriptions,
        split_names(findings),
        Selection(
            split_names(datasets),
            where,
            split_seed,
            allow_leakage=allow_leakage,
            allow_contaminated=allow_contaminated,
        ),
        backbone,
        fingerprint,
        seed,
        epochs,
        device,
    )
    with progress_bar(quiet=quiet) as show:
        comparison = ablate(FeatureStore(store), request, show)
    if comparison.unlisted:
        remark(
            f"The set {descriptions} does not list {', '.join(comparison.unlisted)}: "
            "templates stand in for its sentences, also where it says 'described'."
        )
    n_contaminated = comparison.provenance.n_contaminated
    if n_contaminated:
        remark(contamination_line(n_contaminated, allow_contaminated))
    if json:
        print_json([_plain(row) for row in comparison.rows])
    else:
        _print_rows(comparison.rows, descriptions, quiet=quiet)
    if figure is not None:
        _draw(
            comparison.rows,
            figure,
            f"{comparison.encoder.backbone}, set {descriptions}",
        )
        remark(f"Figure: {figure}", quiet=quiet)


def _plain(row: "AblationRow") -> dict[str, object]:
    against = None if row.against is None else vars(row.against)
    return {**vars(row), "against": against}


def _print_rows(rows: "Sequence[AblationRow]", set_name: str, *, quiet: bool) -> None:
    from retune.pipeline.descriptions.conditions import CONDITIONS, CONTROLS

    print_table(
        ("condition", "scenario", "AUROC", "from", "to", "ahead", "from", "to", "p"),
        [
            (row.condition, row.scenario, row.auroc, row.low, row.high, *_ahead(row))
            for row in rows
        ],
    )
    both_classes = {
        name
        for row in rows
        for name, (value, _, _) in row.findings.items()
        if value == value
    }
    print_line()
    print_line(
        f"AUROC: mean over {counted(len(both_classes), 'finding')} with both classes "
        f"among the test images. ahead: 'described' ({set_name}) less this one, 95 % "
        "interval by paired bootstrap over patients, p from the same draws."
    )
    for line in _resting_on_few(rows):
        print_line(line)
    for row in rows:
        if row.condition in CONTROLS and row.against is not None:
            print_line(f"{row.scenario}: {_verdict(row.condition, row.against)}")
    for name, meaning in CONDITIONS.items():
        remark(f"{name}: {meaning}", quiet=quiet)


def _resting_on_few(rows: "Sequence[AblationRow]") -> list[str]:
    """Why an interval that ends at 0 goes with a large p."""
    shares = [
        f"{row.condition}, {row.scenario}: {row.against.equal:.0%}"
        for row in rows
        if row.against is not None and row.against.rests_on_few
    ]
    if not shares:
        return []
    return [
        "Draws in which the two do not differ at all, because the difference rests on "
        "few patients",
        f"(p counts them on both sides of 0): {'; '.join(shares)}",
    ]


def _verdict(control: str, difference: "MacroDifference") -> str:
    if difference.low > 0:
        return f"the descriptions are better than the control '{control}'"
    if difference.high < 0:
        return f"the control '{control}' is better than the descriptions"
    return f"descriptions and the control '{control}' cannot be told apart here"


def _ahead(row: "AblationRow") -> tuple[object, ...]:
    if row.against is None:
        return ("", "", "", "")
    difference = row.against
    signed = (difference.first - difference.second, difference.low, difference.high)
    return (*(f"{value:+.3f}" for value in signed), f"{difference.p:.3f}")


def _draw(rows: "Sequence[AblationRow]", path: Path, title: str) -> None:
    from retune.pipeline.report.ablation_figure import draw_ablation

    points = [(r.condition, r.scenario, r.auroc, r.low, r.high) for r in rows]
    draw_ablation(points, path, title)
