"""Files that hang or cannot be used: `embed` ends, says why, and has a code for it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run_command
from hostile import HOSTILE, HOSTILE_FILES
from image_samples import write_images, write_table, write_tiny_backbone

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


def ingest(folder: Path, names: list[str]) -> None:
    write_table(folder / "data", names)
    done = run_command("ingest", "data", "--layout", "table", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_an_embed_that_can_use_no_image_has_a_code_of_its_own(
    tmp_path: Path, backbone: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"no image")
    HOSTILE_FILES["pipe"](tmp_path / "data" / "b.png")
    ingest(tmp_path, ["a.png", "b.png", "gone.png"])
    for form in ((), ("--json",)):
        done = run_command("embed", "--backbone", backbone, *form, cwd=tmp_path)
        assert done.returncode == 5, done.stderr
        assert "Traceback" not in done.stderr
        assert "none of the 3 images could be encoded" in done.stderr
        for reason in ("not a PNG", "no regular file", "No such file"):
            assert reason in done.stderr
    assert json.loads(done.stdout)["images_encoded"] == 0
    write_images(tmp_path / "data", ["gone.png"])
    done = run_command("embed", "--backbone", backbone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_sigterm_does_not_wait_for_a_decoder_that_never_ends(
    tmp_path: Path, backbone: str
) -> None:
    write_images(tmp_path / "data", ["a.png"])
    (tmp_path / "data" / "b.dcm").write_bytes(HOSTILE["JPEG 2000 box of length 0"]())
    ingest(tmp_path, ["a.png", "b.dcm"])
    program = (
        "import os, signal, sys, threading, time\n"
        "from retune.pipeline.encode.images import isolation\n"
        "def terminate():\n"
        "    while not isolation._pool._busy:\n"
        "        time.sleep(0.01)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=terminate, daemon=True).start()\n"
        "from retune.cli.main import main\n"
        f"sys.argv = ['retune-cli', 'embed', '--backbone', {backbone!r}]\n"
        "main()"
    )
    stopped = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path,
        check=False, timeout=50,
    )  # fmt: skip
    assert stopped.returncode == 143, stopped.stderr
    assert "Traceback" not in stopped.stderr
    failures = run_command("sql", "FROM failures", "--json", cwd=tmp_path)
    assert json.loads(failures.stdout or "[]") == []
