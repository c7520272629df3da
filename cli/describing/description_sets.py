"""`retune-cli describe show|diff|export`: named sets of descriptions."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import JsonOption, StoreOption
from ..terminal.printing import print_json, print_line, print_table, remark
from .set_entry import SetArgument, edit_command, import_command

if TYPE_CHECKING:
    from retune.pipeline.describe.members import Member

__all__ = ["add_set_commands"]


def add_set_commands(app: typer.Typer) -> None:
    """Add the verbs to a group."""
    app.command("show")(show_command)
    app.command("diff")(diff_command)
    app.command("edit")(edit_command)
    app.command("import")(import_command)
    app.command("export")(export_command)


def show_command(
    set_name: Annotated[
        str | None,
        typer.Argument(metavar="[SET]", help="One set [list all]."),
    ] = None,
    finding: Annotated[
        str | None, typer.Option("--finding", help="Only this finding.")
    ] = None,
    store: StoreOption = Path("feature-store"),
    json: JsonOption = False,
) -> None:
    """List the sets, or show the sentences of one and where they come from.

    Example: retune-cli describe show default --finding Edema
    """
    from retune.pipeline.app.describing.description_sets import read_sentences
    from retune.pipeline.describe.members import member_to_json

    if set_name is None:
        _list_sets(store, json=json)
        return
    chosen = read_sentences(store, set_name, finding)
    if json:
        print_json([member_to_json(member) for member in chosen])
        return
    heading = ("", "")
    for member in chosen:
        row = member.description
        if (row.finding, row.polarity) != heading:
            heading = (row.finding, row.polarity)
            print_line(f"{row.finding}, {row.polarity}")
        print_line(f"  {row.text}{_remarks(member)}")
    print_line()
    for line in sorted({_from(member) for member in chosen}):
        print_line(line)


def _remarks(member: "Member") -> str:
    said = ["edited"] if member.description.edited else []
    said += [f"kept in spite of: {rule}" for rule in member.accepted]
    return f"  [{'; '.join(said)}]" if said else ""


def _from(member: "Member") -> str:
    row, origin = member.description, member.origin
    reviewed = "" if row.reviewed else ", not reviewed by a radiologist"
    if origin is None:
        made = f"{row.generator} {row.model}".strip()
        return f"From {made}, {row.created_at} ({row.source}){reviewed}"
    return (
        f"From {origin.resolved_model} (asked for: {origin.requested_model}) at "
        f"{origin.host}, {origin.asked_at}, instruction {origin.template} "
        f"{origin.template_version}, prompt {origin.prompt_digest[:8]}, response "
        f"{origin.response_digest[:8]}{reviewed}"
    )


def _list_sets(store: Path, *, json: bool) -> None:
    from retune.pipeline.app.describing.description_sets import every_set

    rows, has_store = every_set(store)
    if not has_store:
        remark(f"There is no store at {store} yet; these sets ship with retune.")
    if json:
        print_json([vars(row) for row in rows])
        return
    print_table(
        ("set", "made by", "from", "language", "sentences", "created"),
        [tuple(vars(row).values()) for row in rows],
    )


def diff_command(
    first: Annotated[str, typer.Argument(metavar="SET", help="The one set.")],
    second: Annotated[str, typer.Argument(metavar="SET", help="The other set.")],
    store: StoreOption = Path("feature-store"),
    json: JsonOption = False,
) -> None:
    """Show which sentences only one of two sets has.

    Example: retune-cli describe diff default ours
    """
    from retune.pipeline.app.describing.description_sets import compare_sets

    comparison = compare_sets(store, first, second)
    if json:
        print_json(
            [
                {
                    "in": one.set_name,
                    "finding": one.finding,
                    "polarity": one.polarity,
                    "text": one.text,
                }
                for one in comparison.differences
            ]
        )
        return
    for one in sorted(comparison.differences, key=lambda d: (d.finding, d.polarity)):
        mark = "-" if one.set_name == first else "+"
        print_line(f"{mark} {one.finding}, {one.polarity}: {one.text}")
    remark(
        f"{counted(comparison.n_in_both, 'sentence', 'are')} in both; - only in "
        f"{first}, + only in "
        f"{second}"
    )


def export_command(
    set_name: SetArgument,
    to: Annotated[
        Path | None, typer.Option("--to", help="A new YAML file [standard output].")
    ] = None,
    store: StoreOption = Path("feature-store"),
) -> None:
    """Write a set as YAML, with all that is known of each sentence.

    Example: retune-cli describe export ours --to ours.yaml
    """
    from retune.pipeline.app.describing.description_sets import set_text
    from retune.store.errors import ConfigurationError

    text, n_sentences = set_text(store, set_name)
    if to is None:
        print_line(text.rstrip("\n"))
        return
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(
            f"{to}: cannot be written: {error.strerror}",
            "Name a file that does not exist yet, in a folder that does.",
        ) from error
    print_line(f"{to}: {counted(n_sentences, 'sentence')} of {set_name}")
