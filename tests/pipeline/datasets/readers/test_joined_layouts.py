"""Layouts whose labels and images stand in different tables, and what may disagree."""

import gzip
import json
import random

import pytest
from reference_labels import (
    BRAX_HEADER,
    CHEXPERT_FINDINGS,
    CHEXPERT_LABELS,
    CHEXPERT_PLUS_HEADER,
    PADCHEST_HEADER,
    brax_row,
    chexpert_plus_row,
    chexpert_state,
    padchest_row,
)

from retune.pipeline.datasets.contract import TableOptions
from retune.pipeline.datasets.layouts import read_layout, recognise
from retune.pipeline.datasets.readers.vindr import VINDR_TOKENS
from retune.store.errors import ConfigurationError, DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN

LABELS, METADATA, SPLIT = (
    f"mimic-cxr-2.0.0-{part}.csv" for part in ("chexpert", "metadata", "split")
)
LABEL_HEADER = f"subject_id,study_id,{CHEXPERT_LABELS}"
IMAGE_HEADER = "dicom_id,subject_id,study_id,ViewPosition"
SPLIT_HEADER = "dicom_id,study_id,subject_id,split"


def read(layout, root, **options):
    return read_layout(layout, root, TableOptions(**options))


def mimic_tables(n_studies: int = 300) -> tuple[list[str], list[str], list[str], list]:
    """Random studies of one to three images, and the slow join of their tables."""
    chance = random.Random(0)
    labels, images, splits, oracle = [], [], [], []
    for number in range(n_studies):
        patient, study = f"1{number // 2:07d}", f"5{number:07d}"
        cells = [chance.choice(["1.0", "0.0", "-1.0", ""]) for _ in CHEXPERT_FINDINGS]
        if number % 10:
            labels.append(",".join([patient, study, "", *cells]))
        for index in range(chance.randint(1, 3)):
            image, view = f"{number:08x}-{index}", chance.choice(["PA", "AP", ""])
            images.append(f"{image},{patient},{study},{view}")
            split = ["train", "validate", "test"][(number // 2) % 3]
            splits.append(f"{image},{study},{patient},{split}")
            oracle.append(
                {
                    "path": f"files/p{patient[:2]}/p{patient}/s{study}/{image}.jpg",
                    "patient_id": patient,
                    "study_id": study,
                    "view": view or None,
                    "official_split": split.replace("validate", "validation"),
                    "states": [
                        chexpert_state(cell) if number % 10 else ABSENT
                        for cell in cells
                    ],
                }
            )
    chance.shuffle(labels)
    chance.shuffle(splits)
    return labels, images, splits, oracle


@pytest.fixture
def mimic(tmp_path, write_table):
    labels, images, splits, oracle = mimic_tables()
    write_table(LABELS, LABEL_HEADER, labels)
    write_table(METADATA, IMAGE_HEADER, images)
    write_table(SPLIT, SPLIT_HEADER, splits)
    return oracle


def test_mimic_joins_images_with_the_labels_of_their_study(tmp_path, mimic):
    table = read("mimic", tmp_path)
    rows = table.images.to_pylist()
    assert len(rows) == len(mimic)
    for row, states, expected in zip(rows, table.states.tolist(), mimic, strict=True):
        assert states == expected["states"]
        assert {name: row[name] for name in expected if name != "states"} == {
            name: value for name, value in expected.items() if name != "states"
        }
    assert table.findings == tuple(CHEXPERT_FINDINGS)
    assert any("studies without labels" in text for text in table.warnings)


def test_mimic_packed_is_the_same(tmp_path, mimic):
    plain = read("mimic", tmp_path)
    for name in (LABELS, METADATA, SPLIT):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        (tmp_path / name).unlink()
    assert recognise(tmp_path) == "mimic"
    packed = read("mimic", tmp_path)
    assert packed.images == plain.images
    assert (packed.states == plain.states).all()


def test_mimic_by_another_labeller(tmp_path, mimic):
    negbio = LABELS.replace("chexpert", "negbio")
    (tmp_path / LABELS).rename(tmp_path / negbio)
    by_default = read("mimic", tmp_path)
    named = read("mimic", tmp_path, file=negbio)
    assert (by_default.states == named.states).all()


def test_mimic_without_the_official_split_says_so(tmp_path, mimic):
    (tmp_path / SPLIT).unlink()
    table = read("mimic", tmp_path)
    assert table.images["official_split"].null_count == table.images.num_rows
    assert any("split by hash" in text for text in table.warnings)


def test_mimic_finds_dicom_files_where_they_are(tmp_path, mimic):
    path = read("mimic", tmp_path).images["path"][0].as_py()
    file = (tmp_path / path).with_suffix(".dcm")
    file.parent.mkdir(parents=True)
    file.touch()
    assert read("mimic", tmp_path).images["path"][0].as_py().endswith(".dcm")


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (METADATA, ",10000003,50000007,", ",,50000007,", "patient id is missing"),
        (METADATA, ",50000007,", ",,", "line .*: dicom_id or study_id is missing"),
        (METADATA, ",10000003,", ",10000009,", r"study 5\d+ is of patient 10000009"),
        (SPLIT, ",train", ",training", "line 2: not a split: 'training'|line"),
        (LABELS, ",1.0", ",2.0", "line .*'2.0' is not a label"),
        (LABELS, "subject_id", "subject", "line 1: no column 'subject_id'"),
        (METADATA, "ViewPosition", "View", "line 1: no column 'ViewPosition'"),
    ],
)
def test_mimic_tables_that_do_not_fit(tmp_path, mimic, name, old, new, said):
    file = tmp_path / name
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=said) as caught:
        read("mimic", tmp_path)
    assert name in caught.value.message


