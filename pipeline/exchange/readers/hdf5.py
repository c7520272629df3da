"""Vectors in HDF5: a dataset of two axes, and one of ids.

A damaged HDF5 file can end the process that opens it, so another process does; see
`hdf5_worker`.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Final

import numpy as np
import pyarrow as pa

from retune.store.errors import ConfigurationError, DatasetError
from retune.store.plural import counted

from ..contract import (
    BLOCK_ROWS,
    Block,
    ColumnNames,
    choose_column,
    stored_type,
    whole_block,
)

__all__ = ["Hdf5Table"]

_WORKER: Final = "retune.pipeline.exchange.readers.hdf5_worker"
#: Seconds that reading a part of the file may take.
_SECONDS: Final = 120
_REFUSED: Final = 3
_HINT: Final = "Is it a whole HDF5 file?"


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
        with self._asked("shapes") as answer:
            told = answer.read()
        return {
            name: (tuple(shape), np.dtype(dtype))
            for name, (shape, dtype) in json.loads(told).items()
        }

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
                f"{self.path} has {counted(self.n_rows, 'vector')} and "
                f"{counted(len(names), 'id')} "
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
        with self._asked("texts", name=name) as answer:
            content = answer.read()
        return pa.ipc.open_stream(content).read_all()["text"].combine_chunks()

    def blocks(self) -> Iterator[Block]:
        """All rows in order."""
        row_bytes = self.dim * np.dtype(self.dtype).itemsize
        with self._asked("vectors", name=self._vectors, dtype=self.dtype) as answer:
            for start in range(0, self.n_rows, BLOCK_ROWS):
                n_rows = min(BLOCK_ROWS, self.n_rows - start)
                content = answer.read(n_rows * row_bytes)
                if len(content) < n_rows * row_bytes:
                    return  # why is told when the process has ended
                block = np.frombuffer(content, self.dtype).reshape(n_rows, self.dim)
                yield whole_block(block)

    def _listed(self) -> str:
        return ", ".join(f"{name} {shape}" for name, (shape, _) in self._shapes.items())

    @contextmanager
    def _asked(self, ask: str, **more: str) -> Iterator[IO[bytes]]:
        """What the other process answers, to be read to its end.

        Raises:
            DatasetError: The file is damaged, or reading it crashes or does not end.
        """
        request = {"ask": ask, "path": str(self.path), "seconds": _SECONDS, **more}
        folders = os.pathsep.join(folder for folder in sys.path if folder)
        with tempfile.TemporaryFile() as problems:
            try:
                process = subprocess.Popen(
                    # -P: no file of the working directory is imported.
                    [sys.executable, "-P", "-m", _WORKER],
                    env={**os.environ, "PYTHONPATH": folders},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=problems,
                )
            except OSError as error:
                raise DatasetError(
                    f"a process that reads {self.path} cannot be started: {error}",
                    "Is there memory left, and may this process start others?",
                ) from error
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                with suppress(BrokenPipeError):
                    process.stdin.write(json.dumps(request).encode())
                    process.stdin.close()
                yield process.stdout
                process.stdout.close()
                self._check(process.wait(), problems)
            finally:
                process.kill()
                process.stdout.close()
                process.wait()

    def _check(self, status: int, problems: IO[bytes]) -> None:
        """Say what the other process ended with.

        Raises:
            DatasetError: It did not end well.
        """
        if status == 0:
            return
        problems.seek(0)
        if status == _REFUSED:
            raise DatasetError(*json.loads(problems.read()))
        if status == -signal.SIGALRM:
            raise DatasetError(
                f"cannot read {self.path}: reading a part of it takes longer than "
                f"{_SECONDS} seconds",
                _HINT,
            )
        reason = f"ends with exit status {status}"
        if status < 0:
            reason = f"is ended by {signal.Signals(-status).name}"
        raise DatasetError(
            f"cannot read {self.path}: the process that reads it {reason}", _HINT
        )
