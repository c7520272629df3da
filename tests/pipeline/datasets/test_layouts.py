"""The contract that every layout keeps, and how a folder is recognised."""

import dataclasses
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from reference_labels import (
    BRAX_HEADER,
    CHEXPERT_FINDINGS,
    CHEXPERT_HEADER,
    CHEXPERT_LABELS,
    CHEXPERT_PLUS_HEADER,
    NIH_HEADER,
    PADCHEST_HEADER,
    brax_row,
    chexpert_plus_row,
    chexpert_row,
    nih_row,
    padchest_row,
)

from retune.pipeline.datasets import layouts
from retune.pipeline.datasets.contract import (
    IMAGE_SCHEMA,
    LabelTable,
    TableOptions,
    check_label_table,
    image_columns,
)
from retune.pipeline.datasets.layouts import LAYOUTS, read_layout, recognise
from retune.store.errors import ConfigurationError, DatasetError
from retune.store.label_states import STATE_NAMES

NO_OPTIONS = TableOptions()

#: One small data set per layout: file -> (header, rows). A new layout adds its own.
EXAMPLES = {
    "nih": {
        "Data_Entry_2017_v2020.csv": (
            NIH_HEADER,
            [nih_row("a.png", "Mass|Edema"), nih_row("b.png", patient="2")],
        )
    },
    "chexpert": {
        "train.csv": (
            CHEXPERT_HEADER,
            [
                chexpert_row(
                    "train/patient00001/study1/view1_frontal.jpg", Edema="1.0"
                ),
                chexpert_row("train/patient00002/study1/view1_frontal.jpg"),
            ],
        ),
        "valid.csv": (
            CHEXPERT_HEADER,
            [chexpert_row("valid/patient64541/study1/view1_frontal.jpg")],
        ),
    },
    "chexpert-plus": {
        "df_chexpert_plus_240401.csv": (
            CHEXPERT_PLUS_HEADER,
            [
                chexpert_plus_row("train/patient00001/study1/view1_frontal.jpg"),
                chexpert_plus_row("train/patient00002/study1/view1_lateral.jpg"),
            ],
        ),
        "report_fixed.json": (
            json.dumps(
                {"path_to_image": "train/patient00001/study1/view1_frontal.jpg"}
                | dict.fromkeys(CHEXPERT_FINDINGS, 1.0)
            ),
            [
                json.dumps(
                    {"path_to_image": "train/patient00002/study1/view1_lateral.jpg"}
                    | dict.fromkeys(CHEXPERT_FINDINGS)
                )
            ],
        ),
    },
    "mimic": {
        "mimic-cxr-2.0.0-chexpert.csv": (
            f"subject_id,study_id,{CHEXPERT_LABELS}",
            [
                "10000032,50414267,1.0" + 13 * ",",
                "10000764,57375967,," + ",".join(["1.0", "0.0", "-1.0"] * 4) + ",1.0",
            ],
        ),
        "mimic-cxr-2.0.0-metadata.csv": (
            "dicom_id,subject_id,study_id,ViewPosition,Rows",
            [
                "aa-bb,10000032,50414267,PA,3056",
                "cc-dd,10000032,50414267,LATERAL,3056",
                "ee-ff,10000764,57375967,AP,3050",
            ],
        ),
        "mimic-cxr-2.0.0-split.csv": (
            "dicom_id,study_id,subject_id,split",
            [
                "aa-bb,50414267,10000032,train",
                "cc-dd,50414267,10000032,train",
                "ee-ff,57375967,10000764,validate",
            ],
        ),
    },
    "padchest": {
        "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv": (
            PADCHEST_HEADER,
            [padchest_row("a.png", "['pneumonia']"), padchest_row("b.png", "[]")],
        )
    },
    "vindr": {
        "image_labels_train.csv": (
            "image_id,rad_id,Atelectasis,Other diseases,No finding",
            ["aa,R1,1,0,0", "aa,R2,1,0,0", "aa,R3,0,1,0", "bb,R1,0,0,1"],
        ),
        "image_labels_test.csv": (
            "image_id,Atelectasis,Other disease,No finding",
            ["cc,1,0,0"],
        ),
    },
    "openi": {
        "indiana_reports.csv": (
            "uid,MeSH,Problems,findings",
            ["1,normal,normal,Clear.", "2,Opacity/lung/base;Scoliosis,Opacity,Seen."],
        ),
        "indiana_projections.csv": (
            "uid,filename,projection",
            ["1,1_IM-0001-4001.dcm.png,Frontal", "2,2_IM-0652-1001.dcm.png,Lateral"],
        ),
    },
    "brax": {
        "master_spreadsheet_update.csv": (
            BRAX_HEADER,
            [
                brax_row("images/id_1/Study_1/a.png", Edema="1.0"),
                brax_row("images/id_1/Study_2/b.png", Edema="-1.0"),
            ],
        )
    },
    "table": {
        "ours.csv": (
            "path,patient_id,sex,Edema,Rib fracture",
            ["a.png,1,F,1,", "b.png,2,,0,-1"],
        )
    },
}
#: Where images are not the rows of all files together.
N_IMAGES = {"chexpert-plus": 2, "mimic": 3, "openi": 2, "vindr": 3}


