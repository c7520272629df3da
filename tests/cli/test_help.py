"""Help texts: kept in a golden file, each with an example."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from command_line import run_command

from retune.cli.main import app
from retune.cli.terminal.log import take_log_options
from retune.pipeline.learn.methods.analytic.method import AnalyticOptions
from retune.pipeline.learn.methods.ewc import ElasticWeightsOptions
from retune.pipeline.learn.methods.lwf import DistillationOptions
from retune.pipeline.learn.methods.mask import UpdateMaskOptions
from retune.pipeline.learn.methods.ranpac import RanPacOptions
from retune.pipeline.learn.methods.replay import ReplayOptions
from retune.pipeline.learn.problem.config import PRESETS

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
    done = run_command(*arguments, "--help", COLUMNS="88")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_process_prints_the_same() -> None:
    done = subprocess.run(
        [
            sys.executable, "-c",
            "import sys; sys.argv[0] = 'retune-cli'; "
            "from retune.cli.main import main; main()",
            "train", "--help",
        ],
        capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "88", "TERMINAL_WIDTH": "88"},
    )  # fmt: skip
    assert done.stdout == _help("train")


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


def _commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield " ".join((*words, name)), command
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))


_COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize("verb", _COMMANDS)
def test_every_option_and_argument_says_what_it_does(verb: str) -> None:
    for parameter in _COMMANDS[verb].params:
        said = parameter.help or ""
        assert re.fullmatch(r"\S.{4,}[.]", said, re.DOTALL), (
            verb,
            parameter.name,
            said,
        )


def _examples(verb: str) -> list[str]:
    paragraphs = re.split(r"\n\s*\n", _COMMANDS[verb].help or "")
    return [
        " ".join(line.split())
        for paragraph in paragraphs
        for line in paragraph.split("Example: ")[1:]
    ]


@pytest.mark.parametrize("verb", _COMMANDS)
def test_every_example_is_one_that_its_command_takes(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options, values and arguments are parsed as on the command line."""
    monkeypatch.chdir(tmp_path)
    examples = _examples(verb)
    assert examples or hasattr(_COMMANDS[verb], "commands")
    for example in examples:
        for line in re.split(r" && | \| ", example):
            if line.startswith("retune-cli "):
                verb, given = _split(take_log_options(shlex.split(line)[1:])[0])
                _COMMANDS[verb].make_context(verb, given)


def _split(words: list[str]) -> tuple[str, list[str]]:
    """The name of the command that a line calls, and what the line gives it."""
    n = 2 if " ".join(words[:2]) in _COMMANDS else 1
    return " ".join(words[:n]), words[n:]


def _option(verb: str, name: str) -> str:
    (said,) = (
        str(p.help) for p in _COMMANDS[verb].params if name in getattr(p, "opts", ())
    )
    return said


@pytest.mark.parametrize(
    "name",
    [
        "adaptor", "placement", "pooling", "epochs", "learning_rate", "batch_size",
        "patience", "caution", "seed",
    ],
)  # fmt: skip
def test_defaults_of_train_are_those_of_the_preset(name: str) -> None:
    said = _option("train", "--" + name.replace("_", "-"))
    shown = re.findall(r"\[([^\]]+)\]\.$", said)
    default = getattr(PRESETS["default"], name)
    assert [type(default)(one) for one in shown] == [default]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("replay", ReplayOptions),
        ("lwf", DistillationOptions),
        ("ewc", ElasticWeightsOptions),
        ("mask", UpdateMaskOptions),
        ("analytic", AnalyticOptions),
        ("ranpac", RanPacOptions),
    ],
)
def test_options_of_methods_are_listed_with_their_defaults(
    method: str, options: type
) -> None:
    (listed,) = re.findall(rf"\b{method}: ([^;]+?)(?:;|\.$)", _option("train", "--set"))
    shown = dict(one.split("=") for one in listed.split(", "))
    defaults = {field.name: field.default for field in fields(options)}
    assert {k: type(defaults[k])(v) for k, v in shown.items()} == defaults
