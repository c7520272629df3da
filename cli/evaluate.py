"""`retune-cli evaluate`: a run on other images of the store."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from .terminal.options import (
    ContaminatedOption,
    DatasetsOption,
    ErasedOption,
    JsonOption,
    LeakageOption,
    StoreOption,
    WhereOption,
    split_names,
)
from .terminal.printing import contamination_line, print_json, print_line, print_table
from .terminal.selection import announce_selection

__all__ = ["evaluate_command"]


def evaluate_command(
    run: Annotated[str, typer.Argument(help="Run id, its first digits, or latest.")],
    datasets: DatasetsOption = None,
    store: StoreOption = Path("feature-store"),
    split: Annotated[
        str,
        typer.Option(
            "--split", help="train, validation, test, or all (external data)."
        ),
    ] = "test",
    where: WhereOption = None,
    allow_leakage: LeakageOption = False,
    allow_contaminated: ContaminatedOption = False,
    allow_erased: ErasedOption = False,
    uncertain: Annotated[
        str | None,
        typer.Option(
            "--uncertain", help="zeros, ones, ignore, soft or per-finding [the run's]."
        ),
    ] = None,
    blank: Annotated[
        str | None,
        typer.Option("--blank", help="Not mentioned: negative or ignore [the run's]."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Evaluate a run on other images of the store.

    Without --datasets and --where: exactly the images that the run had. All images must
    be encoded by the run's encoder. Splits, thresholds and, unless you choose others,
    label policies are the run's. Patients and pictures that it was trained on are
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
    )
    result = evaluate(feature_store, request)
    rows = [vars(one) for one in figures_of(result)]
    if json:
        print_json(
            {
                "run_id": result.run_id,
                "split": result.split,
                "n_images": result.n_images,
                "n_images_of_training_patients": result.n_trained,
                "n_images_of_backbone_patients": result.n_contaminated,
                "macro_auroc": result.evaluation.macro,
                "findings": rows,
                "not_evaluated": result.not_evaluated,
            }
        )
        return
    print_line(f"run {result.run_id} on {result.split}: {result.n_images:,} images")
    print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
    print_line("macro AUROC {:.3f} ({:.3f} to {:.3f})".format(*result.evaluation.macro))
    if result.n_trained:
        print_line(
            f"{result.n_trained:,} of these images are of patients that the run was "
            "trained on: the figures are too good"
        )
    if result.n_contaminated:
        print_line(contamination_line(result.n_contaminated, allow_contaminated))
    for name, reason in result.not_evaluated.items():
        print_line(f"not evaluated: {name}, {reason}")
