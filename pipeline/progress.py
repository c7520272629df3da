"""How a long stage tells whoever is watching how far it is."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Progress", "ProgressCallback", "silent"]


@dataclass(frozen=True)
class Progress:
    """A moment of a long stage.

    Attributes:
        stage: What is being done, for a person.
        done: Items finished.
        total: Items in all.
        note: More, such as which part of the stage limits it.
    """

    stage: str
    done: int
    total: int
    note: str = ""


ProgressCallback = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """Watch nothing."""
    del progress
