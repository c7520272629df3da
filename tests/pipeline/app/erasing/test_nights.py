"""Predictions that nightly wrote outside of a store lose the erased, too."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from erasure_samples import learnable_store, patient_name

from retune.pipeline.app.erasing.forget import ForgetRequest, forget, verify_erased
from retune.pipeline.app.erasing.nights import (
    clear_nights,
    night_folders,
    remember_night_folder,
)
from retune.store import FeatureStore
from retune.store.erasure.people import Erased
from retune.store.errors import StoreCorruptError

_GONE, _STAYS = 2, 3


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return learnable_store(tmp_path / "store", 6)


def _nights(store: FeatureStore) -> tuple[Path, list[str]]:
    """A folder of nights with all that names two patients; with their digests."""
    rows = store.sql(
        "SELECT path, content_digest FROM images WHERE patient_id IN (?, ?) "
        "ORDER BY path",
        [patient_name(_GONE), patient_name(_STAYS)],
    ).fetchall()
    folder = store.path.parent / "nights"
    folder.mkdir()
    paths = [f"/data/ward/{path}" for path, _ in rows]
    lines = ["index,path,finding", *(f'0,"{path}",Edema' for path in paths)]
    (folder / "predictions-r-1.csv").write_text("\n".join(lines) + "\n")
    (folder / "predictions-r-2.json").write_text(
        json.dumps([{"path": path} for path in paths])
    )
    pq.write_table(pa.table({"path": paths}), folder / "predictions-r-3.parquet")
    digests = [digest for _, digest in rows]
    (folder / "predicted-r.txt").write_text("".join(f"{one}\n" for one in digests))
    (folder / "last-night.json").write_text(json.dumps({"messages": paths}))
    (folder / "other.txt").write_text("nobody")
    remember_night_folder(store.path, folder)
    return folder, digests


def test_forget_clears_them_and_verify_searches_them(store: FeatureStore) -> None:
    folder, digests = _nights(store)
    remember_night_folder(store.path, folder)  # twice is once
    assert night_folders(store.path) == (folder,)
    summary = forget(store, ForgetRequest([patient_name(_GONE)]))
    for path in folder.iterdir():
        assert patient_name(_GONE).encode() not in path.read_bytes(), path
    left = [patient_name(_STAYS)] * 2
    table = pq.read_table(folder / "predictions-r-3.parquet")["path"].to_pylist()
    rows = json.loads((folder / "predictions-r-2.json").read_text())
    lines = (folder / "predictions-r-1.csv").read_text().splitlines()[1:]
    for text in (table, [row["path"] for row in rows], lines):
        assert [one.split("/")[4] for one in text] == left
    assert (folder / "predicted-r.txt").read_text().split() == digests[2:]
    assert not (folder / "last-night.json").exists()
    assert (folder / "other.txt").read_text() == "nobody"
    assert summary.receipt is not None
    assert not verify_erased(store, summary.receipt)[1]
    (folder / "late.txt").write_text(f"call {patient_name(_GONE)} back")
    _, report = verify_erased(store, summary.receipt)
    assert "nights/late.txt" in report.matches


def test_an_interrupted_clearing_goes_on(store: FeatureStore) -> None:
    folder, _ = _nights(store)
    content = (folder / "predictions-r-1.csv").read_bytes()
    (folder / "predictions-r-1.csv").rename(folder / "predictions-r-1.csv.erased")
    (folder / "predictions-r-2.json.erased").write_bytes(content)
    (folder / "predictions-r-4.parquet").write_bytes(content)  # is no Parquet
    forget(store, ForgetRequest([patient_name(_GONE)]))
    names = {path.name for path in folder.iterdir()}
    assert not any(name.endswith(".erased") for name in names)
    assert "predictions-r-1.csv" in names
    assert "predictions-r-4.parquet" not in names
    for path in folder.iterdir():
        assert patient_name(_GONE).encode() not in path.read_bytes(), path


def test_a_folder_that_is_gone_is_noted(store: FeatureStore, tmp_path: Path) -> None:
    remember_night_folder(store.path, tmp_path / "unmounted")
    (note,) = clear_nights(store.path, Erased(()))
    assert "unmounted is gone" in note
    summary = forget(store, ForgetRequest([patient_name(_GONE)]))
    assert any("unmounted is gone" in one for one in summary.notes)


def test_a_damaged_list_of_folders_stops_an_erasure(store: FeatureStore) -> None:
    (store.path / "nights.json").write_text('{"folders": 7}')
    with pytest.raises(StoreCorruptError, match=r"nights\.json"):
        forget(store, ForgetRequest([patient_name(_GONE)]))
    query = "SELECT count(*) FROM images WHERE patient_id = ?"
    assert store.sql(query, [patient_name(_GONE)]).fetchall() != [(0,)]