@pytest.mark.parametrize("part", [LABELS, METADATA])
def test_mimic_without_a_table_says_which(tmp_path, mimic, part):
    (tmp_path / part).unlink()
    with pytest.raises(DatasetError, match=f"holds no {part}"):
        read("mimic", tmp_path)


def test_brax_keeps_four_states_and_its_oldest_patients(tmp_path, write_table):
    rows = [
        brax_row("images/id_1/a.png", age="85 or more", Edema="-1.0", Fracture="0.0"),
        brax_row("images/id_1/b.png", age="40", Edema="1.0"),
    ]
    write_table("master_spreadsheet_update.csv", BRAX_HEADER, rows)
    table = read("brax", tmp_path)
    assert table.images["age"].to_pylist() == [85.0, 40.0]
    assert table.images["patient_id"].to_pylist() == ["id_1", "id_1"]
    edema = table.states[:, table.findings.index("Edema")].tolist()
    assert edema == [UNCERTAIN, POSITIVE]
    assert table.states[0, table.findings.index("Fracture")] == NEGATIVE
    assert table.states[1, table.findings.index("Fracture")] == ABSENT


def test_brax_reads_dicom_where_there_is_no_png(tmp_path, write_table):
    write_table(
        "master_spreadsheet_update.csv", BRAX_HEADER, [brax_row("images/a.png")]
    )
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dcm").touch()
    assert read("brax", tmp_path).images["path"].to_pylist() == ["images/a.dcm"]


PLUS = "df_chexpert_plus_240401.csv"
FIRST, SECOND = (f"train/patient0000{n}/study1/view1_frontal.jpg" for n in (1, 2))


def label_line(path: str, **states: float | None) -> str:
    values = dict.fromkeys(CHEXPERT_FINDINGS, None) | states
    return json.dumps({"path_to_image": path, **values})


@pytest.fixture
def plus(tmp_path, write_table):
    rows = [chexpert_plus_row(FIRST), chexpert_plus_row(SECOND, split="valid")]
    write_table(PLUS, CHEXPERT_PLUS_HEADER, rows)
    (tmp_path / "chexbert_labels").mkdir()
    file = tmp_path / "chexbert_labels" / "report_fixed.json"
    lines = [label_line(SECOND, Edema=1.0, Fracture=0.0), label_line(FIRST, Edema=-1.0)]
    file.write_text("\n".join(lines) + "\n")
    return file


def test_chexpert_plus_joins_images_with_their_labels(tmp_path, plus):
    table = read("chexpert-plus", tmp_path)
    assert table.images.to_pylist() == [
        {
            "path": path,
            "patient_id": path.split("/")[1],
            "study_id": path.split("/")[1] + "/study1",
            "view": "AP",
            "sex": "M",
            "age": 68.0,
            "official_split": split,
        }
        for path, split in ((FIRST, "train"), (SECOND, "validation"))
    ]
    edema, fracture = (table.findings.index(name) for name in ("Edema", "Fracture"))
    assert table.states[:, edema].tolist() == [UNCERTAIN, POSITIVE]
    assert table.states[:, fracture].tolist() == [ABSENT, NEGATIVE]


def test_chexpert_plus_takes_labels_from_csv_too(tmp_path, plus):
    by_json = read("chexpert-plus", tmp_path)
    cells = {FIRST: "-1,", SECOND: "1.0,0"}
    others = [n for n in CHEXPERT_FINDINGS if n not in ("Edema", "Fracture")]
    lines = [",".join(["path_to_image", "Edema", "Fracture", *others])]
    lines += [f"{path},{text}{',' * len(others)}" for path, text in cells.items()]
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    by_csv = read("chexpert-plus", tmp_path, file="mine.csv")
    assert (by_csv.states == by_json.states).all()


