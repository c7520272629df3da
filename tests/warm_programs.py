"""Programs that start at once: forked from a process that waits.

A page of the documentation calls `retune-cli` as a shell does, with its own folder,
environment, input, output and exit code, and a notebook has a kernel of its own. Only
the start-up is shared, most of which loads torch and open_clip.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

__all__ = ["warm_programs"]

#: What the shell starts instead: hands over all that a process has, and waits.
_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    whole = json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(whole).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(whole)
    code = server.recv(1)
sys.exit(code[0] if code else 1)
"""


@contextmanager
def warm_programs(folder: Path) -> Iterator[Path]:
    """A folder with programs for PATH, `retune-cli` and `kernel`, during the block.

    Args:
        folder: An empty one, with a short path.
    """
    address = str(folder / "socket")
    programs = folder / "bin"
    programs.mkdir()
    for name in ("retune-cli", "kernel"):
        client = _CLIENT.format(python=sys.executable, address=address)
        (programs / name).write_text(client)
        (programs / name).chmod(0o755)
    with subprocess.Popen(
        [sys.executable, __file__, address], stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        try:
            yield programs
        finally:
            server.terminate()


#: What most commands would load themselves.
_LOADED = (
    "open_clip",
    "pandas",
    "pyarrow.parquet",
    "retune.cli.main",
    "retune.pipeline.app.embed",
    "retune.pipeline.app.train",
    "retune.pipeline.encode.backbones.mini",
)


def _bury(*_: object) -> None:
    """Wait for those that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _serve(address: str) -> None:
    """Fork for each call until the process is ended."""
    from retune.pipeline.platform.processor import let_threads_sleep

    let_threads_sleep()  # before torch is loaded
    for name in _LOADED:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        signal.signal(signal.SIGCHLD, _bury)
        while True:
            call, _ = listening.accept()
            with call:
                if os.fork() == 0:
                    listening.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    _answer(call)


def _answer(call: socket.socket) -> NoReturn:
    """Become the process that was called for, and send its exit code."""
    code: object = 1
    try:
        size, descriptors, *_ = socket.recv_fds(call, 4, 3)
        whole = b""
        while len(whole) < int.from_bytes(size, "big"):
            whole += call.recv(1 << 16)
        arguments, folder, environment = json.loads(whole)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = arguments
        tempfile.tempdir = None  # the environment may name another
        _run(Path(arguments[0]).name)
    except SystemExit as stop:
        code = stop.code
    finally:
        for stream in (sys.__stdout__, sys.__stderr__):  # a kernel has others, closed
            if stream is not None:
                stream.flush()
        call.sendall(bytes([code if isinstance(code, int) else 1]))
        os._exit(0)


def _run(name: str) -> None:
    if name == "retune-cli":
        from retune.cli.main import main

        main()
    else:
        from ipykernel.kernelapp import launch_new_instance

        launch_new_instance()


if __name__ == "__main__":
    _serve(sys.argv[1])
