"""Erased patients do not come back by the next ingest, unless somebody says so."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from retune.store import FeatureStore
from retune.store.erasure.tombstones import erased_among, remove_tombstones
from retune.store.opening.kept_catalogs import opening_once
from retune.store.plural import counted

from ...datasets.ingest import IngestPlan
from ...datasets.leakage import population_of, read_populations

__all__ = ["Returning", "keep_erased_out"]


@dataclass(frozen=True)
class Returning:
    """A plan, and which erased patients its table has.

    Attributes:
        plan: What may be stored.
        note: What to say of it; empty if nobody was erased.
    """

    plan: IngestPlan
    note: str = ""


@opening_once
def keep_erased_out(
    store: FeatureStore, plan: IngestPlan, population: str | None, *, un_forget: bool
) -> Returning:
    """Leave erased patients out of a plan, or allow them back.

    Args:
        store: Where the plan goes; the caller holds it for writing.
        plan: What a label table has.
        population: Whose patients the layout says these are; None: not known.
        un_forget: Allow those back whom the table has.

    Raises:
        StoreCorruptError: The store's key is damaged.
    """
    known = read_populations(store).get(plan.dataset)
    owner = known or population_of(plan.dataset, plan.layout, population)
    ids = plan.images.column("patient_id").to_pylist()
    erased = {
        patient
        for _, patient in erased_among(
            store.path, store.catalog, {(owner, one) for one in ids}
        )
    }
    if not erased:
        return Returning(plan)
    if un_forget:
        back = [(owner, one) for one in sorted(erased)]
        remove_tombstones(store.path, store.catalog, back)
        return Returning(
            plan, f"{counted(len(erased), 'patient', 'were')} erased and let in again"
        )
    kept = np.array([one not in erased for one in ids], dtype=bool)
    mask = pa.array(kept)
    mask = pa.array(kept)
    details = None if plan.details is None else plan.details.filter(mask)
    less = replace(
        plan,
        images=plan.images.filter(mask),
        states=plan.states[kept],
        details=details,
    )
    return Returning(
        less,
        f"{counted(int((~kept).sum()), 'image')} of {counted(len(erased), 'patient')} "
        "who were erased are left out (`un_forget` brings them back)",
    )
