"""Marks of runs that an erasure could not undo; they are refused unless allowed."""

from collections.abc import Iterable
from typing import Final

from retune.store import FeatureStore, Run
from retune.store.erasure.tombstones import superseded_among
from retune.store.errors import ErasedDataError
from retune.store.runs import read_run_marks

from ..runs.record import read_record
from ..runs.selection import Contribution

__all__ = ["FIGURES", "TRAINED", "refuse_erased", "refuse_superseded"]

#: The weights of the run depend on somebody who is erased.
TRAINED: Final = "trained on erased data"
#: The weights do not; some of the figures do.
FIGURES: Final = "figures include erased data"


def refuse_erased(store: FeatureStore, run_id: str, *, allow_erased: bool) -> None:
    """Refuse a run whose weights depend on somebody who is erased.

    Args:
        store: With the run.
        run_id: Id of the run.
        allow_erased: Do not refuse it.

    Raises:
        ErasedDataError: The run is marked, and that is not allowed.
    """
    if allow_erased or TRAINED not in read_run_marks(store).get(run_id, ()):
        return
    raise ErasedDataError(
        f"run {run_id} was {TRAINED}",
        f"Train it again with `retune-cli forget --retrain`, delete it with "
        f"`retune-cli runs delete {run_id}`, or say `allow_erased` if you may.",
    )


def refuse_superseded(store: FeatureStore, known: Iterable[Contribution]) -> None:
    """Refuse a state that still counts patients who were erased from this store.

    Args:
        store: From which somebody may have been erased.
        known: What the state has learned from.

    Raises:
        ErasedDataError: A contribution is from before an erasure.
    """
    contributions = {one.digest: one for one in known}
    old = superseded_among(store.path, store.catalog, contributions)
    if not old:
        return
    rows = store.rows("SELECT * FROM runs")
    # Patients who were let back in make the same contribution again.
    current = {
        one.digest
        for row in rows
        for one in read_record(Run(*row)).provenance.contributions
    }
    for digest in sorted(set(old) - current):
        raise ErasedDataError(
            f"the state still counts patients who were erased from this store: it has "
            f"learned from {contributions[digest].dataset} as it was before",
            "Take the state from its run in this store, which was corrected, or "
            "subtract the patients (`subtract`).",
        )
