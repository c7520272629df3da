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
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
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


def test_findings_are_listed_with_counts_per_dataset(workspace: Path) -> None:
    rows = result(workspace, "findings")
    edema = {row["dataset"]: row for row in rows if row["finding"] == "Edema"}
    assert edema["nih"]["positive"] == 30
    assert edema["ward"]["positive"] == edema["ward"]["negative"] == 60
    (none,) = [
        row for row in rows if (row["finding"], row["dataset"]) == ("No Finding", "nih")
    ]
    assert (none["positive"], none["negative"]) == (30, 60)
    text = run(workspace, "findings", "--datasets", "nih").stdout
    assert "Pleural Effusion" in text
    assert "ward" not in text
    assert "Lung Opacity" in text  # which includes Edema


def test_official_splits_may_be_ignored(workspace: Path, tmp_path: Path) -> None:
    nih = tmp_path / "nih"
    write_nih(nih, 60)
    (nih / "train_val_list.txt").write_text(
        "".join(f"{n:03d}.png\n" for n in range(50))
    )
    (nih / "test_list.txt").write_text("".join(f"{n:03d}.png\n" for n in range(50, 60)))
    query = "SELECT path FROM images WHERE split = 'test' ORDER BY path"
    tested = []
    for options in ((), ("--ignore-official-splits",)):
        store = ("--store", tmp_path / f"store-{len(options)}")
        done = run(workspace, "ingest", nih, *options, *store)
        assert done.returncode == 0, done.stderr
        rows = result(workspace, "sql", query, *store)
        tested.append([row["path"] for row in rows])
    assert tested[0] == [f"images/{n:03d}.png" for n in range(50, 60)]
    assert tested[1]
    assert tested[1] != tested[0]


def test_findings_of_an_unknown_dataset_is_an_error(workspace: Path) -> None:
    done = run(workspace, "findings", "--datasets", "nhi")
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


def test_two_datasets_train_together_and_a_third_evaluates(workspace: Path) -> None:
    trained = result(
        workspace,
        "train", "--scenario", "joint", "--datasets", "ward,nih", "--no-bounds",
        "--epochs", 2, "--findings", "Edema,Mass,Pleural Effusion",
    )  # fmt: skip
    assert trained["findings"] == ["Edema", "Mass", "Pleural Effusion"]
    config = result(workspace, "sql", "SELECT config FROM runs")[-1]["config"]
    selection = json.loads(config)["provenance"]["selection"]
    assert selection["datasets"] == ["nih", "ward"]
    scored = result(
        workspace,
        "evaluate",
        trained["run_id"],
        "--dataset",
        "clinic",
        "--split",
        "all",
    )
    assert {row["finding"] for row in scored["findings"]} == {"Edema", "Mass"}
    assert "Pleural Effusion" in scored["not_evaluated"]


def test_a_selection_is_counted_before_work_starts(workspace: Path) -> None:
    where = "dataset = 'nih' AND age >= 18"
    for command in (
        ("embed", "--backbone", f"local-dir:{workspace / 'tiny'}"),
        ("train", "--scenario", "joint", "--no-bounds", "--epochs", 1),
        ("evaluate", "latest", "--split", "all", "--allow-leakage"),
    ):
        done = run(workspace, *command, "--where", where)
        assert done.returncode == 0, done.stderr
        assert "--where chooses 90 of 250 images" in done.stderr


def test_only_the_selected_images_are_embedded(workspace: Path, tmp_path: Path) -> None:
    backbone = f"local-dir:{workspace / 'tiny'}"
    data = workspace / "data"
    run(tmp_path, "ingest", data, "--layout", "table", "--dataset", "ward")
    embedded = result(
        tmp_path, "embed", "--backbone", backbone, "--where", "patient_id = '3'"
    )
    assert embedded["images_encoded"] == 2
    assert result(tmp_path, "embed", "--backbone", backbone)["images_encoded"] == 118


