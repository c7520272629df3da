"""What a selection of images comes to, known before any work starts."""

from collections.abc import Sequence
from dataclasses import dataclass

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError
from retune.store.queries.labelled import count_images

__all__ = ["Selection", "check_datasets", "count_selection"]


@dataclass(frozen=True)
class Selection:
    """How many images a condition chooses, of how many that the store knows."""

    n_chosen: int
    n_images: int


def count_selection(
    store: FeatureStore, datasets: Sequence[str] | None, where: str | None
) -> Selection | None:
    """Count the images that fulfil `where`; None where there is no condition.

    Raises:
        ConfigurationError: No image does.
        QueryError: It is no condition over images.
    """
    if where is None:
        return None
    chosen, n_images = count_images(store, datasets=datasets, where=where)
    if not chosen:
        within = (
            f": it must be in {', '.join(datasets)} and" if datasets else ": it must"
        )
        raise ConfigurationError(
            f"no image of the store {store.path} fits{within} fulfil {where}",
            "`retune-cli status` shows datasets and what is encoded.",
        )
    return Selection(chosen, n_images)


def check_datasets(store: FeatureStore, datasets: Sequence[str] | None) -> None:
    """Refuse names of datasets that the store does not have.

    Raises:
        ConfigurationError: It lacks one; the message names those that it has.
    """
    rows = store.rows("SELECT dataset FROM datasets ORDER BY 1")
    known = [name for (name,) in rows]
    unknown = [name for name in datasets or () if name not in known]
    if unknown:
        raise ConfigurationError(
            f"the store has no dataset {', '.join(unknown)}; it has: "
            f"{', '.join(known) or 'none'}",
            "Choose one of these, or ingest it first.",
        )
