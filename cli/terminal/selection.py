"""What a selection of images comes to, told before any work starts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from retune.store.plural import counted

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
    from retune.pipeline.app.queries.selection import count_selection

    selected = count_selection(store, datasets, where)
    if selected is not None:
        remark(
            f"--where chooses {selected.n_chosen:,} of "
            f"{counted(selected.n_images, 'image')}",
            quiet=quiet,
        )