@pytest.mark.parametrize(
    "command", ["embed", "train --scenario joint", "evaluate latest"]
)
def test_a_condition_that_is_none_is_an_error(workspace: Path, command: str) -> None:
    done = run(workspace, *command.split(), "--where", "colour = 'blue'")
    assert done.returncode == 3
    assert "is not a condition over images" in done.stderr
    assert "Example: --where" in done.stderr


@pytest.mark.parametrize(
    "where",
    ["", "age", "view", "1=1) UNION SELECT (2=2", "1=1; DROP TABLE images",
     "view::INT > 3", "1=1), (2=2", "age >"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["train --scenario joint", "evaluate latest"])
def test_no_condition_gets_further_than_its_check(
    workspace: Path, command: str, where: str
) -> None:
    done = run(workspace, *command.split(), "--where", where)
    assert done.returncode == 3
    assert "is not a condition over images" in done.stderr


def test_a_condition_may_end_in_a_comment(workspace: Path) -> None:
    done = run(
        workspace, "train", "--scenario", "joint", "--no-bounds", "--epochs", 1,
        "--where", "dataset = 'nih' -- the public ones",
    )  # fmt: skip
    assert "chooses 90 of 250 images" in done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("policy", ["soft", "per-finding", "zeros", "ones"])
@pytest.mark.parametrize("method", ["finetune", "analytic"])
def test_uncertain_labels_train_by_every_policy(
    doubtful: Path, policy: str, method: str
) -> None:
    trained = result(
        doubtful, "train", "--scenario", "label", "--uncertain", policy,
        "--method", method, *(["--epochs", 1] if method == "finetune" else []),
    )  # fmt: skip
    assert len(trained["auroc"]) == 3
    config = result(doubtful, "sql", "SELECT config FROM runs ORDER BY started_at")
    assert json.loads(config[-1]["config"])["experiment"]["uncertain"] == policy


@pytest.fixture(scope="module")
def doubtful(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third label of Edema is uncertain."""
    folder = tmp_path_factory.mktemp("doubtful")
    write_dataset(folder / "data", 120, seed=9)
    file = folder / "data" / "labels.csv"
    lines = file.read_text().splitlines()
    for n in range(1, len(lines), 3):
        cells = lines[n].split(",")
        lines[n] = ",".join([*cells[:3], "-1", cells[4]])
    file.write_text("\n".join(lines) + "\n")
    run(folder, "ingest", "data", "--layout", "table")
    backbone = f"local-dir:{workspace / 'tiny'}"
    assert run(folder, "embed", "--backbone", backbone).returncode == 0
    return folder


def test_leaks_are_shown_and_refused_unless_allowed(
    workspace: Path, tmp_path: Path
) -> None:
    """Two pools of one publisher, divided by different seeds, share patients."""
    backbone = f"local-dir:{workspace / 'tiny'}"
    for name, seed in (("pool", 0), ("again", 1)):
        write_nih(tmp_path / name, 60)
        done = run(
            tmp_path, "ingest", name, "--dataset", name, "--split-seed", seed, "--quiet"
        )
        assert done.returncode == 0, done.stderr
    run(tmp_path, "embed", "--backbone", backbone)
    status = run(tmp_path, "status").stdout
    assert "leakage: in more than one split" in status
    assert "again, pool" in status
    kinds = [leak["kind"] for leak in result(tmp_path, "status")["leakage"]]
    assert kinds == ["patient", "picture"]

    train = ("train", "--scenario", "joint", "--no-bounds", "--epochs", 1)
    refused = run(tmp_path, *train)
    assert refused.returncode == 4
    assert "in more than one split" in refused.stderr
    assert "--allow-leakage" in refused.stderr
    for way in (
        ("--allow-leakage",),
        ("--split-seed", 3),
        ("--datasets", "pool"),
    ):
        done = run(tmp_path, *train, *way)
        assert done.returncode == 0, done.stderr


def test_a_run_is_not_evaluated_on_patients_it_was_trained_on(
    workspace: Path, tmp_path: Path
) -> None:
    """Two pools of one publisher: what is test in one was training in the other."""
    for name in ("pool", "again"):
        write_nih(tmp_path / name, 60)
        run(tmp_path, "ingest", name, "--dataset", name, "--quiet")
    run(tmp_path, "embed", "--backbone", f"local-dir:{workspace / 'tiny'}")
    train = ("train", "--scenario", "joint", "--no-bounds", "--epochs", 1)
    for way in ((), ("--split-seed", 7)):
        done = run(tmp_path, *train, "--datasets", "pool", *way)
        assert done.returncode == 0, done.stderr
        evaluate = ("evaluate", "latest", "--datasets", "again", "--split")
        refused = run(tmp_path, *evaluate, "all")
        assert refused.returncode == 4
        assert "of these 60 images are of patients, or are pictures" in refused.stderr
        assert "--allow-leakage" in refused.stderr
        # Splits are the run's, also if it divided patients anew.
        evaluated = result(tmp_path, *evaluate, "test")
        assert evaluated["n_images"] > 0
        assert evaluated["n_images_of_training_patients"] == 0
        assert run(tmp_path, *evaluate, "train").returncode == 0
        assert run(tmp_path, *evaluate, "all", "--allow-leakage").returncode == 0


def test_a_run_is_not_evaluated_on_pictures_it_was_trained_on(
    workspace: Path, tmp_path: Path
) -> None:
    """The same files under other patients' names, as another hospital's table has."""
    for name in ("one", "two"):
        write_dataset(tmp_path / name, 60)
        run(tmp_path, "ingest", name, "--layout", "table", "--dataset", name)
    run(tmp_path, "embed", "--backbone", f"local-dir:{workspace / 'tiny'}")
    train = ("train", "--scenario", "joint", "--no-bounds", "--epochs", 1)
    assert run(tmp_path, *train, "--datasets", "one").returncode == 0
    evaluate = ("evaluate", "latest", "--datasets", "two", "--split")
    refused = run(tmp_path, *evaluate, "all")
    assert refused.returncode == 4
    assert "are pictures, that run" in refused.stderr
    assert run(tmp_path, *evaluate, "test").returncode == 0


def test_no_leak_is_said_too(workspace: Path) -> None:
    assert "leakage: none" in run(workspace, "status").stdout


def test_pseudonyms_from_ingest_to_training(workspace: Path, tmp_path: Path) -> None:
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text("correct horse battery staple\n")
    other.write_text("another horse, another staple\n")
    ingest = ("ingest", workspace / "data", "--layout", "table", "--dataset", "ward")
    first = run(tmp_path, *ingest, "--pseudonymize", key)
    assert "labels are new: version 1" in first.stdout
    again = run(tmp_path, *ingest, "--pseudonymize", key)
    assert "0 new, 0 no longer in the table" in again.stdout
    assert "labels are as before: version 1" in again.stdout
    for way in ((), ("--pseudonymize", other)):
        refused = run(tmp_path, *ingest, *way)
        assert refused.returncode == 2
        assert "another key" in refused.stderr
    run(tmp_path, "embed", "--backbone", f"local-dir:{workspace / 'tiny'}")
    done = run(tmp_path, "train", "--scenario", "joint", "--no-bounds", "--epochs", 1)
    assert done.returncode == 0, done.stderr
    rows = result(tmp_path, "sql", "SELECT patient_id, image_id FROM images LIMIT 1")
    assert len(rows[0]["patient_id"]) == 32
    assert ".png" not in rows[0]["image_id"]
    missing = run(tmp_path, *ingest, "--pseudonymize", "nowhere")
    assert missing.returncode == 2
    assert "cannot read the key nowhere" in missing.stderr
