"""CheXpert and its family: four states, official files, paths as they lie on disk."""

from pathlib import Path

import pytest
from reference_labels import (
    CHEXPERT_FINDINGS,
    CHEXPERT_HEADER,
    CHEXPERT_LABELS,
    chexpert_row,
)

from retune.pipeline.datasets.contract import TableOptions
from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.datasets.layouts import recognise
from retune.pipeline.datasets.readers.chexpert import read_chexpert
from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN

SMALL = "CheXpert-v1.0-small"
IMAGE = "train/patient00001/study2/view1_frontal.jpg"


def read(root: Path, file: str | None = None):
    return read_chexpert(root, TableOptions(file=file))


def state_of(table, row: int, finding: str) -> int:
    return int(table.states[row, table.findings.index(finding)])


def paths_of(table) -> list[str]:
    return table.images["path"].to_pylist()


def test_the_four_states_are_kept(tmp_path, write_table):
    row = chexpert_row(
        IMAGE, Edema="1.0", Fracture="0.0", Pneumonia="-1.0", No_Finding="0.0"
    )
    write_table("train.csv", CHEXPERT_HEADER, [row])
    table = read(tmp_path)
    assert table.findings == tuple(CHEXPERT_FINDINGS)
    assert state_of(table, 0, "Edema") == POSITIVE
    assert state_of(table, 0, "Fracture") == NEGATIVE
    assert state_of(table, 0, "Pneumonia") == UNCERTAIN
    assert state_of(table, 0, "Cardiomegaly") == ABSENT
    assert table.warnings == ()


def test_images_carry_patient_study_view_sex_and_age(tmp_path, write_table):
    row = chexpert_row(f"{SMALL}/{IMAGE}", sex="Female", age="87")
    write_table("train.csv", CHEXPERT_HEADER, [row])
    assert read(tmp_path).images.to_pylist() == [
        {
            "path": IMAGE,
            "patient_id": "patient00001",
            "study_id": "patient00001/study2",
            "view": "AP",
            "sex": "F",
            "age": 87.0,
            "official_split": "train",
        }
    ]


@pytest.mark.parametrize(
    ("side", "view", "expected"),
    [
        ("Frontal", "PA", "PA"),
        ("Frontal", "LL", "LL"),
        ("Frontal", "", "FRONTAL"),
        ("Lateral", "", "LATERAL"),
        ("", "", None),
    ],
)
def test_view_is_the_projection_or_else_the_side(
    tmp_path, write_table, side, view, expected
):
    row = chexpert_row(IMAGE, side=side, view=view)
    write_table("train.csv", CHEXPERT_HEADER, [row])
    assert read(tmp_path).images["view"].to_pylist() == [expected]


def test_the_three_files_are_the_three_official_splits(tmp_path, write_table):
    for name, folder in (("train", "train"), ("valid", "valid"), ("test", "test")):
        row = chexpert_row(f"{folder}/patient{name}/study1/view1_frontal.jpg")
        write_table(f"{name}.csv", CHEXPERT_HEADER, [row])
    splits = read(tmp_path).images["official_split"].to_pylist()
    assert splits == ["train", "validation", "test"]


def test_tables_may_lie_inside_the_release(tmp_path, write_table):
    write_table(
        f"{SMALL}/train.csv", CHEXPERT_HEADER, [chexpert_row(f"{SMALL}/{IMAGE}")]
    )
    assert paths_of(read(tmp_path)) == [f"{SMALL}/{IMAGE}"]
    assert paths_of(read(tmp_path / SMALL)) == [IMAGE]


@pytest.mark.parametrize("written", ["CheXpert-v1.0/", f"{SMALL}/", ""])
@pytest.mark.parametrize("on_disk", ["CheXpert-v1.0", SMALL, ""])
def test_paths_point_to_where_the_images_lie(tmp_path, write_table, written, on_disk):
    write_table("train.csv", CHEXPERT_HEADER, [chexpert_row(written + IMAGE)])
    (tmp_path / on_disk / IMAGE).parent.mkdir(parents=True)
    (tmp_path / on_disk / IMAGE).touch()
    (path,) = paths_of(read(tmp_path))
    assert (tmp_path / path).is_file()


