"""Several datasets in one store, from the command line: findings, selection, splits."""

import json
from pathlib import Path

import pytest
from command_line import result_in as result
from command_line import run_in as run
from image_samples import write_dataset, write_images, write_tiny_backbone
from reference_labels import NIH_HEADER, nih_row

pytestmark = pytest.mark.e2e


def write_nih(folder: Path, n_images: int) -> None:
    names = [f"{n:03d}.png" for n in range(n_images)]
    write_images(folder / "images", names, seed=7)
    rows = [
        nih_row(name, ["Edema", "Effusion|Mass", "No Finding"][n % 3], patient=str(n))
        for n, name in enumerate(names)
    ]
    text = "\n".join([NIH_HEADER, *rows]) + "\n"
    (folder / "Data_Entry_2017_v2020.csv").write_text(text)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The datasets `ward` (Edema, Mass), `clinic` (the same) and `nih`, embedded."""
    folder = tmp_path_factory.mktemp("place")
    write_dataset(folder / "data", 120)
    write_dataset(folder / "more", 40, seed=3)
    write_nih(folder / "nih", 90)
    backbone = write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table", "--dataset", "ward"),
        ("ingest", "more", "--layout", "table", "--dataset", "clinic"),
        ("ingest", "nih"),
        ("embed", "--backbone", backbone),
    ):
        done = run(folder, *command, "--quiet")
        assert done.returncode == 0, done.stderr
    return folder


def test_findings_are_listed_with_counts_per_dataset(place: Path) -> None:
    rows = result(place, "findings")
    edema = {row["dataset"]: row for row in rows if row["finding"] == "Edema"}
    assert edema["nih"]["positive"] == 30
    assert edema["ward"]["positive"] == edema["ward"]["negative"] == 60
    (none,) = [
        row for row in rows if (row["finding"], row["dataset"]) == ("No Finding", "nih")
    ]
    assert (none["positive"], none["negative"]) == (30, 60)
    text = run(place, "findings", "--datasets", "nih").stdout
    assert "Pleural Effusion" in text
    assert "ward" not in text
    assert "Lung Opacity" in text  # which includes Edema


def test_findings_of_an_unknown_dataset_is_an_error(place: Path) -> None:
    done = run(place, "findings", "--datasets", "nhi")
    assert done.returncode == 2
    assert "no dataset nhi; it has: clinic, nih, ward" in done.stderr


def test_aliases_need_no_store(tmp_path: Path) -> None:
    rows = result(tmp_path, "findings", "--aliases")
    assert {
        "layout": "nih",
        "written as": "Effusion",
        "finding": "Pleural Effusion",
    } in rows
    assert run(tmp_path, "findings", "--aliases").returncode == 0


def test_two_datasets_train_together_and_a_third_evaluates(place: Path) -> None:
    found = result(
        place, "train", "--scenario", "joint", "--datasets", "ward,nih", "--no-bounds",
        "--epochs", 2, "--findings", "Edema,Mass,Pleural Effusion",
    )  # fmt: skip
    assert found["findings"] == ["Edema", "Mass", "Pleural Effusion"]
    config = result(place, "sql", "SELECT config FROM runs")[-1]["config"]
    assert json.loads(config)["chosen"]["datasets"] == ["ward", "nih"]
    scored = result(
        place, "evaluate", found["run_id"], "--dataset", "clinic", "--split", "all"
    )
    assert {row["finding"] for row in scored["findings"]} == {"Edema", "Mass"}
    assert "Pleural Effusion" in scored["not_evaluated"]
