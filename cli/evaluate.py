"""`retune-cli evaluate`: a run on other images of the store."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import (
    DatasetsOption,
    JsonOption,
    LeakageOption,
    StoreOption,
    WhereOption,
    split_names,
)
from .terminal.printing import print_json, print_line, print_table
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

    The images must be encoded by the run's encoder. Splits, thresholds and, unless you
    choose others, label policies are the run's. Patients and pictures that it was
    trained on are refused, but for --split train.

    Example: retune-cli evaluate latest --datasets padchest --split all
    """
    from retune.pipeline.learn.runs.external import evaluate_run
    from retune.store import FeatureStore

    feature_store = FeatureStore(store)
    announce_selection(feature_store, split_names(datasets), where)
    result = evaluate_run(
        feature_store,
        run,
        datasets=split_names(datasets),
        split=split,
        where=where,
        uncertain=uncertain,
        blank=blank,
        allow_leakage=allow_leakage,
    )
    names, figures = result.findings, result.evaluation
    rows = [
        (
            name,
            int(figures.n_positive[place]),
            int(figures.n_observed[place]),
            float(figures.auroc[place]),
            float(figures.low[place]),
            float(figures.high[place]),
            float(figures.others["average_precision"][place]),
            float(figures.others["f1"][place]),
        )
        for place, name in enumerate(names)
    ]
    header = ("finding", "positive", "images", "auroc", "low", "high", "ap", "f1")
    if json:
        print_json(
            {
                "run_id": result.run_id,
                "split": result.split,
                "n_images": result.n_images,
                "n_images_of_training_patients": result.n_trained,
                "macro_auroc": figures.macro,
                "findings": [dict(zip(header, row, strict=True)) for row in rows],
                "not_evaluated": result.not_evaluated,
            }
        )
        return
    print_line(f"run {result.run_id} on {result.split}: {result.n_images:,} images")
    print_table(header, rows)
    print_line("macro AUROC {:.3f} ({:.3f} to {:.3f})".format(*figures.macro))
    if result.n_trained:
        print_line(
            f"{result.n_trained:,} of these images are of patients that the run was "
            "trained on: the figures are too good"
        )
    for name, reason in result.not_evaluated.items():
        print_line(f"not evaluated: {name}, {reason}")
