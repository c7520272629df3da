"""From a folder to the rows that are stored."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from reference_labels import CHEXPERT_HEADER, NIH_HEADER, chexpert_row, nih_row

from retune.pipeline.datasets.contract import TableOptions
from retune.pipeline.datasets.ingest import PLAN_SCHEMA, read_dataset
from retune.pipeline.datasets.splits import resplit
from retune.store.errors import ConfigurationError, DatasetError

TABLE = "Data_Entry_2017_v2020.csv"


@pytest.fixture
def root(tmp_path, write_table):
    rows = [nih_row(f"{i}.png", "Mass", patient=f"{i // 2}") for i in range(40)]
    write_table(TABLE, NIH_HEADER, rows)
    return tmp_path


def test_a_plan_has_the_catalogs_columns(root):
    plan = read_dataset(root)
    assert plan.images.schema == PLAN_SCHEMA
    first = plan.images.to_pylist()[0]
    assert first.pop("split") in {"train", "validation", "test"}
    assert first == {
        "image_id": "nih/images/0.png",
        "dataset": "nih",
        "path": "images/0.png",
        "patient_id": "0",
        "study_id": "0_0",
        "view": "PA",
        "sex": "F",
        "age": 58.0,
    }
    assert (plan.dataset, plan.layout, plan.root) == ("nih", "nih", root.resolve())
    assert plan.states.shape == (40, len(plan.findings))
    assert "40 of 40 images are not" in plan.warnings[0]


def test_the_data_sets_name_is_the_first_part_of_every_image_id(root):
    plan = read_dataset(root, "nih", dataset="ward 7")
    assert set(plan.images["dataset"].to_pylist()) == {"ward 7"}
    assert all(
        i.startswith("ward 7/images/") for i in plan.images["image_id"].to_pylist()
    )


def test_the_root_is_stored_absolute(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    relative = root.relative_to(root.parent)
    assert read_dataset(relative).root == root.resolve()


def test_the_seed_changes_the_split_and_nothing_else(root):
    zero, again, one = (read_dataset(root, split_seed=seed) for seed in (0, 0, 1))
    assert zero.images == again.images
    assert zero.images["split"] != one.images["split"]
    assert zero.images.drop_columns("split") == one.images.drop_columns("split")


def test_official_splits_are_kept_unless_they_are_to_be_ignored(tmp_path, write_table):
    for name in ("train", "valid"):
        rows = [
            chexpert_row(f"{name}/patient{name}{i}/study1/view1_frontal.jpg")
            for i in range(30)
        ]
        write_table(f"{name}.csv", CHEXPERT_HEADER, rows)
    official = read_dataset(tmp_path).images
    assert set(official["split"].to_pylist()[30:]) == {"test"}
    assert "test" not in official["split"].to_pylist()[:30]
    hashed = read_dataset(tmp_path, ignore_official_splits=True).images
    patients = hashed["patient_id"].to_numpy()
    assert hashed["split"].to_pylist() == resplit(patients, seed=0).tolist()


def test_an_official_split_that_tears_a_patient_is_refused(tmp_path, write_table):
    for name in ("train", "valid"):
        row = chexpert_row(f"{name}/patient00001/study1/view1_frontal.jpg")
        write_table(f"{name}.csv", CHEXPERT_HEADER, [row])
    with pytest.raises(DatasetError, match=r"patient00001 \(train and validation\)"):
        read_dataset(tmp_path)


def test_options_reach_the_reader(tmp_path, write_table):
    write_table("t.csv", "file,Edema", ["a.png,1", "b.png,0"])
    options = TableOptions(path_column="file", patient_is_image=True)
    plan = read_dataset(tmp_path, "table", options=options)
    assert plan.images["path"].to_pylist() == ["a.png", "b.png"]


def test_a_root_that_is_not_there_is_a_file_or_is_empty_is_an_error(tmp_path):
    file = tmp_path / "f"
    with pytest.raises(DatasetError, match="there is no folder"):
        read_dataset(tmp_path / "absent")
    with pytest.raises(DatasetError, match="is empty"):
        read_dataset(tmp_path)
    file.touch()
    with pytest.raises(DatasetError, match="is a file, not a folder"):
        read_dataset(file)


@pytest.mark.parametrize("name", ["", "  ", "a/b", "a\nb"])
def test_a_name_that_would_garble_image_ids_is_refused(root, name):
    with pytest.raises(ConfigurationError, match="cannot name a data set"):
        read_dataset(root, dataset=name)


def test_an_unknown_layout_is_refused(root):
    with pytest.raises(ConfigurationError, match="unknown layout 'padchst'"):
        read_dataset(root, "padchst")


@pytest.mark.real
def test_real_data_give_a_plan_with_patients_apart(real_data):
    plan = read_dataset(real_data / "nih-320", dataset="nih-320")
    assert plan.images.num_rows == 697
    by_patient = plan.images.group_by("patient_id").aggregate(
        [("split", "count_distinct")]
    )
    assert by_patient.num_rows == 490
    assert pc.max(by_patient["split_count_distinct"]).as_py() == 1
    assert plan.images["age"].type == pa.float32()