@pytest.fixture(params=LAYOUTS)
def layout(request) -> str:
    return request.param


@pytest.fixture
def root(tmp_path, write_table, layout) -> Path:
    for name, (header, rows) in EXAMPLES[layout].items():
        write_table(name, header, rows)
    return tmp_path


def test_a_layout_gives_a_table_that_keeps_the_contract(root, layout):
    table = read_layout(layout, root, NO_OPTIONS)
    n_rows = N_IMAGES.get(
        layout, sum(len(rows) for _, rows in EXAMPLES[layout].values())
    )
    assert table.layout == layout
    assert table.images.schema == IMAGE_SCHEMA
    assert table.states.shape == (n_rows, len(table.findings))
    assert table.states.dtype == np.int8
    assert set(table.states.ravel().tolist()) <= set(STATE_NAMES)
    assert len(set(table.images["path"].to_pylist())) == table.images.num_rows == n_rows


def test_a_layout_is_recognised(root, layout):
    assert recognise(root) == layout


def test_reading_twice_gives_the_same(root, layout):
    one, two = (read_layout(layout, root, NO_OPTIONS) for _ in range(2))
    assert one.images == two.images
    assert (one.states == two.states).all()
    assert (one.findings, one.warnings) == (two.findings, two.warnings)


def test_images_need_not_be_there_and_nothing_is_written(root, layout):
    before = sorted(root.rglob("*"))
    read_layout(layout, root, NO_OPTIONS)
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_bom_and_line_ends_change_nothing(root, layout, bom, line_end):
    plain = read_layout(layout, root, NO_OPTIONS)
    for file in root.glob("*.csv"):
        file.write_bytes(bom + file.read_bytes().replace(b"\n", line_end))
    assert recognise(root) == layout
    table = read_layout(layout, root, NO_OPTIONS)
    assert table.images == plain.images
    assert (table.states == plain.states).all()


def test_gzipped_tables_read_as_the_plain_ones(root, layout):
    plain = read_layout(layout, root, NO_OPTIONS)
    for file in root.glob("*.csv"):
        (root / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    assert recognise(root) == layout
    table = read_layout(layout, root, NO_OPTIONS)
    assert table.images == plain.images
    assert (table.states == plain.states).all()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda content: content[:-20], id="cut off"),
        pytest.param(lambda content: content + b"caf\xe9\n", id="not UTF-8"),
        pytest.param(lambda content: content + b"x,y\n", id="a short row"),
        pytest.param(lambda content: content + b'"\n', id="an open quote"),
        pytest.param(lambda content: b"\xff\xfe" + content, id="UTF-16 mark"),
        pytest.param(lambda content: content.split(b"\n")[0], id="header only"),
        pytest.param(lambda content: content + content.split(b"\n")[1], id="twice"),
    ],
)
def test_a_damaged_table_is_an_error_that_names_the_file(root, layout, damage):
    file = min(root.glob("*.csv"))
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DatasetError) as caught:
        read_layout(layout, root, NO_OPTIONS)
    assert file.name in caught.value.message
    assert caught.value.hint


