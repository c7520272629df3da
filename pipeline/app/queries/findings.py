"""What is labelled, how often, and how layouts write it."""

from collections.abc import Sequence
from dataclasses import dataclass

from retune.store import FeatureStore
from retune.store.opening.kept_catalogs import opening_once

from ...datasets.label_counts import LabelCount, count_labels
from ...datasets.layouts import known_layouts
from ...findings import broader_findings
from .listing import Listing
from .selection import check_datasets

__all__ = ["Alias", "FindingRow", "list_aliases", "list_findings"]


@dataclass(frozen=True)
class FindingRow:
    """Images of one dataset by the state of one finding.

    Attributes:
        finding: Its name.
        dataset: The dataset.
        positive: Images that show it.
        negative: Images that do not.
        uncertain: Images that may.
        absent: Images whose report does not mention it.
        broader: Findings that include it.
    """

    finding: str
    dataset: str
    positive: int
    negative: int
    uncertain: int
    absent: int
    broader: tuple[str, ...]


@dataclass(frozen=True)
class Alias:
    """How a layout writes a finding, or several at once."""

    layout: str
    written_as: str
    finding: str


@opening_once
def list_findings(
    store: FeatureStore, datasets: Sequence[str] | None = None
) -> Listing[FindingRow]:
    """Findings per dataset with their labels; `No Finding` is derived and stands last.

    Raises:
        ConfigurationError: A dataset is unknown.
    """
    check_datasets(store, datasets)
    rows = [_row(count) for count in count_labels(store, datasets)]
    return Listing.of(rows, tuple(FindingRow.__dataclass_fields__))


def _row(count: LabelCount) -> FindingRow:
    return FindingRow(**vars(count), broader=tuple(broader_findings(count.finding)))


def list_aliases() -> Listing[Alias]:
    """Each layout's tokens beside the canonical findings that they stand for."""
    rows = [
        Alias(layout.name, token, ", ".join(names))
        for layout in known_layouts().values()
        for token, names in layout.tokens.items()
    ]
    return Listing(
        rows,
        {
            "layout": lambda row: row.layout,
            "written as": lambda row: row.written_as,
            "finding": lambda row: row.finding,
        },
    )
