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
    """Say on stderr how many images fulfil `--where`; nothing where there is none."""
    if where is None:
        return
    from retune.store.reading import count_images

    chosen, n_images = count_images(store, datasets=datasets, where=where)
    remark(f"--where chooses {chosen:,} of {n_images:,} images", quiet=quiet)
