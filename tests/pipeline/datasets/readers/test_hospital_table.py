"""A hospital's own table: columns by the catalog's names or by option."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retune.pipeline.datasets.contract import TableOptions
from retune.pipeline.datasets.readers.hospital_table import read_hospital_table
from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN

HEADER = "path,patient_id,study_id,view,sex,age,split,Pleural_effusion,cervical rib"


def read(root: Path, **options):
    return read_hospital_table(root, TableOptions(**options))


def test_columns_with_the_catalogs_names_need_no_option(tmp_path, write_table):
    rows = ["a.png,p1,s1,pa,F,40,train,1,-1", "b/c.png,p2,,,,,VAL,0,"]
    write_table("xrays.csv", HEADER, rows)
    table = read(tmp_path)
    assert table.images.to_pylist() == [
        {
            "path": "a.png",
            "patient_id": "p1",
            "study_id": "s1",
            "view": "PA",
            "sex": "F",
            "age": 40.0,
            "official_split": "train",
        },
        {
            "path": "b/c.png",
            "patient_id": "p2",
            "study_id": None,
            "view": None,
            "sex": None,
            "age": None,
            "official_split": "validation",
        },
    ]
    assert table.findings == ("Pleural Effusion", "cervical rib")
    assert table.states.tolist() == [[POSITIVE, UNCERTAIN], [NEGATIVE, ABSENT]]
    assert table.warnings == ()


def test_columns_with_other_names_are_named_by_options(tmp_path, write_table):
    header = "file,who,exam,projection,gender,years,set,Edema"
    write_table("t.csv", header, ["a.png,7,e1,ap,male,61,dev,1"])
    table = read(
        tmp_path,
        path_column="file",
        patient_column="who",
        study_column="exam",
        view_column="projection",
        sex_column="gender",
        age_column="years",
        split_column="set",
    )
    assert list(table.images.to_pylist()[0].values()) == [
        "a.png", "7", "e1", "AP", "M", 61.0, "validation"
    ]  # fmt: skip


def test_the_case_of_a_default_name_does_not_matter(tmp_path, write_table):
    write_table("t.csv", "Path,Patient_ID,Edema", ["a.png,1,1"])
    assert read(tmp_path).images["patient_id"].to_pylist() == ["1"]


def test_an_exact_name_wins_over_one_in_another_case(tmp_path, write_table):
    write_table("t.csv", "path,PATH,patient_id,Edema", ["a.png,b.png,1,1"])
    assert read(tmp_path).images["path"].to_pylist() == ["a.png"]


def test_parquet_reads_as_the_same_table(tmp_path, write_table):
    rows = ["a.png,p1,s1,PA,F,40,train,1,-1", "b.png,p2,,,,,test,0,"]
    (tmp_path / "csv").mkdir()
    (tmp_path / "parquet").mkdir()
    write_table("csv/t.csv", HEADER, rows)
    columns = {
        "path": ["a.png", "b.png"],
        "patient_id": ["p1", "p2"],
        "study_id": ["s1", None],
        "view": ["PA", None],
        "sex": ["F", None],
        "age": pa.array([40, None], pa.int32()),
        "split": ["train", "test"],
        "Pleural_effusion": pa.array([True, False]),
        "cervical rib": pa.array([-1.0, float("nan")]),
    }
    pq.write_table(pa.table(columns), tmp_path / "parquet" / "t.parquet")
    one, two = read(tmp_path / "csv"), read(tmp_path / "parquet")
    assert one.images == two.images
    assert one.findings == two.findings
    assert one.states.tolist() == two.states.tolist()


def test_columns_that_are_not_labels_are_left_out_and_named(tmp_path, write_table):
    header = "path,patient_id,Edema,comment,score,empty,No Finding"
    rows = ["a.png,1,1,fine,0.5,,0", "b.png,2,0,1,1,,1"]
    write_table("t.csv", header, rows)
    table = read(tmp_path)
    assert table.findings == ("Edema",)
    assert table.warnings == (
        "column 'No Finding' not read: it follows from the findings",
        "3 columns not read, not all labels: 'comment', 'score', 'empty'",
    )


def test_names_are_canonical_only_where_the_whole_name_matches(tmp_path, write_table):
    header = "path,patient_id,lung_OPACITY,Effusion,Pseudonodule"
    write_table("t.csv", header, ["a.png,1,1,0,0"])
    assert read(tmp_path).findings == (
        "Lung Opacity",
        "Pleural Effusion",  # which NIH calls so
        "Pseudonodule",
    )


def test_two_columns_of_one_finding_are_an_error(tmp_path, write_table):
    write_table("t.csv", "path,patient_id,lung opacity,Lung_Opacity", ["a.png,1,1,0"])
    with pytest.raises(
        DatasetError, match="'lung opacity', 'Lung_Opacity' are the same"
    ):
        read(tmp_path)


def test_chosen_findings_are_read_strictly(tmp_path, write_table):
    write_table("t.csv", "path,patient_id,Edema,Mass", ["a.png,1,1,1", "b.png,2,0,x"])
    assert read(tmp_path, finding_columns=("Edema",)).findings == ("Edema",)
    with pytest.raises(DatasetError, match="line 3, column 'Mass': 'x' is not a label"):
        read(tmp_path, finding_columns=("Edema", "Mass"))
    with pytest.raises(DatasetError, match="no column 'Hernia'"):
        read(tmp_path, finding_columns=("Hernia",))


def test_without_patients_nothing_is_read_unless_each_image_is_one(
    tmp_path, write_table
):
    write_table("t.csv", "path,Edema", ["a.png,1", "b.png,0"])
    with pytest.raises(DatasetError, match="no column 'patient_id'") as caught:
        read(tmp_path)
    assert "`patient_is_image`" in caught.value.hint
    table = read(tmp_path, patient_is_image=True)
    assert table.images["patient_id"].to_pylist() == ["a.png", "b.png"]


def test_patients_that_are_there_are_not_thrown_away(tmp_path, write_table):
    write_table("t.csv", "path,patient_id,Edema", ["a.png,1,1"])
    with pytest.raises(DatasetError, match="has patients in column 'patient_id'"):
        read(tmp_path, patient_is_image=True)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("number,patient_id,Edema", ["17,1,1"], "no column 'path'; the columns are"),
        ("path,patient_id,Edema", ["a.png,,1"], "line 2, column 'patient_id'"),
        ("path,patient_id,Edema", ["/a.png,1,1"], "line 2: .*is absolute"),
        ("path,patient_id,Edema", ["C:\\a.png,1,1"], "line 2: .*is absolute"),
        ("path,patient_id,Edema", ["..\\a.png,1,1"], "line 2: .*leaves the root"),
        ("path,patient_id,Edema", ["../a.png,1,1"], "line 2: .*leaves the root"),
        ("path,patient_id,Edema", ["a,1,1", "b,1,1", "a,1,0"], "line 2 and .*line 4"),
        ("path,patient_id,split,Edema", ["a,1,,1", "b,1,x,1"], "line 3, .*split: 'x'"),
        (
            "path,patient_id,note",
            ["a.png,1,fine"],
            "no column of labels; looked at: 'note'",
        ),
        ("path,patient_id", ["a.png,1"], "no column of labels; looked at: none"),
        ("path,patient_id,Edema", ["a.png,1"], "line 2: 2 fields, not 3"),
        ("path,patient_id,Edema", [], "no rows"),
    ],
)
def test_what_cannot_be_used_is_an_error_with_its_place(
    tmp_path, write_table, header, rows, message
):
    write_table("t.csv", header, rows)
    with pytest.raises(DatasetError, match=message):
        read(tmp_path)


def test_an_option_that_names_no_column_is_an_error(tmp_path, write_table):
    write_table("t.csv", "path,patient_id,Edema", ["a.png,1,1"])
    with pytest.raises(DatasetError, match="no column 'Age'; the columns are 'path'"):
        read(tmp_path, age_column="Age")


def test_several_tables_need_an_option(tmp_path, write_table):
    for name in ("a.csv", "b.csv"):
        write_table(name, "path,patient_id,Edema", [f"{name}.png,1,1"])
    with pytest.raises(DatasetError, match=r"holds: a\.csv, b\.csv"):
        read(tmp_path)
    assert read(tmp_path, file="b.csv").images["path"].to_pylist() == ["b.csv.png"]


def test_no_table_and_a_wrong_name_are_errors(tmp_path):
    with pytest.raises(DatasetError, match="holds: none"):
        read(tmp_path)
    with pytest.raises(DatasetError, match=r"cannot read .*absent\.csv"):
        read(tmp_path, file="absent.csv")


def test_a_finding_that_another_data_set_has_gets_its_canonical_name(
    tmp_path, write_table
):
    write_table("t.csv", "path,patient_id,rib_fracture,COPD", ["a.png,1,1,0"])
    assert read(tmp_path).findings == ("Rib Fracture", "COPD")
