"""The command line as people use it: output, exit codes, words for every mistake."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Result, run_command
from image_samples import write_dataset, write_tiny_backbone

pytestmark = pytest.mark.e2e

Runner = Callable[..., Result]
_COMMAND = [sys.executable, "-c", "from retune.cli.main import main; main()"]


def run(*arguments: object, cwd: Path | None = None, **environment: str) -> Result:
    """Run the command line; what needs a process of its own starts one itself."""
    return run_command(*arguments, cwd=cwd, **environment)


def _fine(result: Result) -> Result:
    assert result.returncode == 0, result.stderr
    return result


def _refused(result: Result, code: int, *words: str) -> None:
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith(("Error: ", "Usage: "))
    for word in words:
        assert word in result.stderr


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a tiny backbone and an embedded store, after two commands."""
    folder = tmp_path_factory.mktemp("place")
    write_dataset(folder / "data", 120)
    backbone = write_tiny_backbone(folder / "tiny")
    _fine(run("ingest", "data", "--layout", "table", "--dataset", "ward", cwd=folder))
    _fine(run("embed", "--backbone", backbone, cwd=folder))
    return folder


@pytest.fixture(scope="module")
def trained(workspace: Path) -> str:
    done = _fine(run("train", "--scenario", "label", "--json", cwd=workspace))
    return str(json.loads(done.stdout)["run_id"])


def test_status_says_what_is_in_the_store(workspace: Path) -> None:
    text = _fine(run("status", cwd=workspace)).stdout
    for word in ("ward", "120", "Edema", "Mass", "local-dir:"):
        assert word in text
    parts = json.loads(_fine(run("status", "--json", cwd=workspace)).stdout)
    assert parts["datasets"][0]["images"] == 120
    assert parts["encoders"][0]["image_vectors"] == 120


def test_a_second_embed_does_nothing_and_says_so(workspace: Path) -> None:
    backbone = f"local-dir:{workspace / 'tiny'}"
    done = _fine(run("embed", "--backbone", backbone, cwd=workspace))
    assert "0 images encoded" in done.stdout
    assert "120 already done" in done.stdout


def test_sql_prints_a_table_or_json(workspace: Path) -> None:
    query = "SELECT image_id, embedding FROM image_features ORDER BY 1 LIMIT 2"
    assert "image_id" in _fine(run("sql", query, cwd=workspace)).stdout
    rows = json.loads(_fine(run("sql", query, "--json", cwd=workspace)).stdout)
    assert [row["image_id"] for row in rows] == ["ward/000.png", "ward/001.png"]
    assert len(rows[0]["embedding"]) == 16


def test_sql_reaches_what_was_named_and_nothing_else(
    workspace: Path, tmp_path: Path
) -> None:
    out = tmp_path / "findings.csv"
    copy = f"COPY (FROM labels) TO '{out}'"
    _refused(run("sql", copy, cwd=workspace), 3, "queries may not", "--allow-write")
    _refused(run("sql", copy, "--write", cwd=workspace), 3, "--allow-write")
    _fine(run("sql", copy, "--allow-write", out, cwd=workspace))
    read = f"SELECT count(*) AS n FROM '{out}'"
    _refused(run("sql", read, cwd=workspace), 3, "may not reach", "--allow-read")
    answer = _fine(run("sql", read, "--allow-read", tmp_path, "--json", cwd=workspace))
    assert json.loads(answer.stdout) == [{"n": 240}]
    where = "image_id IN (SELECT content FROM read_text('/etc/hostname'))"
    _refused(run("train", "--scenario", "label", "--where", where, cwd=workspace), 3)


