"""`retune-cli findings`: what is labelled, how often, and under which names."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import DatasetsOption, JsonOption, StoreOption, split_names
from .terminal.printing import print_json, print_line, print_table

__all__ = ["findings_command"]


def findings_command(
    store: StoreOption = Path("feature-store"),
    datasets: DatasetsOption = None,
    aliases: Annotated[
        bool,
        typer.Option(
            "--aliases",
            help="List how each layout spells the findings instead; needs no store.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """List the findings of a store with their labels per dataset.

    Broader findings include a finding, as Lung Opacity includes Consolidation. No
    Finding is derived: nothing but support devices is positive or uncertain.

    Example: retune-cli findings --datasets nih,chexpert
    """
    from retune.pipeline.app.queries.findings import list_aliases, list_findings
    from retune.store import FeatureStore

    if aliases:
        known = list_aliases()
        if json:
            print_json(known.records())
        else:
            print_table(known.columns, known.cells())
        return
    findings_list = list_findings(FeatureStore(store), split_names(datasets))
    if json:
        print_json([vars(row) for row in findings_list])
    elif findings_list:
        titles = {"absent": "not mentioned"}
        print_table(
            [titles.get(name, name) for name in findings_list.columns],
            findings_list.cells(),
        )
    else:
        print_line("the store has no labels yet: retune-cli ingest ROOT")
