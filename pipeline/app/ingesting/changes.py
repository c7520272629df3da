"""What changes when a table is understood otherwise than before."""

from collections.abc import Mapping
from os import PathLike

from retune.store import FeatureStore
from retune.store.plural import counted
from retune.store.queries.readings import changed_cells

from ...datasets.ingest import IngestPlan

__all__ = ["reading_changes"]

#: What depends on tonight's rows too, and not on the understanding alone.
_OF_ROWS = ("table", "sex means", "age means", "labels mean")


def reading_changes(
    store: str | PathLike[str],
    plan: IngestPlan,
    before: Mapping[str, str],
    *,
    other_options: bool,
) -> tuple[str, ...]:
    """Sentences about a table that is understood otherwise than before.

    Args:
        store: Folder of the store, with the dataset.
        plan: What would be entered.
        before: How the table was understood.
        other_options: Whether something else is said of the table than before.
    """
    now = plan.understood
    parts = [part for part in (*before, *now) if part not in _OF_ROWS]
    other = [part for part in dict.fromkeys(parts) if before.get(part) != now.get(part)]
    if not (other or other_options):
        return ()
    told = [
        f"understood otherwise than before: {part}: {before.get(part, 'nothing')}, now "
        f"{now.get(part, 'nothing')}"
        for part in other
    ]
    cells = changed_cells(
        FeatureStore(store), plan.dataset, plan.rows, plan.findings, plan.states
    )
    told += [
        f"this changes {name} of {counted(count, 'image')}"
        for name, count in cells.items()
    ]
    return tuple(told)
