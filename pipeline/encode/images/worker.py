"""A process that decodes images which `isolation` sends; its other side."""

import json
import os
import resource
import signal
import struct
import sys
import warnings
from io import FileIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .picture import Picture

    Decode = Callable[[bytes, int, int], Picture]

__all__ = ["main"]

_REQUEST = struct.Struct("<QQQI")
_LENGTH = struct.Struct("<Q")
#: What the interpreter and its packages take before an image comes.
_OWN_BYTES = 1 << 28


def main() -> None:
    """Read images from standard input and write pixels to standard output."""
    source, target = FileIO(os.dup(0), "rb"), FileIO(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # decoders in C write to these
        os.dup2(nothing, stream)
    warnings.simplefilter("ignore")  # nobody reads standard error here
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    import pydicom  # noqa: F401 - before the clock of the first image runs

    from . import unpacking
    from .bounds import most_bytes

    _send(target, b"\1")
    while request := _receive(source, _REQUEST.size):
        n_bytes, max_pixels, at_least, seconds = _REQUEST.unpack(request)
        content = _receive(source, n_bytes)
        if content is None:
            return
        _limit_memory(most_bytes(max_pixels) + _OWN_BYTES)
        signal.alarm(seconds)  # ends the process, whatever it is at
        _answer(target, unpacking.decode_here, bytes(content), max_pixels, at_least)
        signal.alarm(0)


def _answer(
    target: FileIO, decode: "Decode", content: bytes, max_pixels: int, at_least: int
) -> None:
    from retune.store.errors import ImageError

    try:
        picture = decode(content, max_pixels, at_least)
        pixels = picture.image.tobytes()
    except ImageError as error:
        _reply(target, {"error": error.message})
    except MemoryError:
        _reply(target, {"error": "decoding it needs more memory than is allowed"})
    # The last line of defence: what a decoder raises is a reason, not an end.
    except Exception as error:  # noqa: BLE001
        _reply(target, {"error": f"damaged image ({type(error).__name__})"})
    else:
        width, height = picture.image.size
        reply = {"mode": picture.image.mode, "width": width, "height": height}
        _reply(target, {**reply, "display": picture.display})
        _send(target, pixels)


def _reply(target: FileIO, reply: dict[str, object]) -> None:
    text = json.dumps(reply).encode()
    _send(target, _LENGTH.pack(len(text)) + text)


def _send(target: FileIO, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[target.write(view) :]


def _receive(source: FileIO, n_bytes: int) -> bytearray | None:
    """The next `n_bytes` bytes; None if the other side is gone."""
    content = bytearray(n_bytes)
    view, filled = memoryview(content), 0
    while filled < n_bytes:
        got = source.readinto(view[filled:])
        if not got:
            return None
        filled += got
    return content


def _limit_memory(n_bytes: int) -> None:
    for limit in (resource.RLIMIT_DATA, resource.RLIMIT_CORE):
        _, hard = resource.getrlimit(limit)
        wanted = n_bytes if limit == resource.RLIMIT_DATA else 0
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(limit, (soft, hard))


if __name__ == "__main__":
    main()
    sys.exit(0)
