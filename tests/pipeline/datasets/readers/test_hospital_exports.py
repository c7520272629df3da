"""Tables as hospitals export them: what was understood is right, the rest is said."""

from datetime import datetime
from pathlib import Path

import pytest

from retune.pipeline.datasets.contract import TableOptions
from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.datasets.readers.hospital_table import read_hospital_table
from retune.pipeline.datasets.table_map import load_map
from retune.pipeline.datasets.tables.listing import listing_of
from retune.store.errors import ConfigurationError, DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN, UNLABELLED

GERMAN = """\
Patienten-ID;Bildpfad;Geschlecht;Alter;Untersuchungsdatum;Gerät;Station;Pleuraerguss
1;P:\\Bilder\\a.dcm;m;48,0;31.01.2026 14:05;Röntgen 1;3A;ja
1;P:\\Bilder\\b.dcm;w;048Y;01.02.2026;Röntgen 1;3A;nein
2;p:/bilder/c.dcm;divers;6M;02.02.2026;Röntgen 2;;unklar
3;P:\\Bilder\\d.dcm;?!;alt;gestern;;3B;
"""


def read(root: Path, **options):
    return read_hospital_table(root, TableOptions(**options))


def german(root: Path, encoding: str = "cp1252", **options):
    (root / "ris.csv").write_bytes(GERMAN.encode(encoding))
    return read(root, path_prefix=(("P:\\Bilder", ""),), **options)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8", "utf-8-sig", "utf-16"])
def test_a_german_export_needs_no_repair(tmp_path, encoding):
    table = german(tmp_path, encoding, keep=("Station",))
    rows = table.images.to_pylist()
    assert [row["path"] for row in rows] == ["a.dcm", "b.dcm", "c.dcm", "d.dcm"]
    assert [row["sex"] for row in rows] == ["M", "F", None, None]
    assert [row["age"] for row in rows] == [48, 48, 0.5, None]
    assert table.findings == ("Pleural Effusion",)
    assert table.states[:, 0].tolist() == [POSITIVE, NEGATIVE, UNCERTAIN, ABSENT]
    details = table.details.to_pylist()
    assert details[0] == {
        "acquired_at": datetime(2026, 1, 31, 14, 5),
        "device": "Röntgen 1",
        "Station": "3A",
    }
    assert details[3]["acquired_at"] is None
    assert details[2]["Station"] is None


@pytest.mark.parametrize(
    ("above", "n_titles"),
    [
        ("Thoraxaufnahmen 2026\n", 1),
        ("Thoraxaufnahmen 2026;;;;;;;\nErstellt am;28.01.2026;;;;;;\n\n", 2),
        ("sep=;\r\nListe\r\n\r\nErstellt am;28.01.2026\r\nvon:;RIS\r\n", 5),
        ('"Liste\naller Aufnahmen"\n', 2),
    ],
)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-8-sig"])
def test_lines_above_the_header_are_passed_over_and_said(
    tmp_path, above, n_titles, encoding
):
    (tmp_path / "ris.csv").write_bytes((above + GERMAN).encode(encoding))
    table = read(tmp_path, path_prefix=(("P:\\Bilder", ""),))
    plain = german(tmp_path)
    assert table.images.equals(plain.images)
    assert table.states.tolist() == plain.states.tolist()
    said = f"lines above the names of the columns: {n_titles}, not read"
    assert said in table.warnings
    # Complaints name the line of the file, titles counted.
    line = 5 + len(above.splitlines())
    assert any(f"line {line}: '?!'" in one for one in table.warnings)


