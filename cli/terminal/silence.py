"""``--quiet`` on every command: silent when all is well."""

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout

__all__ = ["is_silenced", "run_silently", "without_quiet"]

#: Commands that do something; what the others print is what they were asked for.
_DOING = frozenset(
    {
        "demo", "ingest", "embed", "import-vectors", "train", "merge", "report",
        "verify", "repair", "nightly", "forget", "drift", "export-model",
    }
)  # fmt: skip
#: Options by which output is asked for all the same.
_ASKED = ("--json", "--csv", "--markdown", "--help", "-h", "--propose", "--dry-run")
_QUIET = ("--quiet", "-q")


def is_silenced(arguments: Sequence[str]) -> bool:
    """Whether a command line is to print nothing if it succeeds.

    >>> is_silenced(["embed", "-q"]), is_silenced(["sql", "FROM images", "-q"])
    (True, False)
    """
    verb = next((one for one in arguments if not one.startswith("-")), "")
    is_asked = any(one in _ASKED for one in arguments)
    return verb in _DOING and not is_asked and any(q in arguments for q in _QUIET)


def without_quiet(
    arguments: Sequence[str], knows_quiet: Callable[[str], bool]
) -> list[str]:
    """The arguments without ``--quiet`` where the command has no such option.

    Args:
        arguments: Arguments of the command line.
        knows_quiet: Whether a verb has the option itself.
    """
    verb = next((one for one in arguments if not one.startswith("-")), "")
    if not verb or knows_quiet(verb):
        return list(arguments)
    return [one for one in arguments if one not in _QUIET]


def run_silently(command: Callable[[], int]) -> int:
    """Run a command; what it prints is shown only if it fails.

    Args:
        command: Gives its exit code.
    """
    with redirect_stdout(io.StringIO()) as said:
        code = command()
    if code:
        sys.stdout.write(said.getvalue())
    return code
