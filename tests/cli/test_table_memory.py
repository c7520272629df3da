"""A table is understood tonight as it was yesterday; changes are told beforehand."""

from pathlib import Path

import pytest
from command_line import result_in, run_in

pytestmark = pytest.mark.e2e


def write(root: Path, rows: list[str]) -> None:
    root.mkdir(exist_ok=True)
    header = "Bild;Patient;Richtung;Station;Pleuraerguss"
    (root / "ris.csv").write_text("\n".join([header, *rows]) + "\n")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    write(tmp_path / "ris", [f"{n}.png;{n};PA;3A;ja" for n in range(4)])
    done = run_in(
        tmp_path, "ingest", "ris", "--layout", "table", "--view-column", "Richtung",
        "--keep", "Station", "--dataset", "ward",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path


def rows(workspace: Path, query: str) -> list[list[object]]:
    return [list(row.values()) for row in result_in(workspace, "sql", query)]


def test_the_next_ingest_needs_no_options(workspace: Path) -> None:
    write(workspace / "ris", [f"{n}.png;{n};AP;3B;nein" for n in range(5)])
    done = run_in(workspace, "ingest", "ris")
    assert done.returncode == 0, done.stderr
    assert "otherwise than before" not in done.stderr
    query = "SELECT dataset, view, station, count(*) FROM images GROUP BY ALL"
    assert rows(workspace, query) == [["ward", "AP", "3B", 5]]


def test_a_change_is_told_before_it_is_done(workspace: Path) -> None:
    done = run_in(workspace, "ingest", "ris", "--view-column", "Station", "--dry-run")
    assert "view: Richtung, now Station" in done.stderr
    assert "this changes view of 4 images" in done.stderr
    assert rows(workspace, "SELECT DISTINCT view FROM images") == [["PA"]]
    done = run_in(workspace, "ingest", "ris", "--view-column", "Station")
    assert "this changes view of 4 images" in done.stderr
    assert rows(workspace, "SELECT DISTINCT view FROM images") == [["3A"]]


def test_a_column_that_is_gone_is_an_error_and_not_null(workspace: Path) -> None:
    (workspace / "ris" / "ris.csv").write_text(
        "Bild;Patient;Pleuraerguss\n1.png;1;ja\n"
    )
    done = run_in(workspace, "ingest", "ris")
    assert done.returncode == 4
    assert "no column 'Richtung'" in done.stderr
    assert run_in(workspace, "ingest", "ris", "--anew").returncode == 0


def test_new_rows_are_added(workspace: Path) -> None:
    write(workspace / "ris", ["9.png;9;PA;3A;nein"])
    ingested = result_in(workspace, "ingest", "ris", "--append")
    assert (ingested["n_images"], ingested["added"], ingested["removed"]) == (5, 1, 0)
    assert ingested["label_version"] == 2


def test_a_proposal_is_edited_and_used(workspace: Path) -> None:
    done = run_in(
        workspace, "ingest", "ris", "--propose", "--anew", "--layout", "table"
    )
    assert done.returncode == 0, done.stderr
    file = workspace / "ris.map.yaml"
    text = file.read_text().replace("Pleural Effusion", "Edema")
    file.write_text(text)
    done = run_in(workspace, "ingest", "ris", "--map", "ris.map.yaml")
    assert done.returncode == 0, done.stderr
    assert rows(workspace, "SELECT DISTINCT finding FROM labels") == [["Edema"]]
    again = run_in(workspace, "ingest", "ris", "--propose", "--map", "ris.map.yaml")
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_a_finding_may_be_named_as_the_table_names_it(workspace: Path) -> None:
    rows = result_in(workspace, "findings")
    assert {row["finding"] for row in rows} == {"Pleural Effusion", "No Finding"}
