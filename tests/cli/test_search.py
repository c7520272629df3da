"""`search` on the command line, and `similarity` in `sql`, with a real backbone."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import result_in, run_in
from dicom_samples import dicom
from image_samples import write_dataset, write_tiny_backbone
from PIL import Image

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    write_dataset(folder / "data", 24)
    backbone = write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table"),
        ("embed", "--backbone", backbone),
    ):
        assert run_in(folder, *command).returncode == 0
    with Image.open(folder / "data" / "007.png") as image:
        dicom(np.asarray(image)).save_as(folder / "new.dcm")
    (folder / "bad.png").write_bytes(b"nothing")
    return folder


def test_a_file_finds_the_image_that_it_is(workspace: Path) -> None:
    for name in ("data/007.png", "new.dcm"):
        hits = result_in(workspace, "search", name, "-k", "3")
        assert hits[0]["image_id"] == "table/007.png"
        assert hits[0]["similarity"] == pytest.approx(1, abs=1e-3)
        assert [one["rank"] for one in hits] == [1, 2, 3]


def test_an_image_id_finds_others(workspace: Path) -> None:
    hits = result_in(
        workspace, "search", "table/007.png", "--per-patient", "1", "-k", "40"
    )
    assert "table/007.png" not in [one["image_id"] for one in hits]
    assert len(hits) == 12


def test_a_sentence_and_sql_say_the_same(workspace: Path) -> None:
    hits = result_in(
        workspace,
        "search", "an enlarged heart", "--where", "view = 'PA'", "--datasets",
        "table", "-k", "4",
    )  # fmt: skip
    rows = result_in(
        workspace, "sql",
        """SELECT image_id, similarity FROM similarity('an enlarged heart')
        ORDER BY similarity DESC LIMIT 4""",
    )  # fmt: skip
    assert [one["image_id"] for one in hits] == [one["image_id"] for one in rows]
    for one, row in zip(hits, rows, strict=True):
        assert one["similarity"] == pytest.approx(row["similarity"], abs=1e-5)


def test_tables_csv_and_a_contact_sheet(workspace: Path) -> None:
    done = run_in(workspace, "search", "heart", "--not", "lung", "--out", "found.png")
    assert done.returncode == 0, done.stderr
    assert "contact sheet: found.png" in done.stdout
    assert "24 vectors compared with a sentence" in done.stderr
    assert (workspace / "found.png").read_bytes().startswith(b"\x89PNG")
    done = run_in(workspace, "search", "heart", "--csv", "--quiet", "-k", "2")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 2
    assert isinstance(json.loads(rows[0]["positive"]), list)
    assert not done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.png",), "no file"),
        (("bad.png",), "cannot be used"),
        (("heart", "--where", "nothing = 1"), "--where"),
        (("heart", "--where", "1; DROP TABLE images"), "--where"),
        (("heart", "--datasets", "x"), "no dataset x"),
        (("heart", "--out", "found.gif"), "--out|contact sheet"),
        (("heart", "--not", ""), "--not"),
        (("heart", "-k", "0"), "-k"),
        (("heart", "--json", "--csv"), "one of"),
    ],
)
def test_what_is_wrong_is_told_in_words(
    workspace: Path, arguments: tuple[str, ...], words: str
) -> None:
    import re

    done = run_in(workspace, "search", *arguments)
    assert done.returncode in (2, 3, 4)
    assert re.search(words, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_hostile_names_are_shown_as_text(workspace: Path, tmp_path: Path) -> None:
    del workspace
    data = tmp_path / "data"
    write_dataset(data, 6)
    (data / "labels.csv").write_text(
        "path,patient_id,view,<script>alert(1)</script>\n"
        + "".join(f"00{n}.png,p{n},PA,1\n" for n in range(6))
    )
    backbone = write_tiny_backbone(tmp_path / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table", "--dataset", "<b>'\"ש"),
        ("embed", "--backbone", backbone),
    ):
        done = run_in(tmp_path, *command)
        assert done.returncode == 0, done.stderr
    done = run_in(tmp_path, "search", "\u202eheart\x1b[31m\n'; DROP", "-k", "2")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "<b>'\"ש/00" in done.stdout
