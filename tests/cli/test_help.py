"""Help texts: kept in a golden file, each with an example."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retune.cli.main import app

_GOLDEN = Path(__file__).with_name("help.txt")
_VERBS = (
    *(str(command.name) for command in app.registered_commands),
    *(str(group.name) for group in app.registered_groups),
    *(
        f"{group.name} {command.name}"
        for group in app.registered_groups
        if group.typer_instance is not None
        for command in group.typer_instance.registered_commands
    ),
)


def _help(*arguments: str) -> str:
    done = subprocess.run(
        [
            sys.executable, "-c",
            "import sys; sys.argv[0] = 'retune-cli'; "
            "from retune.cli.main import main; main()",
            *arguments, "--help",
        ],
        capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "88", "TERMINAL_WIDTH": "88"},
    )  # fmt: skip
    return done.stdout


def test_help_texts_are_the_golden_ones() -> None:
    """Run with RETUNE_WRITE_GOLDEN=1 after a deliberate change, and read the diff."""
    help_text = "\n".join(
        f"$ retune-cli {' '.join([*verb, '--help'])}\n{_help(*verb)}"
        for verb in [(), *[tuple(verb.split()) for verb in _VERBS]]
    )
    if os.environ.get("RETUNE_WRITE_GOLDEN"):
        _GOLDEN.write_text(help_text, encoding="utf-8")
    assert help_text == _GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", _VERBS)
def test_every_verb_has_an_example(verb: str) -> None:
    assert f"Example: retune-cli {verb}" in " ".join(_help(*verb.split()).split())
