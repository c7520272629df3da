"""Compiled loops over pixels, where the extra `fast` brings numba to compile them.

Pillow takes most of its time on a grey PNG of a radiograph to undo its filters, one
pixel after the other, and on a JPEG to resize it. Both are a page of arithmetic on
whole numbers, of which a compiler makes code that is two to four times as fast and
gives the same bits. Without numba, or until it has compiled, Pillow does the work.

Compiling takes a few seconds once per machine (numba keeps the code in a cache) and
loading it a few tenths of a second once per process, so that it begins only where many
images come.
"""

import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "WEIGHT_BITS",
    "Kernels",
    "kernels",
    "kernels_for_many",
    "load_kernels",
    "use_kernels",
]

#: Images that Pillow decodes before it pays to load compiled code.
_IMAGES_BEFORE: Final = 32
#: Bits after the point in the weights of a resized picture, as in Pillow.
WEIGHT_BITS: Final = 22

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Kernels:
    """Compiled loops; they let other threads run meanwhile.

    Attributes:
        unfilter: Undoes the filters of a PNG; see `loops`.
        across: Resizes along rows; see `loops`.
        down: Resizes along columns; see `loops`.
    """

    unfilter: Callable[[Pixels, Pixels, int], bool]
    across: Callable[[Pixels, npt.NDArray[Any], npt.NDArray[Any], Pixels], None]
    down: Callable[[Pixels, npt.NDArray[Any], npt.NDArray[Any], Pixels], None]


class _State:
    """What this process has loaded, and how many images asked for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asked = 0
        self.allowed = True
        self.loaded: Kernels | None = None
        self.tried = False


_state = _State()


def kernels() -> Kernels | None:
    """The compiled loops, if they are loaded and may be used."""
    return _state.loaded if _state.allowed else None


def kernels_for_many() -> Kernels | None:
    """`kernels`, which are loaded once this has been asked for many images.

    While one thread loads them, others get None and go on without.
    """
    if not _state.tried and _state.allowed:
        _state.asked += 1  # a count that two threads may miss by one is good enough
        if _state.asked > _IMAGES_BEFORE and _state.lock.acquire(blocking=False):
            try:
                load_kernels()
            finally:
                _state.lock.release()
    return kernels()


def load_kernels() -> Kernels | None:
    """Compile now; None without numba, or if it cannot compile here."""
    if not _state.tried:
        _state.loaded = _compiled()
        _state.tried = True
    return _state.loaded


def use_kernels(*, allowed: bool) -> None:
    """Say whether compiled loops may be used; for comparisons."""
    _state.allowed = allowed


def _compiled() -> Kernels | None:
    if importlib.util.find_spec("numba") is None:
        return None
    # A compiler may fail in many ways, and Pillow does the same without one.
    try:
        from . import loops
    except Exception:  # noqa: BLE001
        return None
    return Kernels(loops.unfilter, loops.across, loops.down)
