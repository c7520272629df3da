"""The group `retune-cli audit`."""

import typer

from .duplicates import duplicates_command
from .labels import labels_command

__all__ = ["audit_app"]

audit_app: typer.Typer = typer.Typer(
    help="Find labels and pictures to look at again; nothing is changed.\n\n"
    "Example: retune-cli audit labels --findings Pneumonia",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
audit_app.command("labels")(labels_command)
audit_app.command("duplicates")(duplicates_command)
