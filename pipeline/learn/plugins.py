"""Names to things: ours, and those of installed packages."""

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TypeVar, cast

from retune.store.errors import ConfigurationError

__all__ = ["named"]

_T = TypeVar("_T")


def named(option: str, name: str, known: Mapping[str, _T]) -> _T:
    """What a name stands for.

    Args:
        option: ``method`` or ``adaptor``; entry points are in ``retune.<option>s``.
        name: To look up; our own names come first.
        known: Ours.

    Raises:
        ConfigurationError: Nothing has this name, or it cannot be imported.

    >>> named("method", "finetune", {"finetune": 1})
    1
    """
    if name in known:
        return known[name]
    others = {point.name: point for point in entry_points(group=f"retune.{option}s")}
    if name not in others:
        raise ConfigurationError(
            f"unknown `{option}` {name}",
            f"Use one of {', '.join([*known, *sorted(others)])}.",
        )
    try:
        return cast("_T", others[name].load())
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"`{option}` {name} of an installed package cannot be imported: {error}",
            f"It is {others[name].value}; install that package again.",
        ) from error
