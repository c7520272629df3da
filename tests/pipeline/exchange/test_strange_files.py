"""Files that other programs wrote oddly, or that are broken: read rightly, or refused.

A refusal says what is wrong, in which file, and what to do; nothing is left behind.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_samples import (
    IDS,
    D,
    N,
    example,
    framed,
    lists,
    make_store,
    vectors_of,
    write,
)

import retune
from retune.pipeline.app.encoders.import_request import ImportRequest, ImportSummary
from retune.pipeline.app.encoders.vector_import import import_vectors
from retune.store.errors import RetuneError

V = vectors_of()
Given = tuple[list[Path], str | None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_store(folder)
    return folder / "store"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> retune.Store:
    shutil.copytree(made, tmp_path / "store")
    return retune.open(tmp_path / "store")


def take(store: retune.Store, given: Given, **options: object) -> ImportSummary:
    files, ids = given
    request = ImportRequest(tuple(files), "theirs", ids, **options)  # type: ignore[arg-type]  # by name
    return import_vectors(store.feature_store, request)


def stored(store: retune.Store) -> dict[str, np.ndarray]:
    rows = store.sql("SELECT path, embedding FROM image_features").fetchall()
    return {path: np.array(vector, np.float32) for path, vector in rows}


def parquet(folder: Path, vectors: pa.Array, ids: object = None) -> Given:
    names = pa.array(IDS) if ids is None else ids
    pq.write_table(pa.table({"i": names, "v": vectors}), folder / "x.parquet")
    return [folder / "x.parquet"], "i"


def matrix(folder: Path, vectors: np.ndarray, text: bytes | None = None) -> Given:
    # Arrays of objects are written as pickles, which the importer has to refuse.
    np.save(folder / "x.npy", vectors, allow_pickle=True)
    lines = "\n".join(IDS).encode() if text is None else text
    (folder / "x.txt").write_bytes(lines)
    return [folder / "x.npy", folder / "x.txt"], None


def csv_beside(folder: Path, text: str) -> Given:
    np.save(folder / "x.npy", V)
    (folder / "x.csv").write_text(text)
    return [folder / "x.npy", folder / "x.csv"], "image"


def hdf5(folder: Path, vectors: np.ndarray, ids: object = None) -> Given:
    with h5py.File(folder / "x.h5", "w") as file:
        file["v"] = vectors
        if ids is None:
            file.create_dataset("i", data=IDS, dtype=h5py.string_dtype())
        else:
            file["i"] = ids
    return [folder / "x.h5"], "i"


def records(folder: Path, examples: list[bytes]) -> Given:
    (folder / "x.tfrecord").write_bytes(b"".join(map(framed, examples)))
    return [folder / "x.tfrecord"], None


def edited(given: Given, edit: Callable[[bytes], bytes]) -> Given:
    file = given[0][0]
    file.write_bytes(edit(file.read_bytes()))
    return given


def examples(first: dict[str, object]) -> list[bytes]:
    rest = zip(IDS[1:], V[1:], strict=True)
    whole = [example({"image/id": name.encode(), "embedding": v}) for name, v in rest]
    return [example(first), *whole]  # type: ignore[arg-type]


def header(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """A header of .npy that says something else, and is as long."""
    return lambda content: content.replace(old.ljust(len(new)), new.ljust(len(old)))


LISTS = [row.tolist() for row in V]
HOLED = [[*LISTS[0][:3], None, *LISTS[0][4:]], None, LISTS[2][:-1], [], *LISTS[4:]]
TENSORS = pa.FixedShapeTensorArray.from_numpy_ndarray(V)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda f: matrix(f, V.astype(">f4")), id="npy big-endian"),
        pytest.param(lambda f: matrix(f, V.astype(">f8")), id="npy float64"),
        pytest.param(
            lambda f: matrix(f, np.asfortranarray(V.astype(">f4"))), id="npy by columns"
        ),
        pytest.param(
            lambda f: matrix(f, V, b"\xef\xbb\xbf" + "\r\n".join(IDS).encode()),
            id="txt of Windows",
        ),
        pytest.param(
            lambda f: csv_beside(f, "image;n\n" + "".join(f"{i};0\n" for i in IDS)),
            id="csv with semicolons",
        ),
        pytest.param(
            lambda f: csv_beside(
                f, "image,n\n" + "".join(f'{i},"a\nb"\n' for i in IDS)
            ),
            id="csv with line breaks",
        ),
        pytest.param(lambda f: hdf5(f, V.astype(">f8")), id="hdf5 big-endian"),
        pytest.param(
            lambda f: parquet(f, pa.array(LISTS, pa.large_list(pa.float64()))),
            id="large lists",
        ),
        pytest.param(lambda f: parquet(f, TENSORS), id="tensors"),
        pytest.param(
            lambda f: parquet(f, lists(V), pa.array(IDS).dictionary_encode()),
            id="ids encoded by a dictionary",
        ),
        pytest.param(
            lambda f: parquet(f, lists(V), pa.array([i.encode() for i in IDS])),
            id="ids in bytes",
        ),
        pytest.param(
            lambda f: parquet(
                f, lists(V), pa.array(["C:\\x\\" + i.replace("/", "\\") for i in IDS])
            ),
            id="paths of Windows",
        ),
    ],
)
def test_odd_files_are_read_rightly(
    store: retune.Store, tmp_path: Path, given: Callable[[Path], Given]
) -> None:
    done = take(store, given(tmp_path))
    assert (done.imported, done.failed, done.unmatched) == (N, 0, 0)
    vectors = stored(store)
    assert all(np.allclose(vectors[i], V[row]) for row, i in enumerate(IDS))


@pytest.mark.parametrize(
    "list_type", [pa.list_(pa.float32()), pa.large_list(pa.float32())]
)
def test_nulls_and_other_lengths_fail_row_by_row(
    store: retune.Store, tmp_path: Path, list_type: pa.DataType
) -> None:
    done = take(store, parquet(tmp_path, pa.array(HOLED, list_type)))
    assert (done.imported, done.failed) == (N - 4, 4)
    reasons = [text.partition(": ")[2] for text in done.failures]
    assert reasons == [
        "its vector is not finite",
        "its vector is null",
        f"its vector has {D - 1} numbers, not {D}",
        f"its vector has 0 numbers, not {D}",
    ]


def test_ids_that_are_missing_are_counted(store: retune.Store, tmp_path: Path) -> None:
    done = take(store, parquet(tmp_path, lists(V), pa.array([None, *IDS[1:]])))
    assert (done.imported, done.unmatched, done.unmatched_ids) == (
        N - 1,
        1,
        ("(no id)",),
    )


def test_a_record_without_a_vector_may_come_first(
    store: retune.Store, tmp_path: Path
) -> None:
    done = take(store, records(tmp_path, examples({"image/id": IDS[0].encode()})))
    assert (done.imported, done.failed) == (N - 1, 1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            lambda f: matrix(f, (9 * V).astype("i1")),
            "are int8; they have to be float16",
        ),
        (lambda f: matrix(f, V.view("V4")), "are void32"),
        (lambda f: matrix(f, V.astype("c8")), "are complex64"),
        (lambda f: matrix(f, V.astype(object)), "holds Python objects"),
        (lambda f: matrix(f, V[:, 0]), r"have shape \(60,\)"),
        (lambda f: matrix(f, V[:, :0]), "there are no vectors in"),
        (lambda f: matrix(f, V, "é".encode("latin1")), "codec can't decode"),
        (lambda f: edited(matrix(f, V), lambda c: c[:-9]), "it is cut short"),
        (
            lambda f: edited(
                matrix(f, V), header(b"(60, 8), }", b"(60, 99999999999), }")
            ),
            "it is cut short",
        ),
        (lambda f: edited(matrix(f, V), header(b"(60, 8)", b"(60, -8")), "cannot read"),
        (lambda f: edited(matrix(f, V), header(b"<f4", b"zz4")), "cannot read"),
        (lambda f: hdf5(f, V, np.arange(N) * 1.0), "the ids in .* are float64"),
        (lambda f: hdf5(f, (9 * V).astype("i1")), "0 columns that could hold vectors"),
        (
            lambda f: parquet(f, lists((9 * V).astype("i1"))),
            "0 columns that could hold",
        ),
        (
            lambda f: parquet(f, lists(V[:0]), pa.array([], pa.string())),
            "no vectors in",
        ),
        (
            lambda f: parquet(f, lists(V), pa.array([0.5] * N)),
            "ids in .* are no text: Float value 0.5",
        ),
        (
            lambda f: parquet(f, lists(V), pa.array([b"\xe9"] * N)),
            "ids in .* are no text: Invalid UTF8",
        ),
        (lambda f: records(f, []), "has no records"),
    ],
)
def test_what_cannot_be_read_is_refused_and_leaves_nothing(
    store: retune.Store, tmp_path: Path, given: Callable[[Path], Given], says: str
) -> None:
    with pytest.raises(RetuneError, match=says) as caught:
        take(store, given(tmp_path))
    assert str(tmp_path / "x") in caught.value.message
    assert caught.value.hint
    assert store.sql("SELECT count(*) FROM encoders").fetchall() == [(0,)]


def test_a_datasets_folder_with_odd_records_is_refused(
    store: retune.Store, tmp_path: Path
) -> None:
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [3]}))
    with pytest.raises(RetuneError, match="names 3, which is no name of a file"):
        take(store, ([tmp_path], "i"))


def test_a_part_of_clip_retrieval_that_is_missing_is_named(
    store: retune.Store, tmp_path: Path
) -> None:
    folder = write(tmp_path / "w", "clip-retrieval", V)["files"][0]
    (folder / "img_emb" / "img_emb_0.npy").unlink()
    with pytest.raises(RetuneError, match=r"metadata_0.parquet has no .*img_emb_0.npy"):
        take(store, ([folder], None))


def test_a_failed_import_does_not_take_the_name(
    store: retune.Store, tmp_path: Path
) -> None:
    """Its files have another digest once they are repaired."""
    given = parquet(tmp_path, lists(V))
    whole = given[0][0].read_bytes()
    metadata = pq.read_metadata(given[0][0]).row_group(0).column(1)
    at = metadata.data_page_offset + 40  # among the vectors; the ids are whole
    given[0][0].write_bytes(whole[:at] + b"\xff" * 64 + whole[at + 64 :])
    with pytest.raises(RetuneError, match=r"cannot read .*x\.parquet"):
        take(store, given)
    assert store.sql("SELECT count(*) FROM encoders").fetchall() == [(0,)]
    given[0][0].write_bytes(whole)
    assert take(store, given).imported == N
    assert not store.feature_store.verify()
