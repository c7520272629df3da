"""ChestX-ray14: exact tokens, images in one or twelve folders, official lists."""

from pathlib import Path

import pytest
from reference_labels import NIH_FINDINGS, NIH_HEADER, nih_row, nih_rows

from retune.pipeline.datasets.contract import TableOptions
from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.datasets.readers.nih import read_nih
from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE

TABLE = "Data_Entry_2017_v2020.csv"


def read(root: Path, file: str | None = None):
    return read_nih(root, TableOptions(file=file))


def states_of(table, row: int) -> dict[str, int]:
    return dict(zip(table.findings, table.states[row].tolist(), strict=True))


def put_images(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.fixture
def root(tmp_path, write_table):
    """Three images of two patients, all on disk."""
    rows = [
        nih_row("a.png", "Effusion|Pleural_Thickening", patient="1", visit="3"),
        nih_row("b.png", "No Finding", patient="1", visit="4", age="059Y", sex="M"),
        nih_row("c.png", "Hernia", patient="2", view="AP"),
    ]
    write_table(TABLE, NIH_HEADER, rows)
    put_images(tmp_path / "images", "a.png", "b.png", "c.png")
    return tmp_path


def test_findings_that_are_not_listed_are_negative(root):
    table = read(root)
    assert table.findings == tuple(NIH_FINDINGS)
    expected = dict.fromkeys(NIH_FINDINGS, NEGATIVE)
    both = {"Pleural Effusion": POSITIVE, "Pleural Thickening": POSITIVE}
    assert states_of(table, 0) == expected | both
    assert states_of(table, 1) == expected
    assert table.warnings == ()


def test_images_carry_patient_study_view_sex_and_age(root):
    images = read(root).images.to_pylist()
    assert images[1] == {
        "path": "images/b.png",
        "patient_id": "1",
        "study_id": "1_4",
        "view": "PA",
        "sex": "M",
        "age": 59.0,
        "official_split": None,
    }


def test_images_are_found_in_the_folders_of_the_download(tmp_path, write_table):
    write_table(TABLE, NIH_HEADER, [nih_row("a.png"), nih_row("b.png")])
    put_images(tmp_path / "images_001" / "images", "a.png")
    put_images(tmp_path / "images_012" / "images", "b.png")
    paths = read(tmp_path).images["path"].to_pylist()
    assert paths == ["images_001/images/a.png", "images_012/images/b.png"]


def test_missing_images_keep_a_path_and_are_counted_with_the_first_ten(
    tmp_path, write_table
):
    names = [f"{i:02}.png" for i in range(12)]
    write_table(TABLE, NIH_HEADER, [nih_row(name) for name in names])
    put_images(tmp_path / "images", "03.png")
    table = read(tmp_path)
    assert table.images["path"].to_pylist() == [f"images/{name}" for name in names]
    (warning,) = table.warnings
    assert warning.startswith("11 of 12 images are not in images/")
    assert "00.png, 01.png, 02.png, 04.png" in warning
    assert "10.png, …" in warning
    assert "11.png" not in warning


def test_tokens_are_exact_and_unknown_ones_are_counted(tmp_path, write_table):
    labels = ["Pseudonodule|Mass", "nodule", "Pleural Thickening", "Pseudonodule"]
    rows = [nih_row(f"{i}.png", label) for i, label in enumerate(labels)]
    write_table(TABLE, NIH_HEADER, rows)
    table = read(tmp_path)
    assert (table.states == POSITIVE).sum() == 1
    assert states_of(table, 0)["Mass"] == POSITIVE
    assert table.warnings[:3] == (
        "column 'Finding Labels': unknown label 'Pleural Thickening' ignored in 1 row",
        "column 'Finding Labels': unknown label 'Pseudonodule' ignored in 2 rows",
        "column 'Finding Labels': unknown label 'nodule' ignored in 1 row",
    )


def test_blank_labels_are_absent_not_negative(tmp_path, write_table):
    rows = [nih_row("a.png", ""), nih_row("b.png", "|"), nih_row("c.png", "Mass|")]
    write_table(TABLE, NIH_HEADER, rows)
    table = read(tmp_path)
    assert set(table.states[:2].ravel().tolist()) == {ABSENT}
    assert states_of(table, 2)["Mass"] == POSITIVE
    assert "blank in 2 rows" in table.warnings[0]


def test_no_finding_beside_a_finding_is_counted_and_the_finding_kept(
    tmp_path, write_table
):
    write_table(TABLE, NIH_HEADER, [nih_row("a.png", "No Finding|Mass")])
    table = read(tmp_path)
    assert states_of(table, 0)["Mass"] == POSITIVE
    assert "'No Finding' beside a finding in 1 row" in table.warnings[0]


def test_official_lists_become_the_official_split(root):
    (root / "train_val_list.txt").write_text("a.png\r\nb.png\r\nelsewhere.png\r\n")
    (root / "test_list.txt").write_text("")
    table = read(root)
    assert table.images["official_split"].to_pylist() == ["train", "train", None]
    assert table.warnings == (
        "train_val_list.txt: 1 image that the table has not",
        "1 image is in neither official list",
    )


def test_an_image_in_both_official_lists_is_an_error(root):
    (root / "train_val_list.txt").write_text("a.png\nc.png\n")
    (root / "test_list.txt").write_text("c.png\n")
    with pytest.raises(DatasetError, match=r"1 image is in both .*first 'c\.png'"):
        read(root)


def test_an_official_list_that_is_no_text_is_an_error(root):
    (root / "test_list.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"cannot read .*test_list\.txt"):
        read(root)


@pytest.mark.parametrize("column", NIH_HEADER.split(",")[:4])
def test_a_missing_column_is_named(tmp_path, write_table, column):
    header = NIH_HEADER.replace(column, "Renamed")
    write_table(TABLE, header, [nih_row("a.png")])
    with pytest.raises(
        DatasetError, match=f"line 1: no column '{column}'; the columns"
    ):
        read(tmp_path)


def test_the_first_table_with_its_trailing_comma_is_read_too(tmp_path, write_table):
    rows = [nih_row("a.png", "Mass", age="058Y") + ","]
    write_table("Data_Entry_2017.csv", NIH_HEADER + ",", rows)
    put_images(tmp_path / "images", "a.png")
    table = read(tmp_path)
    assert table.images["age"].to_pylist() == [58.0]
    assert table.warnings == ()


def test_the_corrected_table_is_preferred_and_an_option_overrides(root, write_table):
    write_table("Data_Entry_2017.csv", NIH_HEADER, [nih_row("a.png")])
    assert read(root).images.num_rows == 3
    assert read(root, "Data_Entry_2017.csv").images.num_rows == 1


def test_several_other_tables_are_an_error(tmp_path, write_table):
    for name in ("Data_Entry_2017.csv", "Data_Entry_2017_copy.csv"):
        write_table(name, NIH_HEADER, [nih_row("a.png")])
    with pytest.raises(DatasetError, match=r"several label tables: .*_copy"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([nih_row("a.png"), nih_row("b.png", patient="")], "line 3.*patient id"),
        ([nih_row("a.png"), nih_row("../b.png")], "line 3: .*leaves the root"),
        ([nih_row("a.png"), nih_row("/b.png")], "line 3: .*is absolute"),
        ([nih_row("a.png"), nih_row("x\\b.png")], "line 3: .*backslash"),
        ([nih_row("a.png"), nih_row("")], "line 3: .*is blank"),
        ([nih_row("a.png")] * 2, r"'a\.png': .*line 2 and .*line 3"),
        ([nih_row("a.png") + ",1"], "line 2: 12 fields, not 11"),
    ],
)
def test_rows_that_cannot_be_used_are_errors_with_their_line(
    tmp_path, write_table, rows, message
):
    write_table(TABLE, NIH_HEADER, rows)
    with pytest.raises(DatasetError, match=message):
        read(tmp_path)


def test_a_folder_without_the_table_says_what_was_looked_for(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no Data_Entry_2017\*\.csv"):
        read(tmp_path)


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "n_images", "n_patients"),
    [("nih-320", 697, 490), ("nih-64", 721, 191), ("nih-1024", 24, 14)],
)
def test_real_tables_agree_with_the_oracle_and_every_image_is_there(
    real_data, folder, n_images, n_patients
):
    root = real_data / folder
    table = read(root)
    expected = nih_rows(root / TABLE)
    assert table.images.num_rows == len(expected) == n_images
    assert len(set(table.images["patient_id"].to_pylist())) == n_patients
    assert table.warnings == ()
    assert all((root / path).is_file() for path in table.images["path"].to_pylist())
    for row, (image, oracle) in enumerate(
        zip(table.images.to_pylist(), expected, strict=True)
    ):
        states = oracle.pop("states")
        assert image == oracle | {"official_split": None}
        assert states_of(table, row) == states


