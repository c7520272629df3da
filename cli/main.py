"""The command `retune-cli`: its verbs in the order of use."""

import inspect
import shlex
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from retune.pipeline.platform.processor import let_threads_sleep

from .care import repair_command, verify_command
from .demo import demo_command
from .describing.describe import describe_app
from .embed import embed_command
from .encoders.backbones import backbones_app
from .encoders.export import export_command
from .encoders.import_vectors import import_vectors_command
from .erasing.forget import forget_command
from .erasing.state import state_command
from .explain import explain_command
from .exporting.export_model import export_model_command
from .findings import findings_command
from .ingest import ingest_command
from .measuring.compare import compare_command
from .measuring.curve import curve_command
from .measuring.drift import drift_command
from .measuring.evaluate import evaluate_command
from .measuring.group import audit_app
from .merge import merge_command
from .nightly.nightly import nightly_command
from .predict import predict_command
from .query import sql_command, status_command
from .report import report_command
from .run_entries import runs_app
from .search import search_command
from .terminal.boundary import run_guarded
from .terminal.log import RunLog, known_format, logging_to, take_log_options
from .terminal.silence import is_silenced, run_silently, without_quiet
from .train import train_command
from .view import view_command

__all__ = ["app", "main", "run_arguments"]


class _InOrder(typer.core.TyperGroup):
    """Lists verbs in the order of use; groups would come last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the verbs."""
        del ctx
        return list(_COMMANDS)


app: typer.Typer = typer.Typer(
    name="retune-cli",
    cls=_InOrder,
    help="Encode chest X-rays once, then train adaptors on them in seconds. "
    "Research software, not a medical device.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"retune-cli {version('retune-cli')}\n")
        raise typer.Exit


@app.callback()
def _root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda wanted: _print_version(wanted=wanted),
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log",
            help="Append messages to a log file, one line each [RETUNE_LOG];"
            " also allowed after the command.",
        ),
    ] = None,
    log_format: Annotated[
        str, typer.Option("--log-format", help="Format of the log: text or json.")
    ] = "text",
) -> None:
    del show_version  # an eager callback has printed it
    del debug, log, log_format  # read in `main`, before anything can fail


_COMMANDS: dict[str, Callable[..., None] | typer.Typer] = {
    "demo": demo_command,
    "ingest": ingest_command,
    "findings": findings_command,
    "describe": describe_app,
    "embed": embed_command,
    "import-vectors": import_vectors_command,
    "backbones": backbones_app,
    "train": train_command,
    "curve": curve_command,
    "merge": merge_command,
    "evaluate": evaluate_command,
    "compare": compare_command,
    "predict": predict_command,
    "drift": drift_command,
    "search": search_command,
    "audit": audit_app,
    "view": view_command,
    "sql": sql_command,
    "nightly": nightly_command,
    "report": report_command,
    "runs": runs_app,
    "status": status_command,
    "verify": verify_command,
    "repair": repair_command,
    "forget": forget_command,
    "state": state_command,
    "explain": explain_command,
    "export": export_command,
    "export-model": export_model_command,
}
for _name, _command in _COMMANDS.items():
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name)(_command)


def main() -> None:
    """Run the command line and leave with its exit code."""
    let_threads_sleep()  # before any verb loads torch
    arguments, file, form = take_log_options(sys.argv[1:])
    if not known_format(form):
        sys.stderr.write(f"Error: --log-format {form}: use text or json\n")
        sys.exit(2)
    log = None if file is None else RunLog(Path(file), form)
    if log is not None:
        try:
            log.write("info", "retune-cli")
        except OSError as error:
            sys.stderr.write(f"Error: cannot write {file}: {error.strerror}\n")
            sys.exit(2)
    with logging_to(log, shlex.join(["retune-cli", *arguments])) as codes:
        codes.append(run_arguments(arguments))
    sys.exit(codes[-1])


def run_arguments(arguments: list[str]) -> int:
    """Run a command by its arguments and give its exit code."""
    silenced = is_silenced(arguments)
    given = without_quiet(arguments, _knows_quiet)
    debug = "--debug" in given

    def run() -> int:
        return run_guarded(lambda: _command_line()(given, "retune-cli"), debug=debug)

    return run_silently(run) if silenced else run()


@cache
def _command_line() -> typer.core.TyperGroup:
    """All verbs; building them takes longer than many a command."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return group


def _knows_quiet(verb: str) -> bool:
    command = _COMMANDS.get(verb)
    if command is None or isinstance(command, typer.Typer):
        return True  # its commands say so themselves
    return "quiet" in inspect.signature(command).parameters