@pytest.mark.parametrize(
    "text",
    [
        "path,patient_id,Edema\na.png,1,1\nb.png,2,\n",
        "path,patient_id,Edema,x,y\na.png,1,1,,\n",
    ],
)
def test_a_header_is_never_taken_for_a_title(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    table = read(tmp_path)
    assert table.images["path"].to_pylist()[0] == "a.png"
    assert not any("above the names" in line for line in table.warnings)


def test_a_workbook_may_have_titles_too(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["Thoraxaufnahmen 2026"])
    book.active.append([])
    book.active.append(["path", "patient_id", "Edema"])
    book.active.append(["a.png", "007", "ja"])
    book.save(tmp_path / "t.xlsx")
    plan = read_dataset(tmp_path)
    assert plan.images["patient_id"].to_pylist() == ["007"]
    assert plan.states.tolist() == [[POSITIVE]]


def test_what_was_not_understood_is_counted_and_shown_with_its_row(tmp_path):
    said = german(tmp_path).warnings
    assert (
        "column 'Geschlecht': 1 value kept as unknown: '?!' (1); line 5: '?!'" in said
    )
    assert "column 'Alter': 1 value kept as unknown: 'alt' (1); line 5: 'alt'" in said
    assert any("read as Windows-1252" in line for line in said)


def test_how_it_was_understood_is_said(tmp_path):
    understood = german(tmp_path).understood
    assert understood["sex"] == "Geschlecht"
    assert understood["sex means"] == "m M, w F"
    assert understood["findings"] == "Pleuraerguss is Pleural Effusion"
    assert understood["table"] == "ris.csv: semicolons between columns, cp1252"


def test_a_column_that_mostly_parses_is_kept(tmp_path, write_table):
    rows = [f"{n}.png,{n},{'siehe Text' if n == 7 else n % 2}" for n in range(20)]
    write_table("t.csv", "path,patient_id,Edema", rows)
    table = read(tmp_path)
    assert table.states[:, 0].tolist() == [
        UNLABELLED if n == 7 else n % 2 for n in range(20)
    ]
    assert table.warnings == (
        "column 'Edema': 1 value unlabelled: 'siehe Text' (1); line 9: 'siehe Text'",
    )


def test_counts_are_no_labels_however_many_are_0_and_1(tmp_path, write_table):
    rows = [f"{n}.png,{n},1,{2 if n == 7 else n % 2}" for n in range(20)]
    write_table("t.csv", "path,patient_id,Edema,earlier exams", rows)
    table = read(tmp_path)
    assert table.findings == ("Edema",)
    assert "'earlier exams'" in table.warnings[0]


def test_days_and_months_that_may_be_either_are_not_guessed(tmp_path, write_table):
    write_table("t.csv", "path,patient_id,date,Edema", ["a.png,1,03/04/2026,1"])
    table = read(tmp_path)
    assert table.details["acquired_at"].to_pylist() == [None]
    assert "the day or the month may stand first" in table.warnings[0]
    (tmp_path / "m.yaml").write_text("dates: month-first\n")
    table = read(tmp_path, mapping=load_map(tmp_path / "m.yaml"))
    assert table.details["acquired_at"].to_pylist() == [datetime(2026, 3, 4)]


def test_age_follows_from_the_dates(tmp_path, write_table):
    rows = [
        "a.png,1,30.06.1978,29.06.2026,1",
        "b.png,2,30.06.1978,30.06.2026,1",
        "c.png,3,01.01.2026,02.07.2026,0",
        "d.png,4,01.01.2027,02.07.2026,0",
    ]
    write_table("t.csv", "path,patient_id,Geburtsdatum,Datum,Edema", rows)
    table = read(tmp_path)
    ages = table.images["age"].to_pylist()
    assert ages[:2] == [47, 48]
    assert ages[2] == pytest.approx(0.5, abs=0.01)
    assert ages[3] is None
    assert any("give no age" in line for line in table.warnings)
    assert "Geburtsdatum" not in table.details.column_names


def test_an_absolute_path_is_answered_with_the_option(tmp_path):
    (tmp_path / "Bilder").mkdir()
    (tmp_path / "Bilder" / "A.DCM").touch()
    (tmp_path / "t.csv").write_text(
        "path,patient_id,Edema\n\\\\srv\\x\\bilder\\a.dcm,1,1\n"
    )
    with (
        listing_of(tmp_path, follow_links=False),
        pytest.raises(DatasetError, match="is absolute") as caught,
    ):
        read(tmp_path)
    assert "`path_prefix` '//srv/x='" in caught.value.hint


def test_without_files_the_option_is_what_all_absolute_paths_begin_with(
    tmp_path, write_table
):
    rows = ["D:\\b\\p1\\a.png,1,1", "D:\\b\\p2\\c.png,2,0", "own/d.png,3,0"]
    write_table("t.csv", "path,patient_id,Edema", rows)
    with pytest.raises(DatasetError, match="2 such paths") as caught:
        read(tmp_path)
    assert "`path_prefix` 'D:/b='" in caught.value.hint


def test_files_are_found_in_another_case(tmp_path, write_table):
    (tmp_path / "Bilder").mkdir()
    (tmp_path / "Bilder" / "IMG.DCM").touch()
    write_table("t.csv", "path,patient_id,Edema", ["bilder\\img.dcm,1,1"])
    plan = read_dataset(tmp_path, "table")
    assert plan.images["path"].to_pylist() == ["Bilder/IMG.DCM"]


def test_two_rows_never_share_a_file_by_case(tmp_path, write_table):
    (tmp_path / "A.png").touch()
    write_table("t.csv", "path,patient_id,Edema", ["A.png,1,1", "a.png,2,1"])
    plan = read_dataset(tmp_path, "table")
    assert plan.images["path"].to_pylist() == ["A.png", "a.png"]
    assert "1 of 2 image files is not there" in plan.warnings[0]


def test_excel_is_read(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["path", "patient_id", "Alter", "Datum", "Edema"])
    book.active.append(["a.png", 17, 48.0, datetime(2026, 1, 31, 14, 5), True])
    book.active.append(["b.png", "00018", None, None, 0])
    book.save(tmp_path / "t.xlsx")
    plan = read_dataset(tmp_path)
    assert plan.images["patient_id"].to_pylist() == ["17", "00018"]
    assert plan.images["age"].to_pylist() == [48, None]
    assert plan.details["acquired_at"][0].as_py() == datetime(2026, 1, 31, 14, 5)
    assert plan.states.tolist() == [[POSITIVE], [NEGATIVE]]


def test_a_cover_sheet_before_the_table_is_passed_over(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active["A1"] = "Export of the radiology department"
    page = book.create_sheet("Daten")
    page.append(["path", "patient_id", "Edema"])
    page.append(["a.png", "007", "ja"])
    book.save(tmp_path / "t.xlsx")
    plan = read_dataset(tmp_path)
    assert plan.images["patient_id"].to_pylist() == ["007"]
    assert plan.states.tolist() == [[POSITIVE]]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 100])
