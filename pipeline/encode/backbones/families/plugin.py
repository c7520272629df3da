"""Backbones of installed packages, by entry points in ``retune.backbones``."""

from collections.abc import Callable
from importlib.metadata import EntryPoint

from retune.store.errors import BackboneError

from .names import find_plugins
from .parts import Parts

__all__ = ["load_plugin"]


def load_plugin(name: str) -> Parts:
    """Load a backbone of an installed package.

    Args:
        name: ``NAME`` or ``NAME:ARGUMENT``; the package's function is called with the
            argument, which is empty if there is none.

    Raises:
        BackboneError: The package cannot be imported, its function fails, or gives
            something else than `Parts`.
    """
    plugin, _, argument = name.partition(":")
    point = find_plugins()[plugin]
    try:
        load: Callable[[str], object] = point.load()
        parts = load(argument)
    except BackboneError:
        raise
    except Exception as error:  # of a package that is not ours
        message = next(iter(str(error).splitlines()), "")
        raise _unusable(point, f"{type(error).__name__}: {message}") from error
    if not isinstance(parts, Parts):
        raise _unusable(point, f"it gives {type(parts).__name__} instead of Parts")
    return parts


def _unusable(point: EntryPoint, why: str) -> BackboneError:
    return BackboneError(
        f"cannot load the backbone '{point.name}' of an installed package: {why}",
        f"It is {point.value}; docs/plugins.md says what it has to give.",
    )
