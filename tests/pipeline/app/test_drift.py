"""`drift` on a store: groups by any column, figures in the catalog, an exit code."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from command_line import result_in, run_in
from erasure_samples import FINDINGS, image_rows, learnable_store

from retune.pipeline.app.measuring.drift import DriftRequest, drift
from retune.pipeline.app.train import TrainRequest, train
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError, QueryError

_BY = DriftRequest("sex", "sex = 'M'")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Women's images, of patients with odd numbers, all lie elsewhere."""
    root = tmp_path_factory.mktemp("kept") / "feature-store"
    store = learnable_store(root, shifted=3.0)
    train(store, TrainRequest("joint", method="analytic", bounds=False))
    return root


@pytest.fixture
def store(tmp_path: Path, kept: Path) -> FeatureStore:
    shutil.copytree(kept, tmp_path / "feature-store")
    return FeatureStore(tmp_path / "feature-store")


def test_what_changed_is_found_and_entered(store: FeatureStore, tmp_path: Path) -> None:
    plot = tmp_path / "drift.svg"
    summary = drift(store, replace(_BY, run="latest", fail_above=0.7, plot=plot))
    assert summary.failed == ("F",)
    assert {row.family for row in summary.rows} == {
        "embedding", "labels", "scores", "auroc", "missing",
    }  # fmt: skip
    entered = store.sql(
        """SELECT group_name, grouped_by, reference, run_id IS NOT NULL, value
        FROM drift WHERE metric = 'c2st_auroc' AND drift_id = ?""",
        [summary.drift_id],
    ).fetchall()
    (told,) = [row for row in summary.rows if row.metric == "c2st_auroc"]
    assert entered == [("F", "sex", "sex = 'M'", True, told.value)]
    names = store.sql("SELECT DISTINCT metric FROM drift ORDER BY 1").fetchall()
    assert [name for (name,) in names] == [
        "auroc", "c2st_auroc", "missing", "mmd", "prevalence", "score_mean",
    ]  # fmt: skip
    assert "F</text>" in plot.read_text() or plot.stat().st_size > 1000


def test_the_same_call_gives_the_same_figures(store: FeatureStore) -> None:
    one, other = drift(store, _BY), drift(store, _BY)
    assert repr(one.rows) == repr(other.rows)


def test_halves_of_the_same_patients_are_no_change(store: FeatureStore) -> None:
    summary = drift(store, DriftRequest("split", where="sex = 'M'"))
    assert summary.alarms == ()
    assert summary.n_reference == 0


def test_values_that_went_missing_are_a_change(store: FeatureStore) -> None:
    store.sql("UPDATE images SET age = NULL WHERE sex = 'F' AND age > 8", write=True)
    summary = drift(store, _BY)
    assert ("missing", "age") in {(row.family, row.name) for row in summary.alarms}


def test_months_come_from_the_time_of_acquisition(store: FeatureStore) -> None:
    with pytest.raises(ConfigurationError, match="makes 0 groups"):
        drift(store, DriftRequest("month"))
    store.sql(
        """UPDATE images SET acquired_at = TIMESTAMP '2025-01-15'
        + INTERVAL (CASE sex WHEN 'F' THEN 31 ELSE 0 END) DAY""",
        write=True,
    )
    summary = drift(store, DriftRequest("month", "acquired_at < '2025-02-01'"))
    assert {row.group for row in summary.rows} == {"2025-02"}
    assert summary.alarms


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (replace(_BY, by="nothing"), ConfigurationError),
        (replace(_BY, by="patient_id; DROP TABLE images"), ConfigurationError),
        (replace(_BY, reference="sex = 'X'"), ConfigurationError),
        (replace(_BY, reference="no condition"), QueryError),
        (replace(_BY, run="nothing"), ConfigurationError),
        (replace(_BY, alpha=0.0), ConfigurationError),
        (replace(_BY, plot=Path("nowhere/x.png")), ConfigurationError),
        (replace(_BY, reference=None, where="sex = 'none'"), ConfigurationError),
    ],
)
def test_wrong_requests_are_told(
    store: FeatureStore, request_: DriftRequest, error: type[Exception]
) -> None:
    with pytest.raises(error):
        drift(store, request_)


@pytest.mark.e2e
def test_cron_sees_an_exit_code(store: FeatureStore) -> None:
    folder = store.path.parent
    quiet = run_in(folder, "drift", "--by", "sex", "--reference", "sex = 'M'")
    assert quiet.returncode == 0
    assert "changed (corrected p < 0.05): F" in quiet.stdout
    arguments = ("drift", "--by", "sex", "--reference", "sex = 'M'", "--fail-above")
    assert run_in(folder, *arguments, 0.6).returncode == 8
    assert run_in(folder, *arguments, 1.0).returncode == 0
    summary = result_in(folder, "drift", "--by", "split", "--where", "sex = 'M'")
    assert summary["alarms"] == []
    wrong = run_in(folder, "drift", "--by", "nothing")
    assert (wrong.returncode, "Traceback" in wrong.stderr) == (2, False)


def test_datasets_of_one_population_share_patients(tmp_path: Path) -> None:
    store = learnable_store(tmp_path / "store", 30)
    rows = image_rows(np.repeat(np.arange(30), 2), "again")
    states = np.zeros((len(rows), len(FINDINGS)), dtype=np.int8)
    with store.writer("test") as writer:
        for name in ("ward", "again"):
            writer.replace_dataset(
                rows if name == "again" else image_rows(np.repeat(np.arange(30), 2)),
                FINDINGS, states, dataset=name, layout="table", root=tmp_path,
                split_seed=0, population="one hospital",
            )  # fmt: skip
    digests = dict(
        store.sql(
            "SELECT path, content_digest FROM images WHERE dataset = 'ward'"
        ).fetchall()
    )
    known = pa.table({"path": list(digests), "digest": list(digests.values())})
    with store.catalog.write() as connection:
        connection.register("known", known)
        connection.execute(
            """UPDATE images SET content_digest = known.digest FROM known
            WHERE images.path = known.path"""
        )
    summary = drift(store, DriftRequest("dataset", "dataset = 'ward'"))
    assert summary.rows == ()
    assert "30 patients are on both sides" in summary.notes[0]


def test_a_reference_of_all_images_leaves_nothing_to_compare(
    store: FeatureStore, tmp_path: Path
) -> None:
    plot = tmp_path / "none.svg"
    summary = drift(store, DriftRequest("sex", "age >= 0", plot=plot))
    assert (summary.rows, summary.failed) == ((), ())
    assert "nothing to compare yet" in summary.notes[0]
    assert plot.is_file()
