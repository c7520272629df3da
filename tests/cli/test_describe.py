"""`describe` as a user types it, interrupted and taken up again."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import Result, run_command
from language_server import ChatServer, chat_server

from retune.pipeline.describe.members import find_set
from retune.store import FeatureStore
from retune.store.description_sets import list_sets

pytestmark = pytest.mark.e2e

_FOUR = "Edema,Fracture,Mass,Nodule"


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


def arguments(server: ChatServer, *more: object) -> list[str]:
    plain = ("describe", "--llm", "sample", "--base-url", server.url, "--n", 8)
    return [str(part) for part in (*plain, "--store", "store", *more)]


def run(cwd: Path, server: ChatServer, *more: object, **environment: str) -> Result:
    return run_command(*arguments(server, *more), cwd=cwd, **environment)


def test_it_says_what_it_did_and_what_it_cost(
    tmp_path: Path, server: ChatServer
) -> None:
    done = run(
        tmp_path, server, "--findings", "Edema, Mass", "--set", "ours", "--price", "1,2"
    )
    assert done.returncode == 0, done.stderr
    assert "set ours: 32 sentences of 2 findings" in done.stdout
    assert "2 answers, 200 tokens in, 100 out, cost 0.0004" in done.stdout
    assert "No radiologist" in done.stderr
    assert "retune-cli embed --descriptions ours --store store" in done.stderr


def test_a_dry_run_shows_all_and_sends_nothing(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)  # not even needed
    done = run(tmp_path, server, "--findings", "Rib fracture", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "Finding: Rib fracture." in done.stdout
    assert "nothing was sent: 1 requests to sample" in done.stdout
    planned = run(tmp_path, server, "--findings", "Edema", "--dry-run", "--json")
    content = json.loads(planned.stdout)
    assert [m["role"] for m in content["messages"]["Edema"]] == ["system", "user"]
    assert not server.requests
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("more", "said", "code"),
    [
        ((), "describe needs --findings", 2),
        (("--findings", "Edema", "--llm", " "), "describe needs --llm", 2),
        (("--findings", "Edema", "--base-url", "x"), "not the address", 2),
        (("--findings", "Edema", "--price", "x"), "not two prices", 2),
        (("--findings", "Edema", "--price", "nan,1"), "not two prices", 2),
        (("--findings", "Edema", "--price", "1,-1"), "not two prices", 2),
        (("--findings", "Edema", "--language", "german"), "no code of a language", 2),
        (("--findings", "Edema", "--template", "none.yaml"), "none.yaml", 2),
        (("--findings", "Edema", "--set", "default"), "shipped set", 2),
        (("--findings", "Edema", "--retries", 0), "answered 500", 4),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, server: ChatServer, more: tuple[object, ...], said: str, code: int
) -> None:
    server.script["Edema"] = [500]
    done = run(tmp_path, server, *more)
    assert done.returncode == code
    assert said in done.stderr
    assert "Hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_key_is_never_shown(tmp_path: Path, server: ChatServer) -> None:
    server.script["Edema"] = [401]
    done = run(
        tmp_path, server, "--findings", "Edema", RETUNE_LLM_KEY="very-secret-key"
    )
    assert done.returncode == 4
    assert server.headers[0]["authorization"] == "Bearer very-secret-key"
    assert "very-secret-key" not in done.stdout + done.stderr


def test_refused_sentences_are_shown_with_their_reason(
    tmp_path: Path, server: ChatServer
) -> None:
    bad = {"positive": ["The patient came by bus."], "negative": []}
    server.script["Edema"] = [bad]
    done = run(tmp_path, server, "--findings", "Edema")
    assert done.returncode == 0, done.stderr
    assert "Edema, positive: names neither Edema" in done.stderr
    assert "The patient came by bus." in done.stderr


def _begun(cwd: Path, server: ChatServer, *more: object) -> "subprocess.Popen[str]":
    code = (
        # A shell's background jobs, and what they start, ignore Ctrl-C.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from retune.cli.main import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments(server, *more)],
        cwd=cwd, text=True, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)],
)
def test_killed_in_the_middle_it_keeps_what_is_finished(
    tmp_path: Path, server: ChatServer, number: int, code: int
) -> None:
    chosen: tuple[Any, ...] = ("--findings", _FOUR, "--set", "ours", "--concurrency", 1)
    server.script["Mass"] = ["slow"]
    with _begun(tmp_path, server, *chosen) as process:
        assert server.reached.wait(60)
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "Traceback" not in said
    store = FeatureStore(tmp_path / "store")
    assert not list_sets(store)
    assert server.asked == ["Edema", "Fracture", "Mass"]
    server.asked.clear()
    done = run(tmp_path, server, *chosen, "--json")
    assert done.returncode == 0, done.stderr
    assert server.asked == ["Mass", "Nodule"]
    assert json.loads(done.stdout)["resumed"] == 2
    row, members = find_set(store, "ours")
    assert row.n_sentences == 64
    assert len({m.description.finding for m in members}) == 4
    drafts = store.sql("SELECT count(*) FROM description_drafts").fetchall()
    assert drafts == [(0,)]
    assert not store.verify()


def sets(cwd: Path, *more: object, **environment: str) -> Result:
    return run_command("describe", *more, "--store", "store", cwd=cwd, **environment)


def test_sets_are_listed_shown_compared_and_exported(
    tmp_path: Path, server: ChatServer
) -> None:
    assert "templates" in sets(tmp_path, "show").stdout
    run(tmp_path, server, "--findings", "Edema", "--set", "ours", "--quiet")
    listed = json.loads(sets(tmp_path, "show", "--json").stdout)
    assert [row["set_name"] for row in listed] == [
        "default",
        "templates",
        "wide",
        "ours",
    ]
    assert "ours" in sets(tmp_path, "show").stdout
    shown = sets(tmp_path, "show", "ours", "--finding", "edema").stdout
    assert shown.startswith("Edema, positive\n  ")
    assert "From sample-7b-resolved (asked for: sample) at 127.0.0.1:" in shown
    assert "not reviewed by a radiologist" in shown
    compared = sets(tmp_path, "diff", "default", "ours")
    assert "16 sentences are in both" in compared.stderr
    assert "- Mass, negative: " in compared.stdout
    assert "\n+ " not in compared.stdout
    first = sets(tmp_path, "export", "ours", "--to", "ours.yaml")
    assert first.returncode == 0, first.stderr
    assert (
        "does not exist yet"
        in sets(tmp_path, "export", "ours", "--to", "ours.yaml").stderr
    )
    assert (tmp_path / "ours.yaml").read_text() == sets(
        tmp_path, "export", "ours"
    ).stdout
    done = sets(tmp_path, "import", "ours.yaml", "--set", "copy")
    assert "set copy: 16 sentences, 0 of them edited" in done.stdout
    assert sets(tmp_path, "diff", "ours", "copy", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("show", "nobody"), "no description set 'nobody'; it has: none"),
        (("export", "nobody"), "no description set"),
        (("diff", "default", "nobody"), "no description set"),
        (("edit", "nobody"), "no description set"),
        (("import", "nobody.yaml"), "nobody.yaml: cannot be read"),
        (("show", "default", "--finding", "Edemaa"), "unknown finding 'Edemaa'"),
    ],
)
def test_sets_that_are_not_there_are_named(
    tmp_path: Path, command: tuple[str, ...], said: str
) -> None:
    FeatureStore.create(tmp_path / "store")
    done = sets(tmp_path, *command)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Hint: " in done.stderr


def _editor(folder: Path, program: str) -> str:
    """An editor that changes its file by a line of Python over `text`."""
    path = folder / "editor.py"
    path.write_text(
        "import sys, pathlib\npath = pathlib.Path(sys.argv[-1])\n"
        f"text = path.read_text()\n{program}\npath.write_text(text)\n"
    )
    return f"{sys.executable} {path}"


def test_editing_makes_a_new_set_and_records_that_it_was_edited(
    tmp_path: Path,
) -> None:
    editor = _editor(tmp_path, "text = text.replace('Moderate', 'Rather moderate', 1)")
    done = sets(tmp_path, "edit", "default", EDITOR=editor)
    assert done.returncode == 0, done.stderr
    assert "set default-2: " in done.stdout
    assert "1 of them edited" in done.stdout
    again = sets(tmp_path, "edit", "default-2", "--set", "third", VISUAL=editor)
    assert "set third: " in again.stdout
    rows = {row.set_name: row for row in list_sets(FeatureStore(tmp_path / "store"))}
    assert (rows["third"].parent, rows["third"].made_by) == ("default-2", "edit")
    compared = sets(tmp_path, "diff", "default", "default-2").stdout.splitlines()
    assert [line[0] for line in compared] == ["-", "+"]
    assert "[edited]" in sets(tmp_path, "show", "default-2").stdout


def test_an_edit_that_changes_nothing_makes_no_set(tmp_path: Path) -> None:
    done = sets(tmp_path, "edit", "default", EDITOR="true")
    assert "nothing was changed" in done.stdout
    assert not list_sets(FeatureStore(tmp_path / "store"))


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("text = text.replace('set: ', 'sets: ')", "unknown key 'sets'"),
        ("text = text.replace('Moderate', 'No', 1)", "faults were found"),
        ("raise SystemExit(3)", "ended with code 3"),
    ],
)
def test_what_was_written_is_kept_if_it_cannot_be_entered(
    tmp_path: Path, program: str, said: str
) -> None:
    done = sets(tmp_path, "edit", "default", EDITOR=_editor(tmp_path, program))
    assert done.returncode == 2
    assert said in done.stderr
    kept = Path(done.stderr.split("is kept in ")[1].split(". ")[0])
    assert kept.is_file()
    assert kept.stat().st_mode & 0o077 == 0 or kept.parent.stat().st_mode & 0o077 == 0
    assert not list_sets(FeatureStore(tmp_path / "store"))


def test_editing_a_set_that_is_not_there_makes_no_store(tmp_path: Path) -> None:
    done = sets(tmp_path, "edit", "nobody", EDITOR="true")
    assert done.returncode == 3
    assert "Hint: " in done.stderr
    assert not (tmp_path / "store").exists()


def test_an_editor_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = sets(tmp_path, "edit", "default", EDITOR="no-such-editor")
    assert done.returncode == 2
    assert "no-such-editor" in done.stderr


def test_faulty_sentences_can_be_imported_knowingly(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(
        "set: f\ngenerator: person\ncreated_at: 2026\nfindings:\n  Edema:\n"
        "    positive: [Weather.]\n    negative: [No edema.]\n"
    )
    refused = sets(tmp_path, "import", "f.yaml")
    assert refused.returncode == 2
    assert "names neither Edema" in refused.stderr
    done = sets(tmp_path, "import", "f.yaml", "--accept-anyway")
    assert "1 kept in spite of a fault" in done.stdout
    assert "kept in spite of: mention" in sets(tmp_path, "show", "f").stdout