def test_a_damaged_workbook_is_a_named_error(tmp_path, content):
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(DatasetError, match="cannot read"):
        read(tmp_path)


def test_a_proposed_map_reads_the_same(tmp_path):
    from retune.pipeline.app.ingesting.proposal import map_text

    table = german(tmp_path, keep=("Station",))
    (tmp_path / "m.yaml").write_text(map_text("ris.csv", table.proposal))
    again = read(tmp_path, mapping=load_map(tmp_path / "m.yaml"))
    assert again.images == table.images
    assert again.details == table.details
    assert again.findings == table.findings
    assert again.states.tolist() == table.states.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colums: {}", "'colums' is no part of a map"),
        ("columns: {pfad: a}", "no part 'pfad'"),
        ("columns: [a]", "this is no list of"),
        ("dates: monthly", "'monthly'"),
        ("units: {age: hours}", "no unit age: hours"),
        ("findings: Edema", "a list is needed here"),
        ("a: &a [*a]", "is no map"),
        ("{", "is no map"),
    ],
)
def test_a_wrong_map_is_a_named_error(tmp_path, text, message):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        load_map(tmp_path / "m.yaml")


def test_a_map_says_what_words_mean(tmp_path, write_table):
    rows = ["a.png,1,1,k", "b.png,2,2,g", "c.png,3,9,g"]
    write_table("t.csv", "path,patient_id,sex,Befund", rows)
    (tmp_path / "m.yaml").write_text(
        "values: {sex: {1: M, 2: F}, Befund: {k: positive, g: negative}}\n"
        "aliases: {Befund: Edema}\n"
    )
    table = read(tmp_path, mapping=load_map(tmp_path / "m.yaml"))
    assert table.images["sex"].to_pylist() == ["M", "F", None]
    assert table.findings == ("Edema",)
    assert table.states[:, 0].tolist() == [POSITIVE, NEGATIVE, NEGATIVE]
