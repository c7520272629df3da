"""The process that opens strangers' HDF5 files: the library may crash on damaged ones.

It is asked one thing, as JSON on its standard input, and answers on its output: a JSON
object, an Arrow stream of text, or the plain bytes of vectors. What is wrong with the
file goes to its error output, as JSON, with the exit status 3. The kernel ends it if
reading a part of the file takes too long.
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import pyarrow as pa

from retune.store.errors import DatasetError

from ..contract import BLOCK_ROWS
from .matrices import strings_of

__all__ = ["REFUSED", "answer"]

#: Exit status that says that the file is damaged, or holds what cannot be read.
REFUSED = 3
_FAULTS = (
    OSError, ValueError, KeyError, RuntimeError, TypeError, OverflowError, MemoryError,
    IndexError, AttributeError, ZeroDivisionError,
)  # fmt: skip


def answer(request: dict[str, Any], out: IO[bytes]) -> None:
    """Answer one request.

    Args:
        request: `path`, `seconds` that a part may take, and `ask`: ``shapes``,
            ``texts`` of the dataset `name`, or ``vectors`` of `name` as `dtype`.
        out: Where to.

    Raises:
        DatasetError: The file is damaged, or does not hold what was asked for.
    """
    path, seconds = Path(request["path"]), int(request["seconds"])
    try:
        with _limited(seconds), h5py.File(path, "r", locking=False) as file:
            if request["ask"] == "shapes":
                out.write(json.dumps(_shapes(file)).encode())
            elif request["ask"] == "texts":
                texts = _texts(file[request["name"]], path)
                table = pa.table({"text": texts})
                with pa.ipc.new_stream(out, table.schema) as stream:
                    stream.write_table(table)
            else:
                for part in _parts(file[request["name"]], request["dtype"]):
                    signal.alarm(0)  # whoever reads it may take his time
                    out.write(part.tobytes())
                    signal.alarm(seconds)
    except _FAULTS as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(
            f"cannot read {path}: {error}", "Is it a whole HDF5 file?"
        ) from error


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """The signal's own action ends the process, even within the library."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _shapes(file: h5py.File) -> dict[str, tuple[list[int], str]]:
    """Datasets that lie in the file itself: shape and type."""
    shapes: dict[str, tuple[list[int], str]] = {}

    def note(name: str, item: object) -> None:
        # Virtual and external storage would reach for other files.
        if not isinstance(item, h5py.Dataset) or item.is_virtual:
            return
        if item.external is None and item.shape is not None:
            dtype = item.dtype
            text = h5py.check_string_dtype(dtype) is not None
            shapes[name] = list(item.shape), "O" if text else dtype.str

    file.visititems(note)  # follows no soft or external links
    return shapes


def _texts(dataset: h5py.Dataset, path: Path) -> pa.Array:
    if h5py.check_string_dtype(dataset.dtype) is not None:
        try:
            return pa.array(dataset.asstr()[...].tolist(), pa.string())
        except UnicodeDecodeError as error:
            raise DatasetError(f"the ids in {path} are no UTF-8: {error}") from error
    return strings_of(np.asarray(dataset[...]), path)


def _parts(dataset: h5py.Dataset, dtype: str) -> Iterator[Any]:
    for start in range(0, dataset.shape[0], BLOCK_ROWS):
        with np.errstate(over="ignore", invalid="ignore"):
            yield np.asarray(dataset[start : start + BLOCK_ROWS]).astype(dtype)


def main() -> int:
    """Read a request, answer it; gives the exit status."""
    try:
        answer(json.load(sys.stdin), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except DatasetError as error:
        sys.stderr.write(json.dumps([error.message, error.hint]))
        return REFUSED
    except BrokenPipeError:  # nobody reads on
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
