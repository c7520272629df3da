"""What goes out comes back bit for bit, whatever the format."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exchange_samples import IDS, D, N, make_store, vectors_of, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from number_samples import finite_floats

import retune
from retune.pipeline.app.encoders.import_request import ImportRequest
from retune.pipeline.app.encoders.vector_export import ExportRequest, export
from retune.pipeline.app.encoders.vector_import import import_vectors
from retune.pipeline.exchange.contract import ColumnNames
from retune.pipeline.exchange.exporting import FORMATS, write_export
from retune.pipeline.exchange.outgoing import OutgoingTable
from retune.pipeline.exchange.readers.sources import open_vectors
from retune.store.errors import ConfigurationError

#: Lance is an extra that is no part of the test environment everywhere.
FILES = [name for name in FORMATS if name != "lance"]


def filled(folder: Path, vectors: np.ndarray, name: str = "theirs") -> retune.Store:
    folder.mkdir(exist_ok=True)
    store = make_store(folder)
    given = write(folder / "in", "npz", vectors)
    import_vectors(
        store.feature_store, ImportRequest(tuple(given["files"]), name, given["ids"])
    )
    return store


def bits(store: retune.Store, backbone: str) -> np.ndarray:
    """Vectors as stored, as unsigned integers."""
    from retune.store.queries.outgoing import read_outgoing

    row = next(one for one in store.encoders if one.backbone == backbone)
    values = np.concatenate(
        [*read_outgoing(store.feature_store, row.fingerprint).blocks(16)]
    )
    return values.view(f"u{values.itemsize}")


def come_back(store: retune.Store, done: list[Path], name: str) -> None:
    files = [path for path in done if ".croissant" not in path.name]
    request = ImportRequest(tuple(files), name, ids="image_id", vectors=None)
    summary = import_vectors(store.feature_store, request)
    assert (summary.unmatched, summary.failed, summary.join) == (0, 0, "image_id")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> retune.Store:
    return filled(tmp_path_factory.mktemp("out"), vectors_of())


class _Blocks:
    """Stands for a store: gives vectors in blocks."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def blocks(self, _n_rows: int) -> list[np.ndarray]:
        return [self.vectors[at : at + 7] for at in range(0, len(self.vectors), 7)]