def test_a_terminal_gets_no_commands_from_the_store(
    workspace: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(workspace / "feature-store", tmp_path / "s")
    hostile = "'a' || chr(27) || ']0;x' || chr(7) || chr(155) || '31m'"
    for change in (
        f"UPDATE datasets SET layout = {hostile}",
        f"UPDATE labels SET finding = {hostile} WHERE finding = 'Mass'",
    ):
        _fine(run("sql", change, "--write", "--store", tmp_path / "s"))
    for command in (["status"], ["sql", "FROM datasets"], ["sql", f"SELECT {hostile}"]):
        shown = _fine(run(*command, "--store", tmp_path / "s")).stdout
        assert not set(shown) & {"\x1b", "\x07", "\x9b"}
        assert "\\x" in shown or "\\e" in shown


def test_a_lost_catalog_comes_back(workspace: Path, tmp_path: Path) -> None:
    import shutil

    store = tmp_path / "s"
    shutil.copytree(workspace / "feature-store", store)
    (store / "catalog.duckdb").write_bytes(b"x" * 10_000)
    _refused(run("status", "--store", store), 3, "repair --from-copies")
    mended = _fine(run("repair", "--from-copies", "--store", store))
    assert "adopted" in mended.stdout
    _fine(run("verify", "--store", store))
    _refused(run("repair", "--from-copies", "--store", store), 2, "is whole")
    (store / "features").rename(tmp_path / "elsewhere")
    _refused(run("repair", "--store", store), 3, "is gone", "--drop-missing")
    broken = run("verify", "--store", store)
    assert broken.returncode == 3
    assert "Is it mounted?" in broken.stdout
    _fine(run("repair", "--drop-missing", "--store", store))


def test_sql_reads_a_statement_from_stdin(workspace: Path) -> None:
    done = subprocess.run(
        [*_COMMAND, "sql", "-", "--json"], input="SELECT 1 AS one", text=True,
        capture_output=True, cwd=workspace, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == [{"one": 1}]


def test_json_has_no_nan(workspace: Path) -> None:
    done = _fine(
        run("sql", "SELECT 'nan'::DOUBLE AS x, now() AS t", "--json", cwd=workspace)
    )
    (row,) = json.loads(done.stdout, parse_constant=pytest.fail)
    assert row["x"] is None
    assert isinstance(row["t"], str)


@pytest.mark.parametrize("scenario", ["zero-shot", "joint", "class", "label", "data"])
def test_every_scenario_trains_and_is_in_sql(workspace: Path, scenario: str) -> None:
    parts = ("--tasks", 3) if scenario == "data" else ()
    done = _fine(run("train", "--scenario", scenario, *parts, cwd=workspace))
    assert "final AUROC" in done.stdout
    assert "run " in done.stdout
    query = f"SELECT count(*) AS n FROM runs WHERE scenario = '{scenario}'"
    rows = json.loads(_fine(run("sql", query, "--json", cwd=workspace)).stdout)
    assert rows[0]["n"] >= 1


def test_a_run_leaves_adaptors_metrics_and_predictions(workspace: Path) -> None:
    done = _fine(
        run("train", "--scenario", "joint", "--predictions", "--json", cwd=workspace)
    )
    run_id = json.loads(done.stdout)["run_id"]
    folder = workspace / "feature-store" / "runs" / run_id
    assert {path.name for path in folder.iterdir()} == {
        "adaptors.json", "adaptors.safetensors", "images.parquet", "manifest.json",
        "state.safetensors",
    }  # fmt: skip
    counts = json.loads(
        _fine(
            run(
                "sql",
                "SELECT "
                "(SELECT count(*) FROM metrics m WHERE m.run_id = r.run_id) AS m, "
                "(SELECT count(*) FROM predictions p WHERE p.run_id = r.run_id) AS p, "
                "(SELECT count(*) FROM images WHERE split = 'test') AS t "
                f"FROM runs r WHERE run_id = '{run_id}'",
                "--json",
                cwd=workspace,
            )
        ).stdout
    )[0]
    assert counts["m"] > 20
    assert counts["p"] == 2 * counts["t"]


def test_equal_seeds_give_equal_figures(workspace: Path) -> None:
    one, other = (
        json.loads(
            _fine(run("train", "--scenario", "label", "--json", cwd=workspace)).stdout
        )
        for _ in range(2)
    )
    assert one["run_id"] != other["run_id"]
    assert one["auroc"] == other["auroc"]


def test_explain_prints_how_figures_are_defined(workspace: Path) -> None:
    plain = _fine(run("train", "--scenario", "label", "--no-bounds", cwd=workspace))
    told = _fine(
        run("train", "--scenario", "label", "--no-bounds", "--explain", cwd=workspace)
    )
    assert "mean_{tau(k)<T}" not in plain.stdout
    assert "forgetting" in told.stdout
    assert "mean_{tau(k)<T} (max_{tau(k)<=t<T} R[t,k] - R[T,k])" in told.stdout


def test_findings_may_be_spelled_loosely(workspace: Path) -> None:
    done = _fine(
        run(
            "train",
            "--scenario",
            "joint",
            "--findings",
            "mass",
            "--json",
            cwd=workspace,
        )
    )
    assert json.loads(done.stdout)["findings"] == ["Mass"]


def test_predict_tells_findings_and_bad_images(workspace: Path, trained: str) -> None:
    good, bad = workspace / "data" / "000.png", workspace / "bad.png"
    bad.write_bytes(b"nothing")
    done = run("predict", trained, good, bad, "--json", cwd=workspace)
    assert done.returncode == 4
    first, second = json.loads(done.stdout)
    assert set(first["probabilities"]) == {"Edema", "Mass"}
    assert all(0 <= p <= 1 for p in first["probabilities"].values())
    assert "not a PNG" in second["error"]
    table = _fine(run("predict", trained[:20], good, cwd=workspace))
    assert "Edema" in table.stdout
    assert "not a medical device" in table.stderr


def test_predict_agrees_with_the_stored_prediction(workspace: Path) -> None:
    done = _fine(
        run("train", "--scenario", "joint", "--predictions", "--json", cwd=workspace)
    )
    run_id = json.loads(done.stdout)["run_id"]
    query = (
        "SELECT path, finding, probability "
        "FROM predictions JOIN images USING (image_id) "
        f"WHERE run_id = '{run_id}' ORDER BY path LIMIT 2"
    )
    rows = json.loads(_fine(run("sql", query, "--json", cwd=workspace)).stdout)
    image = workspace / "data" / rows[0]["path"]
    (prediction,) = json.loads(
        _fine(run("predict", run_id, image, "--json", cwd=workspace)).stdout
    )
    for row in rows:
        assert prediction["probabilities"][row["finding"]] == pytest.approx(
            row["probability"], abs=2e-3
        )


def test_evaluate_on_other_images_is_filed_in_metrics(
    workspace: Path, trained: str
) -> None:
    everything = ("evaluate", trained, "--datasets", "ward", "--split", "all")
    _refused(
        run(*everything, cwd=workspace), 4, "images are of patients, or are pictures"
    )
    done = _fine(run(*everything, "--allow-leakage", cwd=workspace))
    assert "120 images" in done.stdout
    query = "SELECT DISTINCT split FROM metrics WHERE split LIKE 'ward/%'"
    rows = json.loads(_fine(run("sql", query, "--json", cwd=workspace)).stdout)
    assert rows == [{"split": "ward/all"}]
    _refused(
        run("evaluate", trained, "--split", "dev", cwd=workspace), 2, "--split dev"
    )


def test_verify_and_repair(workspace: Path, tmp_path: Path) -> None:
    done = _fine(run("verify", cwd=workspace))
    assert "every checksum is right" in done.stdout
    _fine(run("ingest", workspace / "data", "--layout", "table", cwd=tmp_path))
    backbone = f"local-dir:{workspace / 'tiny'}"
    _fine(run("embed", "--backbone", backbone, "--quiet", cwd=tmp_path))
    shard = next((tmp_path / "feature-store").rglob("image-*.h5"))
    shard.write_bytes(shard.read_bytes()[:1000])
    broken = run("verify", cwd=tmp_path)
    assert broken.returncode == 3
    assert str(shard.name) in broken.stdout
    mended = _fine(run("repair", cwd=tmp_path))
    assert "were set aside" in mended.stdout
    again = _fine(run("embed", "--backbone", backbone, cwd=tmp_path))
    assert "120 images encoded" in again.stdout


_MISTAKES: dict[str, tuple[list[str], int, list[str]]] = {
    "no store": (["status", "--store", "nowhere"], 3, ["no feature store", "--store"]),
    "syntax": (["sql", "SELEC 1"], 3, ["syntax error", "Tables and views"]),
    "write": (["sql", "DROP TABLE images"], 3, ["read-only", "--write"]),
    "scenario": (["train", "--scenario", "magic"], 2, ["magic", "label"]),
    "method": (["train", "--scenario", "label", "--method", "x"], 2, ["--method x"]),
    "preset": (["train", "--scenario", "label", "--preset", "x"], 2, ["--preset x"]),
    "finding": (
        ["train", "--scenario", "label", "--findings", "Massive"], 2, ["Mass"],
    ),
    "tasks": (
        ["train", "--scenario", "data", "--tasks", "99"], 4,
        ["training patients", "99 tasks", "--tasks"],
    ),
    "where": (["train", "--scenario", "joint", "--where", "agee > 3"], 3, ["agee"]),
    "nothing left": (
        ["train", "--scenario", "joint", "--where", "view = 'LL'"], 2, ["no image"],
    ),
    "dataset": (["train", "--scenario", "joint", "--datasets", "x"], 2, ["ward"]),
    "fingerprint": (
        ["train", "--scenario", "joint", "--fingerprint", "zz"], 2, ["no encoder"],
    ),
    "descriptions": (
        ["train", "--scenario", "joint", "--descriptions", "x"], 2,
        ["'x' has no encoded sentence", "embed --descriptions x"],
    ),
    "run": (["predict", "nosuchrun", "a.png"], 2, ["nosuchrun", "newest"]),
    "backbone": (["embed", "--backbone", "nonsense"], 2, ["nonsense", "mini"]),
    "backbone folder": (["embed", "--backbone", "local-dir:/no"], 4, ["no folder /no"]),
    "dtype": (["embed", "--dtype", "int8"], 2, ["int8"]),
    "engine": (["embed", "--engine", "spark"], 2, ["spark", "local or ray"]),
    "decode": (["embed", "--decode", "half"], 2, ["half", "scaled"]),
    "description file": (["embed", "--descriptions", "x.yaml"], 2, ["x.yaml"]),
    "root": (["ingest", "nowhere"], 4, ["nowhere"]),
    "layout": (["ingest", "data", "--layout", "x"], 2, ["x", "chexpert"]),
    "same name": (["ingest", "other", "--dataset", "ward"], 2, ["--moved"]),
    "option": (["train", "--scenaro", "label"], 2, ["--scenaro"]),
    "command": (["trian"], 2, ["trian"]),
    "number": (["embed", "--batch-size", "many"], 2, ["--batch-size"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", _MISTAKES)
def test_every_mistake_is_explained(workspace: Path, mistake: str) -> None:
    if mistake == "same name" and not (workspace / "other").exists():
        write_dataset(workspace / "other", 4)
    arguments, code, words = _MISTAKES[mistake]
    _refused(run(*arguments, cwd=workspace), code, *words)


def test_an_unexpected_error_asks_for_a_report_and_debug_shows_where(
    workspace: Path,
) -> None:
    code = (
        "import sys; from retune.cli.terminal import boundary\n"
        "def broken(): raise ZeroDivisionError('x')\n"
        "sys.exit(boundary.run_guarded(broken))"
    )
    command = [sys.executable, "-c", code]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    _refused(plain, 1, "unexpected ZeroDivisionError", "RETUNE_DEBUG")
    debug = subprocess.run(
        command, capture_output=True, text=True, check=False,
        env={**os.environ, "RETUNE_DEBUG": "1"},
    )  # fmt: skip
    assert "Traceback" in debug.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_embed_stops_cleanly_and_goes_on(
    workspace: Path, tmp_path: Path, number: int, code: int
) -> None:
    _fine(run("ingest", workspace / "data", "--layout", "table", cwd=tmp_path))
    backbone = f"local-dir:{workspace / 'tiny'}"
    program = (
        "import retune.pipeline.encode.stage.stage as e, os, signal\n"
        # A shell's background jobs, and what they start, ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "original = e._hand_on\n"
        "def once(*a):\n"
        "    original(*a)\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
        "e._hand_on = once\n"
        "import sys; from retune.cli.main import main\n"
        f"sys.argv = ['retune-cli', 'embed', '--backbone', {backbone!r}]\n"
        "main()"
    )
    stopped = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path,
        check=False,
    )  # fmt: skip
    assert stopped.returncode == code, stopped.stderr
    assert "run the same command again" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    kept = json.loads(
        _fine(
            run(
                "sql",
                "SELECT count(*) AS n FROM image_features",
                "--json",
                cwd=tmp_path,
            )
        ).stdout
    )[0]["n"]
    assert 0 < kept < 120
    again = _fine(run("embed", "--backbone", backbone, cwd=tmp_path))
    assert f"{120 - kept} images encoded" in again.stdout


def test_the_store_comes_from_the_environment(workspace: Path, tmp_path: Path) -> None:
    store = str(workspace / "feature-store")
    done = _fine(run("sql", "SELECT 1", cwd=tmp_path, RETUNE_STORE=store))
    assert "1" in done.stdout


def test_queries_work_while_embed_writes(
    workspace: Path, programs: Path, tmp_path: Path
) -> None:
    _fine(run("ingest", workspace / "data", "--layout", "table", cwd=tmp_path))
    process = subprocess.Popen(
        [programs / "retune-cli", "embed", "--backbone",
         f"local-dir:{workspace / 'tiny'}", "--batch-size", "1", "--quiet"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    asked = 0
    while process.poll() is None or asked == 0:
        done = _fine(run("sql", "SELECT count(*) FROM image_features", cwd=tmp_path))
        assert "count" in done.stdout
        asked += 1
    _, complaints = process.communicate()
    assert process.returncode == 0, complaints
    assert asked >= 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_works(shell: str) -> None:
    done = run("--show-completion", shell)
    assert "retune" in done.stdout.lower() or done.returncode == 0
