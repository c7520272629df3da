"""Catalogs that stay open for reading between the queries of one piece of work.

DuckDB takes about 15 milliseconds to open a file, much longer than most of our queries
take. Work that asks several things keeps the file open meanwhile: only the first
opening takes that time, because DuckDB shares what a process has open already.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import duckdb

__all__ = ["keep", "kept_open", "let_go", "opening_once"]


@dataclass
class _Kept:
    """A catalog that somebody wants to stay open.

    Attributes:
        until: When `time.monotonic` says so, it is kept no longer.
        n_blocks: How many blocks want it.
        connection: What keeps it open; None before the first reading and after a
            writing.
    """

    until: float
    n_blocks: int = 0
    connection: duckdb.DuckDBPyConnection | None = None


#: Reading that takes longer is not slowed down by another opening.
_LONGEST_SECONDS = 1.0
_catalogs: dict[str, _Kept] = {}
_changing = threading.Lock()


@contextmanager
def kept_open(path: Path) -> Iterator[None]:
    """Leave a catalog open for reading after its first reading in the block.

    Writers of other processes wait meanwhile, so a block has to be short, and one that
    reads for longer than a second keeps the file no more. A writer of this process does
    not wait: it lets go of the catalog first.

    Args:
        path: The DuckDB file; it may be absent.
    """
    name = os.path.realpath(path)
    with _changing:
        until = time.monotonic() + _LONGEST_SECONDS
        _catalogs.setdefault(name, _Kept(until)).n_blocks += 1
    try:
        yield
    finally:
        with _changing:
            kept = _catalogs[name]
            kept.n_blocks -= 1
            if not kept.n_blocks:
                _close(_catalogs.pop(name))


def keep(path: Path, reopen: Callable[[], duckdb.DuckDBPyConnection]) -> None:
    """Keep open a catalog that was just opened for reading, if a block wants that.

    Args:
        path: The DuckDB file.
        reopen: Opens it once more in the same way.
    """
    if not _catalogs:
        return
    with _changing:
        kept = _catalogs.get(os.path.realpath(path))
        if kept is not None and time.monotonic() > kept.until:
            _close(kept)
        elif kept is not None and kept.connection is None:
            kept.connection = reopen()


def let_go(path: Path) -> None:
    """Close what blocks keep open of a catalog, which somebody opens in another way."""
    if not _catalogs:
        return
    with _changing:
        kept = _catalogs.get(os.path.realpath(path))
        if kept is not None:
            _close(kept)


def _close(kept: _Kept) -> None:
    if kept.connection is not None:
        kept.connection.close()
        kept.connection = None


class _HasCatalog(Protocol):
    @property
    def path(self) -> Path: ...


class _Store(Protocol):
    @property
    def catalog(self) -> _HasCatalog: ...


_S = TypeVar("_S", bound=_Store)
_P = ParamSpec("_P")
_T = TypeVar("_T")


def opening_once(
    function: Callable[Concatenate[_S, _P], _T],
) -> Callable[Concatenate[_S, _P], _T]:
    """Let a function, whose first argument is a store, open the catalog once.

    For functions that read several things and do not compute for long; see `kept_open`.
    """

    @wraps(function)
    def opening(store: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with kept_open(store.catalog.path):
            return function(store, *args, **kwargs)

    return opening
