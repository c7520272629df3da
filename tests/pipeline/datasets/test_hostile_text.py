"""Ids, names and findings that would steer a terminal never get into a store."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.datasets.layouts import LAYOUTS, Layout
from retune.store.errors import DatasetError

_HOSTILE = ("\x1b[2J", "a\x9bb", "\u202egnp", "a\u2028b", "a\x7f")


@pytest.mark.parametrize("text", _HOSTILE)
@pytest.mark.parametrize("column", ["patient_id", "study_id", "view"])
def test_ids_and_views_are_refused_and_shown_escaped(
    tmp_path, write_table, text, column
) -> None:
    values = {"patient_id": "1", "study_id": "1", "view": "PA", column: text}
    header = "path,patient_id,study_id,view,Edema"
    write_table("t.csv", header, [f"a.png,{','.join(values.values())},1"])
    with pytest.raises(DatasetError, match="contains a control character") as caught:
        read_dataset(tmp_path)
    assert column in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", _HOSTILE)
def test_image_paths_are_refused_and_shown_escaped(tmp_path, write_table, text) -> None:
    write_table("t.csv", "path,patient_id,Edema", [f"{text}.png,1,1"])
    with pytest.raises(DatasetError, match="contains a control character") as caught:
        read_dataset(tmp_path)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("text", ["\x1b[2J", "\u202eamede"])
def test_findings_are_refused_and_shown_escaped(tmp_path, text) -> None:
    table = pa.table({"path": ["a.png"], "patient_id": ["1"], text: [1]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="contains a control character") as caught:
        read_dataset(tmp_path)
    assert caught.value.message.isprintable()
    (tmp_path / "t.parquet").unlink()
    (tmp_path / "t.csv").write_text(f"path,patient_id,{text}\na.png,1,1\n")
    with pytest.raises(DatasetError, match=r"the column name .* control character"):
        read_dataset(tmp_path)


def test_letters_of_any_language_are_welcome(tmp_path, write_table) -> None:
    write_table("t.csv", "path,patient_id,Überblähung", ["肺.png,Müller 1,1"])
    plan = read_dataset(tmp_path)
    assert plan.findings == ("Überblähung",)
    assert plan.images["patient_id"].to_pylist() == ["Müller 1"]


def test_whose_patients_a_layout_has() -> None:
    populations = {name: layout.population for name, layout in LAYOUTS.items()}
    assert populations == {
        "nih": "nih", "chexpert": "chexpert", "chexpert-plus": "chexpert",
        "mimic": "mimic", "padchest": "padchest", "vindr": "vindr", "openi": "openi",
        "brax": "brax", "table": None,
    }  # fmt: skip
    made = Layout("ours", LAYOUTS["nih"].read, lambda _: False, "nothing")
    assert made.population == "ours"