#: Headers as they are served: NIH's first table, that of 2020, Kaggle's sample.
_SERVED = {
    "2017": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,"
    "Patient Gender,View Position,OriginalImage[Width,Height],"
    "OriginalImagePixelSpacing[x,y],",
    "2020": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,"
    "Patient Sex,View Position,OriginalImage[Width,Height],"
    "OriginalImagePixelSpacing[x,y]",
    "sample": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,"
    "Patient Gender,View Position,OriginalImageWidth,OriginalImageHeight,"
    "OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y",
}
_ROW = "a.png,Hernia,0,2,080Y,F,AP,2500,2048,0.171,0.171"


@pytest.mark.parametrize(
    ("served", "name", "folder"),
    [
        ("2020", "Data_Entry_2017_v2020.csv", "images"),
        ("2020", "Data_Entry_2017_v2020.csv", "images_004/images"),
        ("2017", "Data_Entry_2017.csv", "images_012"),
        ("2017", "Data_Entry_2017.csv", "images-224/images-224"),
        ("2017", "Data_Entry_2017.csv", "images-224"),
        ("sample", "sample_labels.csv", "images"),
        ("sample", "sample_labels.csv", "sample/images"),
        ("sample", "sample/sample_labels.csv", "sample/images"),
        ("sample", "sample_labels.csv", "sample/sample/images"),
    ],
)
def test_every_release_and_mirror_is_read(tmp_path, write_table, served, name, folder):
    comma = "," * _SERVED[served].endswith(",")
    write_table(name, _SERVED[served], [_ROW + comma])
    put_images(tmp_path / folder, "a.png")
    plan = read_dataset(tmp_path)
    assert plan.layout == "nih"
    assert plan.warnings == ()
    (row,) = plan.images.to_pylist()
    assert row["path"] == f"{folder}/a.png"
    assert (row["sex"], row["age"], row["view"]) == ("F", 80.0, "AP")


def test_sex_age_and_view_may_be_missing_and_that_is_told(root, write_table):
    header = "Image Index,Finding Labels,Follow-up #,Patient ID"
    write_table(TABLE, header, ["a.png,Mass,0,1"])
    table = read(root)
    assert {table.images[name][0].as_py() for name in ("sex", "age", "view")} == {None}
    assert table.warnings == (
        "no column 'View Position': it is unknown",
        "no column 'Patient Sex': it is unknown",
        "no column 'Patient Age': it is unknown",
    )


def test_kaggles_mirror_has_the_official_lists_under_other_names(root):
    (root / "train_val_list_NIH.txt").write_text("a.png\nb.png\n")
    (root / "test_list_NIH.txt").write_text("c.png\n")
    splits = read(root).images["official_split"].to_pylist()
    assert splits == ["train", "train", "test"]


def test_images_that_are_nowhere_are_told_with_where_was_looked(root):
    (root / "images" / "b.png").unlink()
    (warning,) = read(root).warnings
    assert warning == (
        "1 of 3 images are not in images/ or images_*/images/, nor in images: b.png"
    )
