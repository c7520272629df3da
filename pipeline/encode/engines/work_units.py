"""Cutting work into units: one unit becomes one shard."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..images.reading import ImageItem

__all__ = ["WorkUnit", "plan_units"]

#: Units that each worker should at least get, so that none waits long for the others.
_LEAST_UNITS = 4


@dataclass(frozen=True)
class WorkUnit:
    """Images that one worker reads and encodes into one shard.

    Attributes:
        shard_id: Id of the shard, 16 hex digits. A unit that is done again, because its
            worker died, replaces its own shard and leaves no second one.
        items: What to read, in order.
    """

    shard_id: str
    items: tuple[ImageItem, ...]


def plan_units(
    items: Sequence[ImageItem], run: str, *, shard_rows: int, workers: int
) -> list[WorkUnit]:
    """Cut what is missing into units; the same input gives the same units.

    Args:
        items: What is missing, in the order of image ids.
        run: 8 hex digits that no other run has, so that no committed shard is replaced.
        shard_rows: Images in a full unit.
        workers: That share the units.

    >>> items = [ImageItem(f"d/{i}.png", "/data", f"{i}.png") for i in range(10)]
    >>> units = plan_units(items, "0123abcd", shard_rows=4, workers=1)
    >>> [(unit.shard_id, len(unit.items)) for unit in units]
    [('0123abcd00000000', 3), ('0123abcd00000001', 3), ('0123abcd00000002', 3), \
('0123abcd00000003', 1)]
    """
    even = -(-len(items) // (_LEAST_UNITS * workers))
    size = max(1, min(shard_rows, even))
    return [
        WorkUnit(f"{run}{number:08x}", tuple(items[first : first + size]))
        for number, first in enumerate(range(0, len(items), size))
    ]
