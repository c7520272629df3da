"""`retune-cli evaluate`: a run on other images of the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from retune.store.plural import counted

from ..terminal.options import (
    ContaminatedOption,
    CoverageOption,
    DatasetsOption,
    ErasedOption,
    JsonOption,
    LeakageOption,
    OperatingPointOption,
    StoreOption,
    WhereOption,
    split_names,
)
from ..terminal.printing import (
    contamination_line,
    print_json,
    print_line,
    print_table,
)
from ..terminal.selection import announce_selection

if TYPE_CHECKING:
    from retune.pipeline.app.evaluate import FindingFigures
    from retune.pipeline.learn.runs.external import ExternalEvaluation

__all__ = ["evaluate_command"]


def evaluate_command(
    run: Annotated[str, typer.Argument(help="Run id, its first digits, or latest.")],
    datasets: DatasetsOption = None,
    store: StoreOption = Path("feature-store"),
    split: Annotated[
        str,
        typer.Option(
            "--split",
            help="Split to evaluate on: train, validation, test, or all "
            "(external data).",
        ),
    ] = "test",
    where: WhereOption = None,
    allow_leakage: LeakageOption = False,
    allow_contaminated: ContaminatedOption = False,
    allow_erased: ErasedOption = False,
    uncertain: Annotated[
        str | None,
        typer.Option(
            "--uncertain",
            help="How to treat uncertain labels: zeros, ones, ignore, soft "
            "or per-finding [the run's].",
        ),
    ] = None,
    blank: Annotated[
        str | None,
        typer.Option(
            "--blank",
            help="How to treat findings that are not mentioned: negative or "
            "ignore [the run's].",
        ),
    ] = None,
    operating_point: OperatingPointOption = None,
    coverage: CoverageOption = None,
    min_positives: Annotated[
        int | None,
        typer.Option(
            "--min-positives",
            min=0,
            help="Positives, and negatives, that a finding needs to enter a "
            "mean [the run's].",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Evaluate a run on other images of the store.

    Without --datasets and --where: exactly the images that the run had. All images must
    be encoded by the run's encoder. Splits, thresholds and, unless you choose others,
    label policies are the run's; a threshold on images of another dataset is marked as
    transferred. Patients and pictures that it was trained on are
    refused, but for --split train; patients that its backbone was trained on are left
    out.

    Example: retune-cli evaluate latest --datasets padchest --split all
    """
    from retune.pipeline.app.evaluate import EvaluateRequest, evaluate, figures_of
    from retune.store import FeatureStore

    feature_store = FeatureStore(store)
    names = split_names(datasets)
    announce_selection(feature_store, names, where)
    request = EvaluateRequest(
        run,
        names,
        split,
        where,
        cast("Any", uncertain),  # checked where it is used
        cast("Any", blank),
        allow_leakage,
        allow_contaminated,
        allow_erased,
        operating_point,
        coverage,
        min_positives,
    )
    result = evaluate(feature_store, request)
    rows = figures_of(result)
    if json:
        print_json(_as_json(result, rows))
        return
    _print_text(result, rows)
    if result.n_contaminated:
        print_line(contamination_line(result.n_contaminated, allow_contaminated))
    for name, reason in result.not_evaluated.items():
        print_line(f"not evaluated: {name}, {reason}")


def _as_json(
    result: "ExternalEvaluation", rows: "Sequence[FindingFigures]"
) -> dict[str, Any]:
    return {
        "run_id": result.run_id,
        "split": result.split,
        "n_images": result.n_images,
        "n_images_of_training_patients": result.n_trained,
        "n_images_of_backbone_patients": result.n_contaminated,
        "n_out_of_distribution": result.n_out_of_distribution,
        "coverage": result.coverage,
        "macro_auroc": result.evaluation.macro,
        "means": {
            metric.macro.value: mean for metric, mean in result.evaluation.means.items()
        },
        "left_out": result.evaluation.note,
        "findings": [vars(one) for one in rows],
        "not_evaluated": result.not_evaluated,
    }


_COLUMNS = ("finding", "positive", "images", "auroc", "low", "high", "ap", "f1")


def _print_text(result: "ExternalEvaluation", rows: "Sequence[FindingFigures]") -> None:
    evaluation = result.evaluation
    print_line(
        f"run {result.run_id} on {result.split}: {counted(result.n_images, 'image')}"
    )
    print_table(
        _COLUMNS, [tuple(getattr(one, name) for name in _COLUMNS) for one in rows]
    )
    print_line("macro AUROC {:.3f} ({:.3f} to {:.3f})".format(*evaluation.macro))
    if evaluation.note:
        print_line(f"{evaluation.note[0].upper()}{evaluation.note[1:]}.")
    print_line()
    print_line("probabilities; * a constant: the share of positives seen in training;")
    print_line("** what exact probabilities would have, because labels scatter")
    print_table(
        ("finding", "AP, 95 %", "F1, 95 %", "Brier, 95 %", "constant*",
         "calibration error, 95 %", "chance**", "constant*"),
        [_probability_row(one) for one in rows],
    )  # fmt: skip
    print_line()
    sets = ("right in set", "one answer") if result.coverage else ()
    print_table(
        ("finding", "threshold", *sets, "threshold from"),
        [
            (one.finding, f"{one.threshold:.4g}",
             *((one.covered, one.single) if sets else ()), one.threshold_from)
            for one in rows
        ],
    )  # fmt: skip
    if any(one.source == "transferred" for one in result.origins):
        print_line(
            "Thresholds were chosen on images of another dataset: sensitivity and "
            "specificity may differ here."
        )
    if result.n_out_of_distribution is not None:
        print_line(
            "out of distribution, unlike all that the run was trained on: "
            f"{result.n_out_of_distribution:,} of {counted(result.n_images, 'image')}"
        )
    if result.n_trained:
        print_line(
            f"{result.n_trained:,} of these images are of patients that the run was "
            "trained on: the figures are too good"
        )


def _probability_row(one: "FindingFigures") -> tuple[str, ...]:
    def with_ends(value: float, ends: tuple[float, float]) -> str:
        if value != value:  # NaN
            return "-"
        return f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"

    def plain(value: float) -> str:
        return "-" if value != value else f"{value:.3f}"

    return (
        one.finding,
        with_ends(one.ap, one.ap_interval),
        with_ends(one.f1, one.f1_interval),
        with_ends(one.brier, one.brier_interval),
        plain(one.brier_constant),
        with_ends(one.calibration_error, one.calibration_error_interval),
        plain(one.calibration_error_by_chance),
        plain(one.calibration_error_constant),
    )
