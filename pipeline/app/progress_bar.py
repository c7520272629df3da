"""A bar for a person who watches a long stage, on a terminal or in a notebook.

The only file of the pipeline that draws; both skins use it.
"""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ..progress import Progress, ProgressCallback, silent

__all__ = ["beside_a_bar", "notebook_bar", "terminal_bar"]


@contextmanager
def terminal_bar(*, quiet: bool = False) -> Iterator[ProgressCallback]:
    """Draw on stderr if it is a terminal; one bar per stage.

    Args:
        quiet: Draw nothing and say nothing.
    """
    from tqdm import tqdm

    # tqdm leaves the bar out by itself where stderr is no terminal.
    bars = _Bars(tqdm, disable=None)
    try:
        yield silent if quiet else bars.show
    finally:
        bars.close()


def notebook_bar(*, progress: bool) -> AbstractContextManager[ProgressCallback]:
    """Draw a bar in a notebook, or on stderr where there is none.

    Args:
        progress: False: draw nothing.
    """
    return _asked_bar() if progress else _no_bar()


@contextmanager
def _no_bar() -> Iterator[ProgressCallback]:
    yield silent


@contextmanager
def _asked_bar() -> Iterator[ProgressCallback]:
    from tqdm.auto import tqdm

    bars = _Bars(tqdm, disable=False)
    try:
        yield bars.show
    finally:
        bars.close()


class _Bars:
    """One bar after another, as stages follow each other."""

    def __init__(self, bar_type: Any, *, disable: bool | None) -> None:
        self._kind, self._disable = bar_type, disable
        self._bar: Any = None
        self._stage = ""

    def show(self, progress: Progress) -> None:
        if progress.total == 0:
            note = f": {progress.note}" if progress.note else " …"
            sys.stderr.write(progress.stage + note + "\n")
            return
        if self._bar is None or self._stage != progress.stage:
            self.close()
            self._stage = progress.stage
            self._bar = self._kind(
                desc=progress.stage,
                total=progress.total,
                unit="",
                disable=self._disable,
                file=sys.stderr,
                dynamic_ncols=True,
            )
        self._bar.set_postfix_str(progress.note, refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def beside_a_bar() -> AbstractContextManager[Any]:
    """While it is open, lines may go to standard output: a bar makes room."""
    from tqdm import tqdm

    return tqdm.external_write_mode(file=sys.stdout)
