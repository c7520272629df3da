"""How often each finding is in each state, per dataset, and `No Finding` with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from retune.store.feature_store import FeatureStore
from retune.store.label_states import NO_FINDING

__all__ = ["LabelCount", "count_labels"]

#: Says nothing about a patient's lungs, so an image that shows one may show no finding
#: (Irvin et al., AAAI 2019).
_NO_PATHOLOGY: Final = "Support Devices"


@dataclass(frozen=True)
class LabelCount:
    """Images of one dataset by the state of one finding."""

    finding: str
    dataset: str
    positive: int
    negative: int
    uncertain: int
    absent: int


def count_labels(
    store: FeatureStore, datasets: Sequence[str] | None = None
) -> list[LabelCount]:
    """Count label states; findings in the order of the datasets, `No Finding` last.

    `No Finding` is derived. Support devices apart, it is negative where a finding is
    positive, else uncertain where one is uncertain, else positive where one is negative
    (nothing was found), else absent (nothing is known).

    Args:
        store: Where to look.
        datasets: Only these; None for all.
    """
    parameters = {"datasets": datasets and list(datasets), "apart": _NO_PATHOLOGY}
    counts = ", ".join(
        f"count(*) FILTER (state = '{state}')"
        for state in ("positive", "negative", "uncertain", "absent")
    )
    chosen = "$datasets::VARCHAR[] IS NULL OR list_contains($datasets, dataset)"
    rows = store.rows(
        f"""WITH cells AS (SELECT dataset, image_id, finding, state
            FROM labels JOIN images USING (image_id) WHERE {chosen}),
        derived AS (SELECT dataset, CASE
                WHEN bool_or(state = 'positive') THEN 'negative'
                WHEN bool_or(state = 'uncertain') THEN 'uncertain'
                WHEN bool_or(state = 'negative') THEN 'positive'
                ELSE 'absent' END AS state
            FROM cells WHERE finding != $apart GROUP BY dataset, image_id),
        places AS (SELECT finding, min(position) AS place
            FROM dataset_findings WHERE {chosen} GROUP BY finding)
        SELECT finding, dataset, {counts}, any_value(place) AS place
        FROM cells JOIN places USING (finding) GROUP BY finding, dataset
        UNION ALL SELECT '{NO_FINDING}', dataset, {counts}, NULL
        FROM derived GROUP BY dataset
        ORDER BY place NULLS LAST, finding, dataset""",
        parameters,
    )
    return [LabelCount(*row[:-1]) for row in rows]