def test_with_both_releases_on_disk_the_table_decides(tmp_path, write_table):
    for release in ("CheXpert-v1.0", SMALL):
        (tmp_path / release).mkdir()
    write_table("train.csv", CHEXPERT_HEADER, [chexpert_row(f"{SMALL}/{IMAGE}")])
    assert paths_of(read(tmp_path)) == [f"{SMALL}/{IMAGE}"]


@pytest.mark.parametrize("folder", ["val", "valid"])
def test_chexlocalize_has_no_sex_age_or_view_and_either_folder(
    tmp_path, write_table, folder
):
    labels = ",".join(["0"] * 14)
    rows = [
        f"CheXpert-v1.0/valid/patient64541/study1/view1_frontal.jpg,{labels}",
        f"CheXpert-v1.0/valid/patient64541/study1/view2_lateral.jpg,{labels}",
    ]
    write_table("val_labels.csv", f"Path,{CHEXPERT_LABELS}", rows)
    (tmp_path / folder).mkdir()
    table = read(tmp_path)
    first = table.images.to_pylist()[0]
    assert first["path"] == f"{folder}/patient64541/study1/view1_frontal.jpg"
    assert (first["sex"], first["age"]) == (None, None)
    assert first["official_split"] == "validation"
    assert table.images["view"].to_pylist() == ["FRONTAL", "LATERAL"]


def test_the_same_validation_set_in_two_files_is_read_once(tmp_path, write_table):
    row = chexpert_row("valid/patient64541/study1/view1_frontal.jpg")
    write_table("valid.csv", CHEXPERT_HEADER, [row])
    write_table("val_labels.csv", CHEXPERT_HEADER, [row])
    assert read(tmp_path).images.num_rows == 1


def test_visualchexbert_is_read_by_name(tmp_path, write_table):
    labels = ",".join(["1"] + ["0"] * 13)
    row = f"{SMALL}/{IMAGE},Male,60,Frontal,PA,{labels}"
    write_table("train_visualCheXbert.csv", CHEXPERT_HEADER, [row])
    write_table("train.csv", CHEXPERT_HEADER, [chexpert_row(IMAGE, Edema="1")])
    table = read(tmp_path, "train_visualCheXbert.csv")
    assert set(table.states.ravel().tolist()) == {NEGATIVE}
    assert table.images["official_split"].to_pylist() == ["train"]


def test_visualchexbert_for_training_beside_the_experts_for_evaluation(
    tmp_path, write_table
):
    """Both files are named; train.csv, which lists the same images, is not read."""
    write_table("train.csv", CHEXPERT_HEADER, [chexpert_row(IMAGE, Edema="0.0")])
    write_table(
        "train_visualCheXbert.csv", CHEXPERT_HEADER, [chexpert_row(IMAGE, Edema="1.0")]
    )
    other = "valid/patient64541/study1/view1_frontal.jpg"
    write_table("valid.csv", CHEXPERT_HEADER, [chexpert_row(other, Edema="0.0")])
    table = read(tmp_path, file="train_visualCheXbert.csv, valid.csv")
    assert table.images["official_split"].to_pylist() == ["train", "validation"]
    assert [state_of(table, row, "Edema") for row in (0, 1)] == [POSITIVE, NEGATIVE]


def test_chexlocalize_may_be_given_by_the_folder_around_it(tmp_path, write_table):
    (tmp_path / "CheXpert" / "val").mkdir(parents=True)
    image = "valid/patient64541/study1/view1_frontal.jpg"
    row = chexpert_row(f"CheXpert-v1.0/{image}")
    write_table("CheXpert/val_labels.csv", CHEXPERT_HEADER, [row])
    assert recognise(tmp_path) == "chexpert"
    assert paths_of(read(tmp_path)) == [f"CheXpert/{image.replace('valid', 'val')}"]


def test_a_file_whose_name_says_nothing_has_no_official_split(tmp_path, write_table):
    write_table("labels.csv", CHEXPERT_HEADER, [chexpert_row(IMAGE)])
    splits = read(tmp_path, "labels.csv").images["official_split"].to_pylist()
    assert splits == [None]


