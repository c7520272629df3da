"""`retune-cli explain`: what an error means and what to do."""

from typing import Annotated

import typer

from .terminal.explanations import EXPLANATIONS, explain
from .terminal.printing import print_line, print_table

__all__ = ["explain_command"]


def explain_command(
    code: Annotated[
        str | None,
        typer.Argument(help="Code of the error, such as store-busy."),
    ] = None,
) -> None:
    """Explain an error: its meaning, an example, what to do. Without CODE: list them.

    Example: retune-cli explain store-busy
    """
    if code is not None:
        print_line(explain(code).text)
        return
    rows = [
        (known.error.code, known.error.exit_code, known.error.__doc__ or "")
        for known in EXPLANATIONS
    ]
    print_table(["code", "exit code", "meaning"], rows)
