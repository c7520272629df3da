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
            help="Instead: how each layout writes them; needs no store.",
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """List the findings of a store with their labels per dataset.

    Broader findings include a finding, as Lung Opacity includes Consolidation. No
    Finding is derived: nothing but support devices is positive or uncertain.

    Example: retune-cli findings --datasets nih,chexpert
    """
    if aliases:
        _show_aliases(as_json=json)
        return
    from retune.pipeline.datasets.label_counts import count_labels
    from retune.pipeline.findings import broader_findings
    from retune.store import FeatureStore

    counts = count_labels(FeatureStore(store), _known(store, split_names(datasets)))
    rows = [vars(one) | {"broader": broader_findings(one.finding)} for one in counts]
    if json:
        print_json(rows)
        return
    if not rows:
        print_line("the store has no labels yet: retune-cli ingest ROOT")
        return
    print_table(
        ("finding", "dataset", "positive", "negative", "uncertain", "not mentioned",
         "broader"),
        [
            (
                row["finding"], row["dataset"], row["positive"], row["negative"],
                row["uncertain"], row["absent"], ", ".join(row["broader"]) or None,
            )
            for row in rows
        ],
    )  # fmt: skip


def _known(store: Path, datasets: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The datasets, after asking whether they are there."""
    from retune.store import FeatureStore
    from retune.store.errors import ConfigurationError

    rows = FeatureStore(store).sql("SELECT dataset FROM datasets ORDER BY 1").fetchall()
    known = [name for (name,) in rows]
    unknown = [name for name in datasets or () if name not in known]
    if unknown:
        raise ConfigurationError(
            f"the store has no dataset {', '.join(unknown)}; it has: "
            f"{', '.join(known) or 'none'}",
            "Choose one of these, or ingest it first.",
        )
    return datasets


def _show_aliases(*, as_json: bool) -> None:
    """Each layout's tokens beside the canonical findings that they stand for."""
    from retune.pipeline.datasets.layouts import known_layouts

    rows = [
        (layout.name, token, ", ".join(names))
        for layout in known_layouts().values()
        for token, names in layout.tokens.items()
    ]
    header = ("layout", "written as", "finding")
    if as_json:
        print_json([dict(zip(header, row, strict=True)) for row in rows])
        return
    print_table(header, rows)