@pytest.mark.parametrize("to", FILES)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_files_hold_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, to: str, dtype: str, data: st.DataObject
) -> None:
    n, dim = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 9))
    vectors = data.draw(arrays(dtype, (n, dim), elements=finite_floats(dtype)))
    ids = [f"d/{at}.png" for at in range(n)]
    columns = pa.table(
        {"image_id": ids, "sex": ["F", None] * (n // 2) + ["M"] * (n % 2)}
    )
    table = OutgoingTable(columns, _Blocks(vectors), dim, dtype)  # type: ignore[arg-type]
    folder = tmp_path_factory.mktemp("trip")
    written = write_export([(None, table)], to, folder / f"out{FORMATS[to]}", None)
    files = [path for path in written if ".croissant" not in path.name]
    reopened = open_vectors(files, ColumnNames("image_id"))
    assert [text for one in reopened for text in one.ids().to_pylist()] == ids
    assert {(one.dim, one.dtype) for one in reopened} == {(dim, dtype)}
    blocks = [block.vectors for one in reopened for block in one.blocks()]
    assert np.concatenate(blocks).tobytes() == vectors.tobytes()


@pytest.mark.parametrize("to", FILES)
def test_a_store_takes_back_what_it_gave(
    store: retune.Store, tmp_path: Path, to: str
) -> None:
    done = store.export(to, tmp_path / f"out{FORMATS[to]}", backbone="theirs")
    come_back(store, list(done.files), f"again-{to}")
    before, after = bits(store, "theirs"), bits(store, f"again-{to}")
    assert before.dtype == after.dtype
    assert np.array_equal(before, after)


@pytest.mark.parametrize("to", FILES)
def test_rows_columns_and_labels_are_those_asked_for(
    store: retune.Store, tmp_path: Path, to: str
) -> None:
    done = store.export(
        to,
        tmp_path / f"a{FORMATS[to]}",
        where="path < 'p10'",
        columns=["split", "patient_id"],
        labels="none",
        backbone="theirs",
    )
    assert done.rows == 20
    told = json.loads((tmp_path / "a.croissant.json").read_text())
    fields = [one["name"] for one in told["recordSet"][0]["field"]]
    assert fields == ["image_id", "split", "patient_id", "embedding"]
    files = {one["@id"]: one for one in told["distribution"]}
    assert f"a{FORMATS[to]}" in files
    assert all(len(one.get("sha256", "0" * 64)) == 64 for one in files.values())


def test_parquet_has_fixed_lists_labels_and_whose_they_are(
    store: retune.Store, tmp_path: Path
) -> None:
    store.export("parquet", tmp_path / "a.parquet", dtype="float16", backbone="theirs")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float16(), D)
    assert table.schema.field("Edema").type == pa.int8()
    assert table["path"].to_pylist() == IDS
    assert table.schema.metadata[b"backbone"] == b"theirs"
    frame = store.frame(labels=True)
    assert table["Edema"].to_pylist() == frame["Edema"].tolist()


def test_long_labels_are_a_table_of_their_own(
    store: retune.Store, tmp_path: Path
) -> None:
    done = store.export(
        "parquet",
        tmp_path / "a.parquet",
        labels="long",
        split="test",
        backbone="theirs",
    )
    assert tmp_path / "a.labels.parquet" in done.files
    labels = pq.read_table(tmp_path / "a.labels.parquet")
    assert labels.column_names == ["image_id", "finding", "state"]
    assert len(labels) == 2 * done.rows
    store.export("npy", tmp_path / "b.npy", labels="long", backbone="theirs")
    lines = (tmp_path / "b.labels.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * N


def test_splits_are_files_or_folders(store: retune.Store, tmp_path: Path) -> None:
    import datasets

    done = store.export(
        "parquet", tmp_path / "a.parquet", by_split=True, backbone="theirs"
    )
    names = [path.name for path in done.files][:3]
    assert names == ["a-train.parquet", "a-validation.parquet", "a-test.parquet"]
    assert sum(len(pq.read_table(tmp_path / name)) for name in names) == N
    store.export("hf-dataset", tmp_path / "hf", by_split=True, backbone="theirs")
    loaded = datasets.load_from_disk(str(tmp_path / "hf"))
    assert sorted(loaded) == ["test", "train", "validation"]
    assert len(loaded["train"][0]["embedding"]) == D
    come_back(store, [tmp_path / "hf"], "of-datasets")


def test_the_package_datasets_reads_what_is_written(
    store: retune.Store, tmp_path: Path
) -> None:
    import datasets

    store.export("hf-dataset", tmp_path / "hf", dtype="float32", backbone="theirs")
    loaded = datasets.load_from_disk(str(tmp_path / "hf"))
    assert loaded.features["embedding"].length == D
    with loaded.formatted_as("numpy"):
        assert np.array_equal(loaded["embedding"][:], vectors_of())


def test_lance_comes_back_or_says_what_is_missing(
    store: retune.Store, tmp_path: Path
) -> None:
    try:
        import lance
    except ImportError:
        with pytest.raises(ConfigurationError, match="needs the package pylance"):
            store.export("lance", tmp_path / "a.lance", backbone="theirs")
        return
    store.export("lance", tmp_path / "a.lance", backbone="theirs")
    table = lance.dataset(str(tmp_path / "a.lance")).to_table()
    flat = table["embedding"].combine_chunks().flatten().to_numpy()
    assert np.array_equal(flat.reshape(N, D), vectors_of())


def test_no_file_is_replaced_and_none_is_left_half_written(
    store: retune.Store, tmp_path: Path
) -> None:
    (tmp_path / "a.parquet").write_text("mine")
    with pytest.raises(ConfigurationError, match="exists already"):
        store.export("parquet", tmp_path / "a.parquet", backbone="theirs")
    assert (tmp_path / "a.parquet").read_text() == "mine"
    with pytest.raises(ConfigurationError, match="there is no folder"):
        store.export("parquet", tmp_path / "no" / "a.parquet", backbone="theirs")


def test_numbers_too_large_for_float16_are_refused(tmp_path: Path) -> None:
    vectors = vectors_of()
    vectors[3, 1] = 1e6
    store = filled(tmp_path, vectors)
    with pytest.raises(ConfigurationError, match="too large for float16"):
        store.export("npz", tmp_path / "a.npz", dtype="float16")
    assert [path.name for path in tmp_path.glob("*.npz")] == []
    assert list(tmp_path.glob(".tmp-*")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "xlsx"}, "unknown `to` xlsx"),
        ({"labels": "tall"}, "unknown `labels` tall"),
        ({"dtype": "int8"}, "unknown `dtype` int8"),
        ({"columns": ("pixels",)}, "`columns` of images has no pixels"),
        ({"where": "path = 'x'"}, "no image of the store"),
        ({"backbone": "nobody"}, "no encoder of the store fits"),
    ],
)
def test_what_cannot_be_written_is_said(
    store: retune.Store, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    asked = {"to": "parquet", "out": tmp_path / "a.parquet", "backbone": "theirs"}
    with pytest.raises(ConfigurationError, match=message):
        export(store.feature_store, ExportRequest(**asked | options))  # type: ignore[arg-type]