def test_chexpert_plus_finds_png_and_dicom(tmp_path, plus):
    for name in ("DICOM/" + FIRST.replace(".jpg", ".dcm"),
                  "PNG/" + FIRST.replace(".jpg", ".png")):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
        assert read("chexpert-plus", tmp_path).images["path"][0].as_py() == name
        (tmp_path / name).unlink()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("{]\n", "line 1: no JSON"),
        (label_line(FIRST) + "\n[1]\n", "line 2: no JSON object"),
        (label_line(FIRST) + "\n" + label_line(FIRST), "listed before"),
        (label_line(FIRST, Edema=3.0), "line 1, column 'Edema': '3' is not a label"),
        ('{"path_to_image": "a"}', "no column"),
    ],
)
def test_chexpert_plus_labels_that_cannot_be_read(tmp_path, plus, content, said):
    plus.write_text(content)
    with pytest.raises(DatasetError, match=said) as caught:
        read("chexpert-plus", tmp_path)
    assert plus.name in caught.value.message


def test_chexpert_plus_without_labels_says_where_it_looked(tmp_path, plus):
    plus.unlink()
    with pytest.raises(DatasetError, match=r"chexbert_labels/report_fixed.json"):
        read("chexpert-plus", tmp_path)


def test_chexpert_plus_counts_images_without_labels_and_labels_without_images(
    tmp_path, plus
):
    plus.write_text(label_line(FIRST) + "\n" + label_line("train/p/s/x.jpg") + "\n")
    table = read("chexpert-plus", tmp_path)
    assert (table.states[1] == ABSENT).all()
    assert "1 image has no labels in report_fixed.json" in table.warnings
    assert any("1 row is of images that the table has not" in w for w in table.warnings)


def test_vindr_of_physionet_counts_readers(tmp_path, write_table):
    rows = ["a,R1,1,0,0", "a,R2,1,1,0", "a,R3,0,0,0", "b,R1,0,0,1"]
    header = "image_id,rad_id,Edema,Other diseases,No finding"
    write_table("annotations/image_labels_train.csv", header, rows)
    write_table(
        "annotations/image_labels_test.csv",
        "image_id,Edema,Other disease,No finding",
        ["c,0,1,0"],
    )
    assert recognise(tmp_path) == "vindr"
    table = read("vindr", tmp_path)
    assert table.findings == ("Edema", "Other Disease")
    assert table.states.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert table.images["official_split"].to_pylist() == ["train", "train", "test"]
    assert table.images["path"].to_pylist() == [
        "train/a.dicom", "train/b.dicom", "test/c.dicom",
    ]  # fmt: skip
    assert read("vindr", tmp_path, votes="any").states.tolist()[0] == [1, 1]
    assert read("vindr", tmp_path, votes="all").states.tolist()[0] == [0, 0]
    soft = read("vindr", tmp_path, votes="soft").states.tolist()
    assert soft == [[UNCERTAIN, UNCERTAIN], [0, 0], [0, 1]]


def test_vindr_refuses_an_unknown_rule(tmp_path, write_table):
    write_table("train.csv", "image_id,class_name,rad_id", ["a,Atelectasis,R1"])
    with pytest.raises(ConfigurationError, match="most for `votes`"):
        read("vindr", tmp_path, votes="most")


def test_vindr_counts_what_it_does_not_know(tmp_path, write_table):
    rows = ["a,Cardiomegaly,R1", "a,No finding,R1", "b,Pseudonodule,R1"]
    write_table("train.csv", "image_id,class_name,rad_id", rows)
    table = read("vindr", tmp_path)
    assert "unknown labels ignored: 'Pseudonodule' (1)" in table.warnings[0]
    assert "No finding beside a finding of one reader: 1 times" in table.warnings[1]
    assert len(table.findings) == 14
    assert set(table.findings) <= set(VINDR_TOKENS.values())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["a,R1,1,0", "a,R1,0,0"], "two rows of one reader: .*line 2 and .*line 3"),
        (["a,R1,-1,0"], "line 2: a vote must be 0 or 1"),
        (["a,R1,,0"], "line 2: a vote must be 0 or 1"),
        (["a,R1,0.5,0"], "line 2.*'0.5' is not a label"),
        ([",R1,1,0"], "line 2: the image path '' is blank"),
        (["../a,R1,1,0"], "leaves the root"),
    ],
)
def test_vindr_votes_that_cannot_be_counted(tmp_path, write_table, rows, said):
    write_table("image_labels_train.csv", "image_id,rad_id,Edema,No finding", rows)
    with pytest.raises(DatasetError, match=said):
        read("vindr", tmp_path)


