"""Names that need no torch: of plug-ins, and of what a model can be asked for."""

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from retune.store.errors import ConfigurationError

__all__ = ["LAYERS", "POOLINGS", "check_names", "find_plugins"]

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


def find_plugins() -> dict[str, EntryPoint]:
    """Backbones of installed packages: entry points in ``retune.backbones``."""
    points = entry_points(group="retune.backbones")
    return {point.name: point for point in sorted(points, key=lambda one: one.name)}
