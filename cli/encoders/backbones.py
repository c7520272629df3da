"""`retune-cli backbones`: several encoders in one store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from retune.store.plural import counted

from ..terminal.options import (
    BlankOption,
    ContaminatedOption,
    DatasetsOption,
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
    print_json,
    print_line,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from retune.pipeline.app.encoders.comparison import ComparedBackbones

__all__ = ["backbones_app"]

backbones_app: typer.Typer = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
)


@backbones_app.callback()
def list_command(
    context: typer.Context,
    store: StoreOption = Path("feature-store"),
    json: JsonOption = False,
) -> None:
    """List the encoders of a store, compare them, or drop one.

    Example: retune-cli backbones
    """
    if context.invoked_subcommand is not None:
        return
    from retune.pipeline.app.encoders.backbones import list_backbones
    from retune.store import FeatureStore

    rows = [vars(one) for one in list_backbones(FeatureStore(store))]
    if json:
        print_json(rows)
        return
    if not rows:
        print_line("no encoders yet")
        return
    print_table(list(rows[0]), [list(row.values()) for row in rows])


@backbones_app.command("compare")
def compare_command(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME…]",
            help="Backbones or fingerprints; A+B concatenates two [all].",
        ),
    ] = None,
    store: StoreOption = Path("feature-store"),
    findings: Annotated[
        str | None, typer.Option("--findings", help="Only these, separated by commas.")
    ] = None,
    descriptions: Annotated[
        str, typer.Option("--descriptions", help="Description set to use.")
    ] = "default",
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    split_seed: SplitSeedOption = None,
    allow_leakage: LeakageOption = False,
    allow_contaminated: ContaminatedOption = False,
    uncertain: UncertainOption = "ignore",
    blank: BlankOption = "negative",
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Random seed of the bootstrap.")
    ] = 0,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure", help="Also draw the result into a PNG, SVG or PDF file."
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score encoders on exactly the same images and patients.

    Zero-shot, joint and label-incremental training with the exact method, with paired
    intervals against the first one named, and joint training on 8, 32, 128 and all
    patients. No run is entered.

    Example: retune-cli backbones compare mini rad-dino mini+rad-dino
    """
    from retune.pipeline.app.encoders.comparison import (
        CompareBackbones,
        compare_backbones,
        draw_comparison,
    )
    from retune.pipeline.learn.runs.selection import Selection
    from retune.store import FeatureStore

    selection = Selection(
        split_names(datasets),
        where,
        split_seed,
        descriptions,
        allow_leakage=allow_leakage,
        allow_contaminated=allow_contaminated,
    )
    request = CompareBackbones(
        tuple(names) if names else None,
        selection,
        split_names(findings),
        cast("Any", uncertain),  # checked where it is used
        cast("Any", blank),
        seed,
    )
    with progress_bar(quiet=quiet) as show:
        compared = compare_backbones(FeatureStore(store), request, show)
    if figure is not None:
        draw_comparison(compared, figure)
    if json:
        print_json(compared.as_json())
        return
    print_line(
        f"{compared.n_train:,} training images, {compared.n_test:,} test images of "
        f"{counted(compared.n_patients, 'patient')}; {', '.join(compared.findings)}"
    )
    header = ("backbone", "dim", "scenario", "auroc", "95 %", "less first", "95 %", "p")
    print_table(
        header,
        [
            (
                one.backbone,
                one.dim,
                one.scenario,
                f"{one.auroc:.3f}",
                f"{one.low:.3f} to {one.high:.3f}",
                "" if one.difference is None else f"{one.difference:+.3f}",
                ""
                if one.difference_low is None
                else f"{one.difference_low:+.3f} to {one.difference_high:+.3f}",
                "" if one.p is None else f"{one.p:.3f}",
            )
            for one in compared.scores
        ],
    )
    _print_shots(compared)
    print_line(compared.advice)


def _print_shots(compared: "ComparedBackbones") -> None:
    """A row per encoder, a column per number of training patients."""
    numbers = sorted({one.n_patients for one in compared.shots})
    print_line("mean AUROC by training patients (exact method, three draws)")
    figures = {(one.backbone, one.n_patients): one for one in compared.shots}
    names = list(dict.fromkeys(one.backbone for one in compared.shots))
    rows = []
    for name in names:
        points = [figures.get((name, number)) for number in numbers]
        told = [
            "" if one is None else f"{one.auroc:.3f} ({one.low:.3f} to {one.high:.3f})"
            for one in points
        ]
        rows.append([name, *told])
        less = [
            ""
            if one is None or one.difference is None
            else f"{one.difference:+.3f} ({one.difference_low:+.3f} to "
            f"{one.difference_high:+.3f})"
            for one in points
        ]
        if any(less):
            rows.append([f"... less {names[0]}, paired", *less])
    print_table(["backbone", *map(str, numbers)], rows)


@backbones_app.command("drop")
def drop_command(
    name: Annotated[str, typer.Argument(help="Backbone, or beginning of fingerprint.")],
    store: StoreOption = Path("feature-store"),
    json: JsonOption = False,
) -> None:
    """Remove an encoder and its vectors; the disk gets its space back.

    Runs that were made of them stay, with the tag backbone-dropped.

    Example: retune-cli backbones drop mini
    """
    from retune.pipeline.app.encoders.backbones import drop_backbone
    from retune.store import FeatureStore

    done = drop_backbone(FeatureStore(store), name)
    if json:
        print_json(vars(done))
        return
    print_line(
        f"{counted(done.n_images, 'vector')} of images and {done.n_texts:,} of texts "
        "removed, "
        f"{done.n_bytes / 1e6:.1f} MB given back; {counted(len(done.runs), 'run')} "
        "tagged backbone-dropped"
    )