def test_a_folder_without_tables_is_an_error(tmp_path, layout):
    with pytest.raises(DatasetError) as caught:
        read_layout(layout, tmp_path, NO_OPTIONS)
    assert str(tmp_path) in caught.value.message


def test_every_layout_says_what_it_looks_for(layout):
    assert LAYOUTS[layout].name == layout
    assert LAYOUTS[layout].looks_for
    assert LAYOUTS[layout].options <= set(TableOptions.__dataclass_fields__)


def test_an_unknown_layout_is_an_error_that_lists_the_known():
    with pytest.raises(ConfigurationError, match="'nhi'") as caught:
        read_layout("nhi", Path(), NO_OPTIONS)
    assert "nih, chexpert, chexpert-plus, mimic, padchest" in caught.value.hint


def test_an_option_that_a_layout_ignores_is_an_error():
    options = TableOptions(path_column="file", patient_is_image=True)
    with pytest.raises(ConfigurationError, match="`path_column`, `patient_is"):
        read_layout("nih", Path(), options)


def test_what_fits_no_layout_says_what_was_looked_for(tmp_path, write_table):
    write_table("notes.csv", "a,b", ["1,2"])
    with pytest.raises(DatasetError) as caught:
        recognise(tmp_path)
    for layout in LAYOUTS.values():
        assert f"\n  {layout.name}: {layout.looks_for}" in caught.value.message
    assert "it holds notes.csv." in caught.value.message


def test_the_first_names_in_a_folder_of_no_layout_are_shown(tmp_path):
    for n in range(7):
        (tmp_path / f"{n}").mkdir()
    (tmp_path / "z.txt").touch()
    with pytest.raises(DatasetError, match=r"holds z\.txt, 0/, 1/, .* and 3 more\."):
        recognise(tmp_path)


def test_a_stray_table_does_not_hide_what_a_folder_is(tmp_path, write_table):
    """A spreadsheet beside the tables that cannot be read is of no concern."""
    for name, (header, rows) in EXAMPLES["nih"].items():
        write_table(name, header, rows)
    (tmp_path / "notes.csv").write_bytes(b"\xff")
    assert recognise(tmp_path) == "nih"


def test_another_data_sets_train_csv_is_not_chexpert(tmp_path, write_table):
    """VinDr's table is called train.csv too, and other people's are."""
    file = write_table("train.csv", "image_id,class_name,rad_id", ["a,Edema,R1"])
    assert recognise(tmp_path) == "vindr"
    file.write_text("image_id,class\na,Edema\n")
    with pytest.raises(DatasetError, match="in no layout"):
        recognise(tmp_path)


def test_two_layouts_in_one_folder_need_a_choice(tmp_path, write_table):
    for example in ("nih", "chexpert"):
        for name, (header, rows) in EXAMPLES[example].items():
            write_table(name, header, rows)
    with pytest.raises(DatasetError, match="several layouts: nih, chexpert"):
        recognise(tmp_path)


def test_a_single_chexpert_table_is_chexpert_not_a_generic_table(tmp_path, write_table):
    write_table("train.csv", *EXAMPLES["chexpert"]["train.csv"])
    assert recognise(tmp_path) == "chexpert"


def good_table() -> LabelTable:
    images = image_columns(pa.array(["a.png", "b.png"]), pa.array(["1", "2"]))
    return LabelTable("x", images, ("Edema",), np.array([[1], [-2]], np.int8))


def with_column(name: str, values: list[str | None]) -> LabelTable:
    table = good_table()
    columns = {n: table.images.column(n).combine_chunks() for n in IMAGE_SCHEMA.names}
    columns[name] = pa.array(values, pa.string())
    return dataclasses.replace(table, images=image_columns(**columns))