def test_vindr_finds_images_in_another_format(tmp_path, write_table):
    write_table("train.csv", "image_id,class_name,rad_id", ["a,No finding,R1"])
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").touch()
    assert read("vindr", tmp_path).images["path"].to_pylist() == ["train/a.png"]


def test_padchest_lies_in_folders_or_flat(tmp_path, write_table):
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    write_table(name, PADCHEST_HEADER, [padchest_row("a.png")])
    assert read("padchest", tmp_path).images["path"].to_pylist() == ["7/a.png"]
    (tmp_path / "a.png").touch()
    assert read("padchest", tmp_path).images["path"].to_pylist() == ["a.png"]


def test_padchest_reads_more_labels_on_demand(tmp_path, write_table):
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    rows = [padchest_row("a.png", "['goiter', 'pneumonia']"), padchest_row("b.png")]
    write_table(name, PADCHEST_HEADER, rows)
    table = read("padchest", tmp_path)
    assert "Goiter" not in table.findings
    assert any("'goiter' (1)" in warning for warning in table.warnings)
    table = read("padchest", tmp_path, finding_columns=("goiter", "Pneumonia"))
    assert table.findings == ("Pneumonia", "Goiter")
    assert table.states.tolist() == [[POSITIVE, POSITIVE], [NEGATIVE, NEGATIVE]]
    everything = read("padchest", tmp_path, finding_columns=("all",))
    assert len(everything.findings) == 27 + 127
    with pytest.raises(ConfigurationError, match="no finding 'goitre'"):
        read("padchest", tmp_path, finding_columns=("goitre",))


def test_padchest_labels_that_are_no_list_name_their_line(tmp_path, write_table):
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    rows = [padchest_row("a.png"), padchest_row("b.png", "pneumonia")]
    write_table(name, PADCHEST_HEADER, rows)
    with pytest.raises(DatasetError, match="line 3: 'pneumonia' is no list"):
        read("padchest", tmp_path)


REPORT = """<eCitation><uId id="CXR{n}"/><MeSH>{mesh}</MeSH>
<parentImage id="CXR{n}_IM-1"/><parentImage id="CXR{n}_IM-2"/></eCitation>"""


def write_report(folder, n: int, *majors: str) -> None:
    folder.mkdir(exist_ok=True)
    mesh = "".join(f"<major>{major}</major>" for major in majors)
    (folder / f"{n}.xml").write_text(REPORT.format(n=n, mesh=mesh))


def test_openi_reads_reports(tmp_path):
    folder = tmp_path / "ecgen-radiology"
    write_report(folder, 2, "Opacity/lung/base", "Hernia, Hiatal", "Opacity/ribs")
    write_report(folder, 10, "normal")
    write_report(folder, 3, "No Indexing")
    assert recognise(tmp_path) == "openi"
    table = read("openi", tmp_path)
    assert table.images["patient_id"].to_pylist() == [
        "CXR2", "CXR2", "CXR3", "CXR3", "CXR10", "CXR10",
    ]  # fmt: skip
    labels = {
        name for name, s in zip(table.findings, table.states[0], strict=True) if s == 1
    }
    assert labels == {"Lung Opacity", "Hernia"}
    assert (table.states[2] == ABSENT).all()
    assert (table.states[4] == NEGATIVE).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "1.xml, line 1: no XML"),
        ("<a>\n<b></a>", "1.xml, line 2: no XML"),
        ("<eCitation/>", "1.xml: no uId"),
        ('<!DOCTYPE x [<!ENTITY a "aa">]><x>&a;</x>', "declares entities"),
    ],
)
def test_openi_reports_that_cannot_be_read(tmp_path, content, said):
    (tmp_path / "1.xml").write_text(content)
    with pytest.raises(DatasetError, match=said):
        read("openi", tmp_path)


def test_entities_are_refused_in_any_encoding(tmp_path):
    text = '<!DOCTYPE x [<!ENTITY a "aa">]><x><uId id="1"/>&a;</x>'
    declared = f'<?xml version="1.0" encoding="utf-16"?>{text}'
    (tmp_path / "1.xml").write_bytes(declared.encode("utf-16"))
    with pytest.raises(DatasetError, match=r"1\.xml declares entities or is not UTF-8"):
        read("openi", tmp_path)


def test_openi_of_kaggle_needs_a_report_for_each_image(tmp_path, write_table):
    write_table("indiana_reports.csv", "uid,MeSH", ["1,normal"])
    write_table(
        "indiana_projections.csv", "uid,filename,projection", ["2,a.png,Frontal"]
    )
    with pytest.raises(DatasetError, match=r"line 2: .* has no report 2"):
        read("openi", tmp_path)
