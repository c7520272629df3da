"""Decoding in processes of their own, with limits of memory and time.

A native decoder may abort, loop for ever or take all memory. It then costs a process
that did nothing else, and its image becomes a failure like any other. The processes
import no torch, are started anew (never forked from threads that hold locks), and read
images from a pipe one after the other; pixels come back through another.
"""

import atexit
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from io import FileIO
from typing import Final, cast

from PIL import Image

from retune.store.errors import BackboneError, ConfigurationError, ImageError

from ...platform.processor import usable_cores
from .picture import Picture

__all__ = ["TIME_LIMIT_VARIABLE", "decode_apart", "end_decoding", "time_limit"]

#: Name of the environment variable that sets the seconds that one image may take.
TIME_LIMIT_VARIABLE: Final = "RETUNE_DECODE_SECONDS"
_SECONDS: Final = 60
#: The kernel ends a process at its limit; only if that fails, this much later, we do.
_GRACE_SECONDS: Final = 5.0
_START_SECONDS: Final = 60.0
_REQUEST: Final = struct.Struct("<QQQI")
_LENGTH: Final = struct.Struct("<Q")
_CHUNK: Final = 1 << 20


def time_limit() -> int:
    """Seconds that decoding one image may take.

    Raises:
        ConfigurationError: The environment variable is not a number.
    """
    given = os.environ.get(TIME_LIMIT_VARIABLE, str(_SECONDS))
    if not given.isascii() or not given.isdigit() or int(given) == 0:
        raise ConfigurationError(
            f"{TIME_LIMIT_VARIABLE}={given} must be a positive number of seconds",
            f"Unset it for the default of {_SECONDS}.",
        )
    return int(given)


class _ProcessEndedError(Exception):
    """A decoding process is gone, or takes too long.

    Attributes:
        late: Whether it took too long.
    """

    def __init__(self, *, late: bool = False) -> None:
        super().__init__()
        self.late = late


class _DecodingProcess:
    """One process that decodes; see `worker` for its side."""

    def __init__(self) -> None:
        paths = [path for path in sys.path if path]
        self._process = subprocess.Popen(
            # -P: no file of the working directory is imported.
            [sys.executable, "-P", "-m", "retune.pipeline.encode.images.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **_ONE_THREAD},
            start_new_session=True,  # Ctrl-C is for us; it ends when we do
            bufsize=0,
        )
        # Pipes without a buffer are FileIO.
        self._in = cast("FileIO", self._process.stdin)
        self._out = cast("FileIO", self._process.stdout)
        try:
            self._read(1, time.monotonic() + _START_SECONDS)
        except _ProcessEndedError as error:
            self.end()
            raise BackboneError(
                "a process that decodes images cannot be started",
                "Is there memory left, and may this process start others?",
            ) from error

    def decode(
        self, content: bytes, max_pixels: int, at_least: int, seconds: int
    ) -> Picture:
        """Have an image decoded.

        Raises:
            ImageError: There is no picture in it.
            _ProcessEndedError: The process died or took too long.
        """
        request = _REQUEST.pack(len(content), max_pixels, at_least, seconds)
        try:
            _write(self._in, request)
            _write(self._in, content)
        except OSError as error:
            raise _ProcessEndedError from error
        deadline = time.monotonic() + seconds + _GRACE_SECONDS
        (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline))
        reply = json.loads(bytes(self._read(length, deadline)))
        if "error" in reply:
            raise ImageError(reply["error"])
        size = (reply["width"], reply["height"])
        n_bytes = size[0] * size[1] * len(reply["mode"])
        pixels = self._read(n_bytes, deadline)
        image = Image.frombuffer(
            reply["mode"], size, pixels, "raw", reply["mode"], 0, 1
        )
        return Picture(image, reply["display"])

    def _read(self, n_bytes: int, deadline: float) -> bytearray:
        content = bytearray(n_bytes)
        view, filled = memoryview(content), 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while filled < n_bytes:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise _ProcessEndedError(late=True)
                got = self._out.readinto(view[filled : filled + _CHUNK])
                if not got:
                    raise _ProcessEndedError
                filled += got
        return content

    def kill(self) -> None:
        """Kill the process; whoever waits for it finds its pipe closed."""
        self._process.kill()

    def end(self) -> int:
        """End the process and give its exit status; negative: a signal."""
        self._process.kill()
        status = self._process.wait()
        for pipe in (self._in, self._out):
            pipe.close()
        return status

    def ended_by(self) -> int:
        """Wait a moment for a process that closed its pipe, and give its status."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        return self.end()


_ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}


def _write(pipe: FileIO, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[pipe.write(view) :]


class _Pool:
    """Decoding processes: as many as there are callers at a time, and cores."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(max(1, usable_cores()))
        self._idle: list[_DecodingProcess] = []
        self._busy: set[_DecodingProcess] = set()

    def decode(self, content: bytes, max_pixels: int, at_least: int) -> Picture:
        """See `decode_apart`."""
        seconds = time_limit()
        with self._turns:
            process = self._take()
            try:
                picture = process.decode(content, max_pixels, at_least, seconds)
            except _ProcessEndedError as ended:
                status = process.end() if ended.late else process.ended_by()
                self._forget(process)
                late = ended.late or status == -signal.SIGALRM
                raise ImageError(_reason(status, seconds, late=late)) from None
            except ImageError:
                self._give_back(process)
                raise
            except BaseException:
                process.end()  # it is in the middle of an image
                self._forget(process)
                raise
            self._give_back(process)
            return picture

    def _take(self) -> _DecodingProcess:
        with self._lock:
            process = self._idle.pop() if self._idle else None
        process = process or _DecodingProcess()
        with self._lock:
            self._busy.add(process)
        return process

    def _give_back(self, process: _DecodingProcess) -> None:
        with self._lock:
            self._busy.discard(process)
            self._idle.append(process)

    def _forget(self, process: _DecodingProcess) -> None:
        with self._lock:
            self._busy.discard(process)

    def end(self) -> None:
        """End all processes; whoever waits for one gets an error."""
        with self._lock:
            idle, self._idle = self._idle, []
            busy = list(self._busy)
        for process in busy:
            process.kill()
        for process in idle:
            process.end()


_pool = _Pool()


def decode_apart(content: bytes, max_pixels: int, at_least: int = 0) -> Picture:
    """Decode an image file in a process of its own.

    Args:
        content: The bytes of the file.
        max_pixels: More are refused before they are decoded.
        at_least: See `retune.pipeline.encode.images.decode.decode_image`.

    Raises:
        ImageError: There is no picture in it; or the process died or took longer than
            `time_limit` allows. The next image gets another process.
        BackboneError: No such process can be started.
        ConfigurationError: The limit in the environment is not a number.
    """
    return _pool.decode(content, max_pixels, at_least)


def end_decoding() -> None:
    """End all decoding processes at once; what they were at becomes an error."""
    _pool.end()


def _reason(status: int, seconds: int, *, late: bool) -> str:
    if late:
        return (
            f"decoding it took longer than the limit of {seconds} s "
            f"({TIME_LIMIT_VARIABLE} raises it)"
        )
    if status < 0:
        name = signal.Signals(-status).name
        return f"its decoder ended by {name}: the file is damaged or hostile"
    return f"its decoder ended with status {status}: the file is damaged or hostile"


atexit.register(end_decoding)
