"""`retune-cli compare`: a paired test of two runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import JsonOption, MinPositivesOption, StoreOption
from ..terminal.printing import print_json, print_line, print_table

if TYPE_CHECKING:
    from retune.pipeline.app.compare import Comparison, FindingDifference

__all__ = ["compare_command"]


def compare_command(
    first: Annotated[
        str, typer.Argument(metavar="RUN", help="Run id, its first digits, or latest.")
    ],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The run to compare.")],
    store: StoreOption = Path("feature-store"),
    across_encoders: Annotated[
        bool,
        typer.Option(
            "--across-encoders", help="Also compare runs of different encoders."
        ),
    ] = False,
    min_positives: MinPositivesOption = 5,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Random seed of the bootstrap.")
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Test whether two runs differ on the same test images.

    Per finding DeLong's paired test, p also adjusted for the number of findings
    (Holm); for the mean a paired bootstrap over patients, whose draws have both classes
    of every finding of the mean. Predictions that `train
    --predictions` kept are used; otherwise the saved adaptors score the images again.

    Example: retune-cli compare 20261124-0903 latest
    """
    from retune.pipeline.app.compare import compare
    from retune.store import FeatureStore

    comparison = compare(
        FeatureStore(store),
        first,
        second,
        across_encoders=across_encoders,
        min_positives=min_positives,
        seed=seed,
    )
    if json:
        _print_json(comparison)
    else:
        _print_text(comparison)


_HEADER = (
    "finding", "positive", "first", "second", "difference", "low", "high", "p",
    "p_holm",
)  # fmt: skip


def _print_json(comparison: "Comparison") -> None:
    macro = comparison.macro
    print_json(
        {
            "runs": [comparison.first.run.run_id, comparison.second.run.run_id],
            "scores_from": [comparison.first.source, comparison.second.source],
            "n_images": comparison.n_images,
            "n_patients": comparison.n_patients,
            "macro": {"difference": macro.difference, **vars(macro)},
            "findings": [vars(row) for row in comparison.findings],
            "left_out": comparison.note,
            "notes": [*comparison.first.notes, *comparison.second.notes],
        }
    )


def _print_text(comparison: "Comparison") -> None:
    from retune.pipeline.app.compare import FEW

    one, other, macro, rows = (
        comparison.first,
        comparison.second,
        comparison.macro,
        comparison.findings,
    )
    for name, scored in (("first", one), ("second", other)):
        run = scored.run
        print_line(
            f"{name:6}  {run.run_id}: scenario {run.scenario}, method {run.method}, "
            f"preset {scored.preset}, seed {run.seed}; scores from {scored.source}"
            + ("" if scored.score_name == "difference" else ", s+ alone")
        )
    for note in dict.fromkeys([*one.notes, *other.notes]):
        print_line(f"note: {note}")
    print_line(
        f"{comparison.n_images:,} test images of "
        f"{counted(comparison.n_patients, 'patient')}"
    )
    print_line()
    print_table(_HEADER, [_cells(row) for row in rows])
    print_line()
    if macro.n_findings:
        print_line(
            f"mean of {macro.n_findings}: {macro.first:.3f} and {macro.second:.3f}, "
            f"difference {macro.difference:+.3f} ({macro.low:+.3f} to "
            f"{macro.high:+.3f}), p = {macro.p:.3f} "
            f"({macro.n_draws} paired bootstrap draws of patients)"
        )
        if macro.rests_on_few:
            print_line(
                f"In {macro.equal:.0%} of the draws the two do not differ at all, and "
                "p counts these on both"
            )
            print_line("sides of 0: the difference rests on few patients.")
    if comparison.note:
        print_line(f"{comparison.note[0].upper()}{comparison.note[1:]}.")
    tested = sum(row.p == row.p for row in rows)  # NaN is not itself
    plain = {one.score_name, other.score_name} == {"difference"}
    of_score = "s+ - s-" if plain else "each run's score"
    print_line(
        f"AUROC of {of_score}, first less second. Per finding: DeLong's paired test"
    )
    print_line("over images; 95 % intervals are of one finding each; p_holm counts all")
    print_line(
        f"{tested} tests, so that one false find among them is as rare as it says."
    )
    if any(row.few for row in rows):
        print_line(
            f"* under {counted(FEW, 'image')} of a class: p is a rough guide, often "
            "too low"
        )
    if tested < len(rows):
        print_line(
            "- not tested: one class only, one image of a class, or no spread at all"
        )


def _cells(row: "FindingDifference") -> tuple[object, ...]:
    plain, signed = "{:.3f}", "{:+.3f}"
    figures = (
        (row.first, plain), (row.second, plain), (row.difference, signed),
        (row.low, signed), (row.high, signed), (row.p, plain), (row.p_holm, plain),
    )  # fmt: skip
    texts = [
        "-".rjust(6) if value != value else form.format(value)
        for value, form in figures
    ]
    return (f"{row.finding} *" if row.few else row.finding, row.positive, *texts)