def test_a_good_table_passes():
    check_label_table(good_table())


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (with_column("path", ["a.png", None]), "a path is missing"),
        (with_column("patient_id", ["1", ""]), "a patient_id is missing"),
        (with_column("sex", ["F", "female"]), r"sex holds \['female'\]"),
        (
            with_column("official_split", ["dev", None]),
            r"official_split holds \['dev'\]",
        ),
        (with_column("path", ["a.png", "../b.png"]), "row 2: .*leaves the root"),
        (with_column("path", ["a.png", "a.png"]), "row 1 and row 2"),
    ],
)
def test_images_that_break_the_contract_are_refused(table, fault):
    with pytest.raises(DatasetError, match=fault):
        check_label_table(table)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"findings": ()}, "no findings"),
        ({"findings": ("Edema", "Edema")}, "not distinct"),
        ({"findings": ("",)}, "not distinct"),
        ({"states": np.zeros((3, 1), np.int8)}, r"shape \(3, 1\), not \(2, 1\)"),
        ({"states": np.zeros((2, 1), np.int64)}, "states are int64"),
        ({"states": np.full((2, 1), 7, np.int8)}, r"states hold \[7\]"),
        ({"images": pa.table({"path": ["a.png", "b.png"]})}, "image columns"),
        (
            {
                "images": good_table().images.slice(0, 0),
                "states": np.zeros((0, 1), np.int8),
            },
            "no images",
        ),
    ],
)
def test_labels_that_break_the_contract_are_refused(change, fault):
    table = dataclasses.replace(good_table(), **change)
    with pytest.raises(DatasetError, match=f"layout 'x' broke its contract.*{fault}"):
        check_label_table(table)


def test_an_image_column_that_is_not_in_the_schema_is_a_programming_error():
    with pytest.raises(TypeError, match="birthday"):
        image_columns(pa.array(["a"]), pa.array(["1"]), birthday=pa.array(["x"]))


@pytest.mark.real
def test_real_data_are_recognised(real_data):
    assert recognise(real_data / "nih-320") == "nih"


class InstalledPoint:
    """Stands for an entry point of another package."""

    def __init__(self, name: str, target: object) -> None:
        self.name, self.value, self._target = name, "their.module:LAYOUT", target

    def load(self) -> object:
        if isinstance(self._target, Exception):
            raise self._target
        return self._target


def install(monkeypatch, point: InstalledPoint) -> None:
    monkeypatch.setattr(layouts, "entry_points", lambda **_: [point])


def test_another_package_adds_a_layout(monkeypatch, tmp_path):
    theirs = layouts.Layout(
        "theirs", lambda *_: good_table(), lambda _: True, "anything"
    )
    install(monkeypatch, InstalledPoint("theirs", theirs))
    (tmp_path / "x").touch()
    assert recognise(tmp_path) == "theirs"
    assert read_layout("theirs", tmp_path, NO_OPTIONS).findings == ("Edema",)


def test_a_layout_of_another_package_is_held_to_the_contract(monkeypatch, tmp_path):
    bad = dataclasses.replace(good_table(), findings=())
    theirs = layouts.Layout("theirs", lambda *_: bad, lambda _: True, "anything")
    install(monkeypatch, InstalledPoint("theirs", theirs))
    with pytest.raises(DatasetError, match="broke its contract"):
        read_layout("theirs", tmp_path, NO_OPTIONS)


def test_tables_that_exceed_the_memory_are_named(monkeypatch, tmp_path):
    def read(*_):
        raise MemoryError

    theirs = layouts.Layout("theirs", read, lambda _: True, "anything")
    install(monkeypatch, InstalledPoint("theirs", theirs))
    with pytest.raises(DatasetError, match="need more memory") as caught:
        read_layout("theirs", tmp_path, NO_OPTIONS)
    assert str(tmp_path) in caught.value.message


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (ImportError("no such module"), "cannot be imported: no such module"),
        (object(), "is no layout 'theirs'"),
    ],
)
def test_a_package_whose_layout_is_broken_is_named(monkeypatch, target, said):
    install(monkeypatch, InstalledPoint("theirs", target))
    with pytest.raises(ConfigurationError, match=said):
        read_layout("theirs", Path(), NO_OPTIONS)
