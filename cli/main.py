"""The command `retune-cli`: its verbs in the order of use."""

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
import typer.core

from .care import repair_command, verify_command
from .demo import demo_command
from .describing.describe import describe_app
from .embed import embed_command
from .erasing.forget import forget_command
from .erasing.state import state_command
from .explain import explain_command
from .export import export_command
from .findings import findings_command
from .import_vectors import import_vectors_command
from .ingest import ingest_command
from .measuring.compare import compare_command
from .measuring.curve import curve_command
from .measuring.drift import drift_command
from .measuring.evaluate import evaluate_command
from .measuring.group import audit_app
from .merge import merge_command
from .predict import predict_command
from .query import sql_command, status_command
from .report import report_command
from .run_entries import runs_app
from .search import search_command
from .terminal.boundary import run_guarded
from .train import train_command
from .view import view_command

__all__ = ["app", "main"]


class _InOrder(typer.core.TyperGroup):
    """Lists verbs in the order of use; groups would come last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of the verbs."""
        del ctx
        return list(_COMMANDS)


app = typer.Typer(
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
) -> None:
    del show_version  # an eager callback has printed it
    del debug  # read from the arguments in `main`, before anything can fail


_COMMANDS: dict[str, Callable[..., None] | typer.Typer] = {
    "demo": demo_command,
    "ingest": ingest_command,
    "findings": findings_command,
    "describe": describe_app,
    "embed": embed_command,
    "import-vectors": import_vectors_command,
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
    "report": report_command,
    "runs": runs_app,
    "status": status_command,
    "verify": verify_command,
    "repair": repair_command,
    "forget": forget_command,
    "state": state_command,
    "explain": explain_command,
    "export": export_command,
}
for _name, _command in _COMMANDS.items():
    if isinstance(_command, typer.Typer):
        app.add_typer(_command, name=_name)
    else:
        app.command(_name)(_command)


def main() -> None:
    """Run the command line and leave with its exit code."""
    sys.exit(run_guarded(app, debug="--debug" in sys.argv[1:]))
