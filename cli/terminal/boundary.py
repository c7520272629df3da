"""The one place where errors become words and exit codes.

Exit codes: 0 done; 1 unexpected; 2 wrong option or name; 3 the store; 4 images, labels,
backbone or run; 5 `embed` had images to encode and could use none; 6 done, but some
images could not be used (with --strict, and `nightly`); 7 nothing to do was found where
something was expected; 130 Ctrl-C; 143 SIGTERM.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from retune.store.errors import RetuneError

from .log import log_line
from .printing import visible
from .wording import in_options

__all__ = ["run_guarded"]

_RESUME = "Finished work is kept; run the same command again to go on."


class _Signals:
    """Turns SIGTERM into what Ctrl-C is, and remembers which of them it was."""

    def __init__(self) -> None:
        self.terminated = False

    def on_terminate(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.terminated = True
        raise KeyboardInterrupt


def run_guarded(command: Callable[[], object], *, debug: bool = False) -> int:
    """Run a command line and give its exit code.

    Args:
        command: Parses and runs; may raise or exit.
        debug: Show tracebacks.
    """
    debug = debug or bool(os.environ.get("RETUNE_DEBUG"))
    signals = _Signals()
    signal.signal(signal.SIGTERM, signals.on_terminate)
    try:
        command()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        code = 130
    except RetuneError as error:
        _show(error, debug=debug)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last line of defence, and it tells
        unexpected = RetuneError(
            f"unexpected {type(error).__name__}: {error}",
            "This is a fault of retune. Please report it with the output of the same "
            "command under RETUNE_DEBUG=1.",
        )
        unexpected.__cause__ = error
        _show(unexpected, debug=debug)
        return unexpected.exit_code
    else:
        code = 0
    if code == 130:
        sys.stderr.write(f"\nInterrupted. {_RESUME}\n")
        return 143 if signals.terminated else 130
    return code


def _show(error: RetuneError, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    log_line("error", visible(in_options(error.message)))
    sys.stderr.write(f"Error: {visible(in_options(error.message))}\n")
    if error.hint:
        sys.stderr.write(f"Hint: {visible(in_options(error.hint))}\n")
    if error.code != RetuneError.code:
        sys.stderr.write(f"More: retune-cli explain {error.code}\n")
