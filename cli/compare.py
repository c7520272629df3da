"""`retune-cli compare`: a paired test of two runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal.options import JsonOption, StoreOption
from .terminal.printing import print_json, print_line, print_table

if TYPE_CHECKING:
    from retune.pipeline.learn.runs.scored_run import ScoredRun
    from retune.pipeline.learn.stats.paired import MacroDifference, PairedDeLong

__all__ = ["compare_command"]


def compare_command(
    first: Annotated[
        str, typer.Argument(metavar="RUN", help="Run id, its first digits, or latest.")
    ],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The run to compare.")],
    store: StoreOption = Path("feature-store"),
    across_encoders: Annotated[
        bool,
        typer.Option("--across-encoders", help="Runs of different encoders too."),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
    json: JsonOption = False,
) -> None:
    """Test whether two runs differ on the same test images.

    Per finding DeLong's paired test, p also adjusted for the number of findings
    (Holm); for the mean a paired bootstrap over patients. Predictions that `train
    --predictions` kept are used; otherwise the saved adaptors score the images again.

    Example: retune-cli compare 20261124-0903 latest
    """
    from retune.pipeline.learn.runs.scored_run import check_comparable, score_run
    from retune.pipeline.learn.stats.paired import macro_difference, paired_delong
    from retune.store import FeatureStore, find_run

    feature_store = FeatureStore(store)
    runs = [find_run(feature_store, name) for name in (first, second)]
    one, other = check_comparable(
        *(score_run(feature_store, run) for run in runs),
        across_encoders=across_encoders,
    )
    targets = one.targets
    found = paired_delong(one.score, other.score, targets.value, targets.observed)
    macro = macro_difference(
        one.score,
        other.score,
        targets.value,
        targets.observed,
        one.patient_id,
        seed=seed,
    )
    if json:
        _print_json(one, other, found, macro)
    else:
        _print_text(one, other, found, macro)


_HEADER = (
    "finding", "positive", "first", "second", "difference", "low", "high", "p",
    "p_holm", "few",
)  # fmt: skip
#: Images of the smaller class below which the test is a rough guide.
_FEW = 10


def _rows(one: "ScoredRun", found: "PairedDeLong") -> list[tuple[Any, ...]]:
    """A row of `_HEADER` per finding; NaN where there is no figure."""
    observed = one.targets.observed
    positive = ((one.targets.value > 0) & observed).sum(axis=0)
    negative = observed.sum(axis=0) - positive
    return [
        (
            name,
            int(positive[k]),
            *(float(column[k]) for column in vars(found).values()),
            bool(min(positive[k], negative[k]) < _FEW),
        )
        for k, name in enumerate(one.findings)
    ]


def _print_json(
    one: "ScoredRun",
    other: "ScoredRun",
    found: "PairedDeLong",
    macro: "MacroDifference",
) -> None:
    print_json(
        {
            "runs": [one.run.run_id, other.run.run_id],
            "scores_from": [one.source, other.source],
            "n_images": len(one.image_id),
            "n_patients": len(set(one.patient_id.tolist())),
            "macro": {"difference": macro.difference, **vars(macro)},
            "findings": [
                dict(zip(_HEADER, row, strict=True)) for row in _rows(one, found)
            ],
        }
    )


def _print_text(
    one: "ScoredRun",
    other: "ScoredRun",
    found: "PairedDeLong",
    macro: "MacroDifference",
) -> None:
    for name, scored in (("first", one), ("second", other)):
        run = scored.run
        print_line(
            f"{name:6}  {run.run_id}: scenario {run.scenario}, method {run.method}, "
            f"preset {scored.preset}, seed {run.seed}; scores from {scored.source}"
            + ("" if scored.score_name == "difference" else ", s+ alone")
        )
    n_patients = len(set(one.patient_id.tolist()))
    print_line(f"{len(one.image_id):,} test images of {n_patients:,} patients")
    print_line()
    rows = _rows(one, found)
    print_table(_HEADER[:-1], [_cells(row) for row in rows])
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
    tested = sum(row[7] == row[7] for row in rows)  # NaN is not itself
    plain = {one.score_name, other.score_name} == {"difference"}
    of_score = "s+ - s-" if plain else "each run's score"
    print_line(
        f"AUROC of {of_score}, first less second. Per finding: DeLong's paired test"
    )
    print_line("over images; 95 % intervals are of one finding each; p_holm counts all")
    print_line(
        f"{tested} tests, so that one false find among them is as rare as it says."
    )
    if any(row[-1] for row in rows):
        print_line(
            f"* under {_FEW} images of a class: p is a rough guide, often too low"
        )
    if tested < len(rows):
        print_line(
            "- not tested: one class only, one image of a class, or no spread at all"
        )


def _cells(row: tuple[Any, ...]) -> tuple[object, ...]:
    name, positive, *figures, few = row
    texts = [
        "-".rjust(6)
        if value != value
        else f"{value:+.3f}"
        if signed
        else f"{value:.3f}"
        for value, signed in zip(figures, (0, 0, 1, 1, 1, 0, 0), strict=True)
    ]
    return (f"{name} *" if few else name, positive, *texts)
