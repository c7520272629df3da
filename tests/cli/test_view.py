"""`view` on the command line: what it refuses, and that it serves and ends."""

import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from command_line import run_command
from store_samples import filled_store

pytestmark = pytest.mark.e2e


@pytest.fixture
def store(tmp_path: Path) -> Path:
    filled_store(tmp_path / "s")
    return tmp_path / "s"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--user", ""), "user's name"),
        (("--user", "a\x1b[31m"), "user's name"),
        (("--fingerprint", "ffff"), "no encoder"),
    ],
)
def test_what_cannot_be_is_told(
    store: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = run_command("view", "--store", store, "--no-browser", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "\x1b" not in done.stderr


def test_a_store_that_is_not_there_and_a_port_that_is_taken(store: Path) -> None:
    assert run_command("view", "--store", store.parent / "none").returncode == 3
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_command("view", "--store", store, "--no-browser", "--port", port)
    assert done.returncode == 2
    assert f"port {port}" in done.stderr


def test_it_serves_this_machine_until_it_is_ended(store: Path) -> None:
    command = "from retune.cli.main import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", command, "view", "--store", str(store), "--no-browser"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    with urlopen(address) as answer:
        assert answer.status == 200
    with pytest.raises(HTTPError) as refused:
        urlopen(address.split("?")[0] + "images")
    assert refused.value.code == 403
    refused.value.close()
    server.send_signal(signal.SIGINT)
    _, told = server.communicate(timeout=60)
    assert server.returncode == 0, told
    assert "403 GET /images: no token" in told
    assert "Traceback" not in told
