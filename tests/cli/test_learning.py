"""Methods, seeds, going on and merging, from the command line."""

import json
import shutil
from pathlib import Path

import pytest
from command_line import result_in as result
from command_line import run_in as run
from image_samples import write_dataset, write_tiny_backbone
from safetensors.numpy import load_file, save_file

from retune.store.changes.manifests import write_manifest

pytestmark = pytest.mark.e2e

_QUICK = ("--scenario", "label", "--epochs", 3, "--no-bounds")
_SUMS = ("--scenario", "label", "--method", "analytic", "--no-bounds")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hospitals' stores `one` and `two`, encoded alike, and `else` that is not."""
    folder = tmp_path_factory.mktemp("place")
    write_dataset(folder / "data", 120)
    for name, seed in (("tiny", 0), ("other", 1)):
        backbone = write_tiny_backbone(folder / name, seed=seed)
        stores = ("one",) if name == "tiny" else ("else",)
        for store in stores:
            for command in (
                ("ingest", "data", "--layout", "table", "--dataset", "ward"),
                ("embed", "--backbone", backbone),
            ):
                done = run(folder, *command, "--store", store, "--quiet")
                assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "one", folder / "two")
    return folder


@pytest.mark.parametrize("method", ["analytic", "mask", "replay", "lwf", "ewc"])
def test_every_method_trains_and_predicts(workspace: Path, method: str) -> None:
    chosen = _SUMS if method == "analytic" else (*_QUICK, "--method", method)
    trained = result(workspace, "train", *chosen, "--store", "one")
    assert len(trained["auroc"]) == 3
    scored = run(
        workspace, "evaluate", trained["run_id"], "--split", "train", "--store", "one"
    )
    assert scored.returncode == 0, scored.stderr
    assert "macro AUROC" in scored.stdout