def test_odd_values_and_other_columns_are_warned_of_with_their_file(
    tmp_path, write_table
):
    rows = [chexpert_row(IMAGE, sex="Unknown", age="148") + ",x"]
    write_table("train.csv", CHEXPERT_HEADER + ",Comment", rows)
    table = read(tmp_path)
    assert table.images.to_pylist()[0]["sex"] is None
    assert table.warnings == (
        "train.csv: column 'Sex': 1 value kept as unknown: 'Unknown' (1)",
        "train.csv: column 'Age': 1 value kept as unknown: '148' (1)",
        "train.csv: 1 column not read: Comment",
    )


@pytest.mark.parametrize("column", ["Path", "Edema", "Support Devices"])
def test_a_missing_column_is_named(tmp_path, write_table, column):
    header = CHEXPERT_HEADER.replace(column, "Renamed")
    write_table("train.csv", header, [chexpert_row(IMAGE)])
    with pytest.raises(DatasetError, match=f"train.csv, line 1: no column '{column}'"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (chexpert_row(IMAGE, Edema="2.0"), "line 3, column 'Edema': '2.0' is not a"),
        (chexpert_row(IMAGE, No_Finding="x"), "line 3, column 'No Finding': 'x'"),
        (chexpert_row("train/a.jpg"), "line 3: no patient and study in the path"),
        (chexpert_row("../" + IMAGE), "line 3: .*leaves the root"),
        (chexpert_row(f"{SMALL}/../" + IMAGE), "line 3: .*leaves the root"),
        (chexpert_row("/" + IMAGE), "line 3: .*is absolute"),
        (chexpert_row(f"{SMALL}//etc/" + IMAGE).replace("//", "\\"), "backslash"),
        (chexpert_row(""), "line 3: .*is blank"),
        (chexpert_row("train/patient00009/study1/a.jpg"), "line 2 and .*line 3"),
        ("too,short", "line 3: 2 fields, not 19"),
    ],
)
def test_rows_that_cannot_be_used_are_errors_with_their_line(
    tmp_path, write_table, row, message
):
    first = chexpert_row("train/patient00009/study1/a.jpg")
    write_table("train.csv", CHEXPERT_HEADER, [first, row])
    with pytest.raises(DatasetError, match=message):
        read(tmp_path)


def test_an_image_in_two_files_is_named_with_both(tmp_path, write_table):
    for name in ("train.csv", "valid.csv"):
        write_table(name, CHEXPERT_HEADER, [chexpert_row(IMAGE)])
    with pytest.raises(
        DatasetError, match=r"train\.csv, line 2 and .*valid\.csv, line 2"
    ):
        read(tmp_path)


def test_a_folder_without_tables_says_what_was_looked_for(tmp_path):
    with pytest.raises(
        DatasetError, match=r"none of train\.csv, valid\.csv, val_labels"
    ):
        read(tmp_path)


BATCH_1 = "CheXpert-v1.0 batch 1 (validate & csv)"
BATCH_2, BATCH_3 = "CheXpert-v1.0 batch 2 (train 1)", "CheXpert-v1.0 batch 3 (train 2)"


@pytest.mark.parametrize("file", [None, f"{BATCH_1}/train.csv,{BATCH_1}/valid.csv"])
def test_the_full_size_in_batches_is_found_image_by_image(tmp_path, write_table, file):
    valid = "valid/patient64541/study1/view1_frontal.jpg"
    others = [IMAGE.replace("00001", number) for number in ("30000", "50000")]
    rows = [chexpert_row(f"CheXpert-v1.0/{path}") for path in (IMAGE, *others)]
    write_table(f"{BATCH_1}/train.csv", CHEXPERT_HEADER, rows)
    rows = [chexpert_row(f"CheXpert-v1.0/{valid}")]
    write_table(f"{BATCH_1}/valid.csv", CHEXPERT_HEADER, rows)
    bare = IMAGE.removeprefix("train/")
    where = [f"{BATCH_2}/{bare}", f"{BATCH_3}/{others[0]}", f"{BATCH_1}/{valid}"]
    for path in where:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    assert recognise(tmp_path) == "chexpert"
    table = read(tmp_path, file)
    assert paths_of(table)[:2] == where[:2]
    assert paths_of(table)[3] == where[2]
    assert table.images["official_split"].to_pylist() == [*["train"] * 3, "validation"]
    plan = read_dataset(tmp_path, "chexpert", options=TableOptions(file=file))
    assert len(plan.warnings) == 1
    assert "1 of 4 image files is not there" in plan.warnings[0]
