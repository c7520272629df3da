"""What can be asked of a model beside its name; needs no torch."""

from typing import Final

from retune.store.errors import ConfigurationError

__all__ = ["LAYERS", "POOLINGS", "check_names"]

POOLINGS: Final = ("auto", "cls", "mean", "pooler")
LAYERS: Final = ("projected", "pooled")


def check_names(pooling: str, layer: str) -> None:
    """Refuse unknown names before anything is loaded.

    Raises:
        ConfigurationError: `pooling` or `layer` is unknown.
    """
    for name, value, known in (
        ("pooling", pooling, POOLINGS),
        ("layer", layer, LAYERS),
    ):
        if value not in known:
            raise ConfigurationError(
                f"unknown `{name}` {value}", f"Use one of {', '.join(known)}."
            )
