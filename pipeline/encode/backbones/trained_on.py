"""Whom a backbone was trained on, as a file beside its weights says."""

from pathlib import Path

from retune.store.errors import BackboneError

from ...datasets.contamination import (
    LIST_FILE,
    TrainedOn,
    parse_trained_on,
    trained_on_of_mini,
)
from .source import BackboneSource

__all__ = ["trained_on_of"]


def trained_on_of(source: BackboneSource) -> TrainedOn:
    """The patients and images of a backbone; nothing where no file says.

    Raises:
        BackboneError: The file cannot be read.
    """
    if source.origin == "mini":
        return trained_on_of_mini()
    path = Path(source.location) / LIST_FILE
    if source.origin != "local" or not path.is_file():
        return TrainedOn()
    try:
        return parse_trained_on(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BackboneError(
            f"{path} cannot be read: {error}",
            "It lists whom the backbone was trained on: one id a line, as UTF-8.",
        ) from error