def test_options_of_a_method_reach_it(workspace: Path) -> None:
    done = run(
        workspace, "train", *_QUICK, "--method", "replay", "--set", "budget=7", "--set",
        "weight=2", "--store", "one", "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    query = "SELECT config FROM runs ORDER BY started_at DESC LIMIT 1"
    (row,) = result(workspace, "sql", query, "--store", "one")[:1]
    config = json.loads(row["config"])
    assert config["experiment"]["train"]["options"] == {"budget": 7, "weight": 2}


def test_the_score_of_a_run_goes_with_it(workspace: Path) -> None:
    """Evaluated and compared later, the run is still scored by s+ alone."""
    runs = {
        score: result(
            workspace,
            "train", *_QUICK, "--score", score, "--learn-scale", "--patience",
            0, "--batch-size", 32, "--preset", "reference", "--store", "one",
        )
        for score in ("difference", "positive")
    }  # fmt: skip
    ours, theirs = runs.values()
    for row, expected in zip(theirs["auroc"], ours["auroc_positive"], strict=True):
        assert row == pytest.approx(expected)
    again = result(workspace, "evaluate", theirs["run_id"], "--store", "one")
    assert [row["auroc"] for row in again["findings"]] == theirs["auroc"][-1]
    told = run(
        workspace, "compare", ours["run_id"], theirs["run_id"], "--store", "one"
    ).stdout.splitlines()
    assert told[0].endswith("scores from model")
    assert told[1].endswith("scores from model, s+ alone")
    query = f"SELECT config FROM runs WHERE run_id = '{ours['run_id']}'"
    (row,) = result(workspace, "sql", query, "--store", "one")
    train = json.loads(row["config"])["experiment"]["train"]
    assert (train["learn_scale"], train["patience"], train["batch_size"]) == (
        True, 0, 32,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "taken"),
    [("auto", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16")],
)
def test_the_arithmetic_of_training_is_recorded(
    workspace: Path, asked: str, taken: str
) -> None:
    """As what it was on this machine, so that another one can go on with it."""
    trained = result(
        workspace, "train", *_QUICK, "--precision", asked, "--store", "one"
    )
    query = f"SELECT config FROM runs WHERE run_id = '{trained['run_id']}'"
    (row,) = result(workspace, "sql", query, "--store", "one")
    precision = json.loads(row["config"])["experiment"]["train"]["precision"]
    assert precision == taken


def test_seeds_give_mean_and_spread(workspace: Path) -> None:
    done = run(workspace, "train", *_QUICK, "--seeds", 3, "--store", "one")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[2:7]] == ["0", "1", "2", "mean", "SD"]
    assert "nan" not in done.stdout  # without bounds there are no gaps
    runs = result(workspace, "train", *_QUICK, "--seeds", 2, "--store", "one")
    assert len({one["run_id"] for one in runs}) == 2


def test_a_state_file_goes_on_in_another_store(workspace: Path) -> None:
    first = result(
        workspace,
        "train", "--scenario", "joint", "--method", "analytic", "--no-bounds",
        "--where", "hash(patient_id) % 2 = 0", "--store", "one",
    )  # fmt: skip
    state = workspace / "carried.safetensors"
    shutil.copy(workspace / "one/runs" / first["run_id"] / "state.safetensors", state)
    again = result(
        workspace, "train", "--scenario", "joint", "--continue", state, "--no-bounds",
        "--where", "hash(patient_id) % 2 = 1", "--store", "two",
    )  # fmt: skip
    assert again["findings"] == first["findings"]
    there = result(
        workspace,
        "train", "--scenario", "joint", "--method", "analytic", "--no-bounds",
        "--where", "hash(patient_id) % 2 = 1", "--store", "two",
    )  # fmt: skip
    merged = result(
        workspace, "merge", state, there["run_id"], "--store", "two", "--no-bounds",
        "--where", "hash(patient_id) % 2 = 1",
    )  # fmt: skip
    assert merged["auroc"][-1] == pytest.approx(again["auroc"][-1], abs=1e-6)
    assert merged["scenario"] == "merge"


def test_resume_leaves_nothing_behind(workspace: Path) -> None:
    one = result(workspace, "train", *_QUICK, "--resume", "--store", "one")
    other = result(workspace, "train", *_QUICK, "--store", "one")
    assert one["auroc"] == other["auroc"]
    assert not list((workspace / "one/runs").glob("unfinished-*"))


_MISTAKES: dict[str, tuple[tuple[object, ...], int, tuple[str, ...]]] = {
    "option": (
        ("train", *_QUICK, "--method", "mask", "--set", "thta=1"), 2,
        ("no option 'thta'", "theta"),
    ),
    "form": (("train", *_QUICK, "--set", "theta"), 2, ("NAME=VALUE",)),
    "rate": (
        ("train", "--scenario", "joint", "--learning-rate", "1e38"), 4,
        ("diverged", "--learning-rate"),
    ),
    "infinite": (
        ("train", "--scenario", "joint", "--learning-rate", "inf"), 2, ("finite",),
    ),
    "zero": (
        ("train", "--scenario", "joint", "--learning-rate", "0"), 2, ("above 0",),
    ),
    "score": (("train", *_QUICK, "--score", "both"), 2, ("difference, positive",)),
    "precision": (
        ("train", "--scenario", "joint", "--precision", "int8"), 2, ("bfloat16",),
    ),
    "settled": (
        ("train", "--scenario", "joint", "--continue", "latest", "--method", "ewc"), 2,
        ("--method cannot be given with --continue",),
    ),
    "nothing to go on from": (
        ("train", "--scenario", "joint", "--continue", "nothing"), 2, ("'nothing'",),
    ),
    "alone": (("merge", "latest"), 4, ("two runs",)),
}  # fmt: skip


@pytest.mark.parametrize("name", _MISTAKES)
def test_mistakes_are_explained(workspace: Path, name: str) -> None:
    result(workspace, "train", *_SUMS, "--store", "one")
    arguments, code, words = _MISTAKES[name]
    done = run(workspace, *arguments, "--store", "one")
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith(("Error: ", "Usage: "))
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_a_run_of_another_encoder_is_refused(workspace: Path) -> None:
    first = result(workspace, "train", *_SUMS, "--store", "one")
    folder = workspace / "one/runs" / first["run_id"]
    for command in (("train", "--scenario", "data", "--continue"), ("merge", folder)):
        done = run(workspace, *command, folder, "--store", "else")
        assert done.returncode == 3
        assert "is of encoder" in done.stderr


def test_a_damaged_run_folder_is_refused(workspace: Path) -> None:
    first = result(workspace, "train", *_SUMS, "--store", "one")
    path = workspace / "one/runs" / first["run_id"] / "state.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    command = ("train", "--scenario", "joint", "--continue")
    done = run(workspace, *command, first["run_id"], "--store", "one")
    assert done.returncode == 4
    assert str(path.name) in done.stderr
    path.unlink()
    done = run(workspace, *command, first["run_id"], "--store", "one")
    assert done.returncode == 4
    assert "is missing" in done.stderr


def test_a_run_is_evaluated_on_the_splits_that_it_had(workspace: Path) -> None:
    """A run with its own split has test images that the store's split trained on."""
    trained_run = result(
        workspace, "train", "--scenario", "joint", "--epochs", 3, "--no-bounds",
        "--split-seed", 7, "--store", "one",
    )  # fmt: skip
    there = ("evaluate", trained_run["run_id"], "--store", "one")
    again = result(workspace, *there)
    assert again["macro_auroc"] == trained_run["macro_auroc"]
    assert again["n_images_of_training_patients"] == 0
    assert run(workspace, *there, "--split", "all").returncode == 4
    whole = (*there, "--split", "all", "--allow-leakage")
    every = result(workspace, *whole)
    trained = result(workspace, *there, "--split", "train")
    assert trained["n_images_of_training_patients"] == trained["n_images"]
    assert every["n_images_of_training_patients"] == trained["n_images"]
    told = run(workspace, *whole).stdout
    assert f"{trained['n_images']} of these images are of patients" in told
    some = result(workspace, *there, "--where", "hash(patient_id) % 2 = 0")
    assert some["split"] == "store/test where hash(patient_id) % 2 = 0"
    query = (
        f"SELECT DISTINCT split FROM metrics WHERE run_id = '{trained_run['run_id']}'"
    )
    filed = {row["split"] for row in result(workspace, "sql", query, "--store", "one")}
    assert {"store/test", "store/all", some["split"]} <= filed


def test_a_run_is_evaluated_with_its_label_policies(
    workspace: Path, tmp_path: Path
) -> None:
    shutil.copytree(workspace / "one", tmp_path / "store")
    table = (workspace / "data/labels.csv").read_text().splitlines()
    unsure = [line[:-1] + "-1" if n % 6 == 0 else line for n, line in enumerate(table)]
    (workspace / "unsure.csv").write_text("\n".join([table[0], *unsure[1:]]) + "\n")
    done = run(
        workspace,
        "ingest", "data", "--file", workspace / "unsure.csv", "--layout", "table",
        "--dataset", "ward", "--store", tmp_path / "store",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trained = result(
        workspace, "train", "--scenario", "joint", "--epochs", 3, "--no-bounds",
        "--uncertain", "ones", "--store", tmp_path / "store",
    )  # fmt: skip
    there = ("evaluate", trained["run_id"], "--store", tmp_path / "store")
    ours = result(workspace, *there)
    assert ours["macro_auroc"] == trained["macro_auroc"]
    others = result(workspace, *there, "--uncertain", "ignore")
    counts = [sum(row["images"] for row in one["findings"]) for one in (ours, others)]
    assert counts[0] > counts[1]


@pytest.mark.parametrize("part", ["weights", "encoder"])
def test_a_run_whose_folder_was_exchanged_or_spoilt_is_named(
    workspace: Path, part: str
) -> None:
    """Weights that are no numbers would be scored as nothing, quietly."""
    spoilt, whole = (
        result(workspace, "train", *_QUICK, "--seed", seed, "--store", "one")["run_id"]
        for seed in (3, 4)
    )
    folder = workspace / "one/runs" / spoilt
    if part == "weights":
        weights = load_file(folder / "adaptors.safetensors")
        weights["bias"][0] = float("nan")
        save_file(weights, folder / "adaptors.safetensors")
        word = "bias holds values that are no finite numbers"
    else:
        described = json.loads((folder / "adaptors.json").read_text())
        described["fingerprint"] = "0123456789abcdef"
        (folder / "adaptors.json").write_text(json.dumps(described))
        word = "is of encoder 0123456789abcdef"
    write_manifest(folder)  # whoever exchanged it has written its checksums, too
    image = next((workspace / "data").rglob("*.png"))
    for command in (("evaluate", spoilt), ("compare", whole, spoilt),
                    ("predict", spoilt, image)):  # fmt: skip
        done = run(workspace, *command, "--store", "one")
        assert done.returncode == 4, done.stderr
        assert word in done.stderr
        assert str(spoilt) in done.stderr


def test_vectors_may_stay_in_a_file(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is the same as in memory, and no file is left; a full disk is named."""
    first = result(workspace, "train", *_SUMS, "--store", "one")
    before = {path.name for path in (workspace / "one").iterdir()}
    again = result(workspace, "train", *_SUMS, "--stream", "--store", "one")
    assert again["auroc"] == first["auroc"]
    assert {path.name for path in (workspace / "one").iterdir()} == before

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    done = run(workspace, "train", *_QUICK, "--stream", "--store", "one")
    assert done.returncode == 3
    assert "no room for" in done.stderr
    assert "without --stream" in done.stderr
