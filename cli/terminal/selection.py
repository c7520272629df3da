"""What a selection of images comes to, told before any work starts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .printing import remark

if TYPE_CHECKING:
    from retune.store import FeatureStore

__all__ = ["announce_selection"]


def announce_selection(
    store: "FeatureStore",
    datasets: Sequence[str] | None,
    where: str | None,
    *,
    quiet: bool = False,
) -> None:
    """Say on stderr how many images fulfil `--where`; nothing where there is none.

    Raises:
        ConfigurationError: No image does.
        QueryError: It is no condition over images.
    """
    if where is None:
        return
    from retune.store.errors import ConfigurationError
    from retune.store.queries.labelled import count_images

    chosen, n_images = count_images(store, datasets=datasets, where=where)
    if not chosen:
        raise ConfigurationError(
            f"no image of the store {store.path} fits"
            + (
                f": it must be in {', '.join(datasets)} and"
                if datasets
                else ": it must"
            )
            + f" fulfil {where}",
            "`retune-cli status` shows datasets and what is encoded.",
        )
    remark(f"--where chooses {chosen:,} of {n_images:,} images", quiet=quiet)
