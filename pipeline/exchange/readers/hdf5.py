"""Vectors in HDF5: a dataset of two axes, and one of ids."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa

from retune.store.errors import ConfigurationError, DatasetError

from ..contract import (
    BLOCK_ROWS,
    Block,
    ColumnNames,
    choose_column,
    stored_type,
    whole_block,
)
from .matrices import strings_of

__all__ = ["Hdf5Table"]

_FAULTS = (OSError, ValueError, KeyError, RuntimeError, TypeError, OverflowError)


@dataclass(frozen=True)
class Hdf5Table:
    """One HDF5 file; only datasets that lie in the file itself are read.

    Attributes:
        path: The file.
        names: How the user calls its datasets, such as ``group/embedding``.
    """

    path: Path
    names: ColumnNames = field(default_factory=ColumnNames)

    @cached_property
    def _shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]:
        """Datasets with their shapes and types."""
        with self._opened() as file:
            shapes: dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]] = {}

            def note(name: str, item: object) -> None:
                # Virtual and external storage would reach for other files.
                if not isinstance(item, h5py.Dataset) or item.is_virtual:
                    return
                if item.external is None:
                    shapes[name] = item.shape, item.dtype

            file.visititems(note)  # follows no soft or external links
            return shapes

    @cached_property
    def _vectors(self) -> str:
        fitting = [
            name
            for name, (shape, dtype) in self._shapes.items()
            if len(shape) == 2 and dtype.kind == "f"
        ]
        return choose_column(
            self.path, "vectors", self.names.vectors, fitting, self._listed()
        )

    @property
    def dtype(self) -> str:
        """``float16`` or ``float32``."""
        return stored_type(self.path, self._shapes[self._vectors][1])

    @property
    def n_rows(self) -> int:
        """N."""
        return self._shapes[self._vectors][0][0]

    @property
    def dim(self) -> int:
        """D."""
        return self._shapes[self._vectors][0][1]

    def ids(self) -> pa.Array | None:
        """The dataset of ids."""
        lists = [name for name, (shape, _) in self._shapes.items() if len(shape) == 1]
        if not lists and self.names.ids is None:
            return None
        name = choose_column(self.path, "ids", self.names.ids, lists, self._listed())
        names = self._texts(name)
        if len(names) != self.n_rows:
            raise ConfigurationError(
                f"{self.path} has {self.n_rows:,} vectors and {len(names):,} ids "
                f"({name})",
                "Name the dataset that belongs to the vectors with `ids`.",
            )
        return names

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Further datasets of text, as long as there are vectors."""
        present = [
            name
            for name in names
            if name in self._shapes and self._shapes[name][0] == (self.n_rows,)
        ]
        return pa.table({name: self._texts(name) for name in present})

    def _texts(self, name: str) -> pa.Array:
        with self._opened() as file:
            dataset = file[name]
            if h5py.check_string_dtype(dataset.dtype) is not None:
                try:
                    return pa.array(dataset.asstr()[...].tolist(), pa.string())
                except UnicodeDecodeError as error:
                    raise DatasetError(
                        f"the ids in {self.path} are no UTF-8: {error}"
                    ) from error
            return strings_of(np.asarray(dataset[...]), self.path)

    def blocks(self) -> Iterator[Block]:
        """All rows in order."""
        with self._opened() as file:
            dataset = file[self._vectors]
            for start in range(0, self.n_rows, BLOCK_ROWS):
                block = np.asarray(dataset[start : start + BLOCK_ROWS])
                with np.errstate(over="ignore", invalid="ignore"):
                    yield whole_block(block.astype(self.dtype, copy=False))

    def _listed(self) -> str:
        return ", ".join(f"{name} {shape}" for name, (shape, _) in self._shapes.items())

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self.path, "r", locking=False) as file:
                yield file
        except (ConfigurationError, DatasetError):
            raise
        except _FAULTS as error:
            raise DatasetError(
                f"cannot read {self.path}: {error}", "Is it a whole HDF5 file?"
            ) from error
