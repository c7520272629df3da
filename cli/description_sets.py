"""`retune-cli describe show|diff|edit|import|export`: named sets of descriptions."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import JsonOption, StoreOption
from .printing import print_json, print_line, print_table, remark

if TYPE_CHECKING:
    from retune.pipeline.describe.exchange import Imported
    from retune.pipeline.describe.members import Member
    from retune.store import FeatureStore

__all__ = ["add_set_commands"]

_SetArgument = Annotated[str, typer.Argument(metavar="SET", help="Name of the set.")]
_NameOption = Annotated[str | None, typer.Option("--set", help="Name of the new set.")]
_AcceptOption = Annotated[
    bool,
    typer.Option(
        "--accept-anyway", help="Enter sentences that break a rule; that is recorded."
    ),
]
_TokensOption = Annotated[
    int, typer.Option("--max-tokens", min=8, help="Longest sentence.")
]


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
    from retune.pipeline.describe.exchange import load_members
    from retune.pipeline.describe.members import member_to_json

    if set_name is None:
        _list_sets(store, json=json)
        return
    _, members = load_members(_opened(store, set_name), set_name)
    chosen = [m for m in members if _fits(m, finding, members)]
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


def _fits(member: "Member", finding: str | None, members: "Sequence[Member]") -> bool:
    from retune.pipeline.findings import canonical_name

    if finding is None:
        return True
    names = list(dict.fromkeys(m.description.finding for m in members))
    return member.description.finding == canonical_name(finding, names)


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
    from retune.pipeline.encode.descriptions import available_sets, load_descriptions
    from retune.store import FeatureStore
    from retune.store.description_sets import SetRow, list_sets
    from retune.store.errors import StoreNotFoundError

    rows = [
        SetRow(name, "shipped", "", "en", len(found), found[0].created_at)
        for name in available_sets()
        for found in [load_descriptions(name)]
    ]
    try:
        rows += list_sets(FeatureStore(store))
    except StoreNotFoundError:
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
    from retune.pipeline.describe.exchange import load_members

    sides = []
    for name in (first, second):
        _, members = load_members(_opened(store, name), name)
        sides.append(
            {
                (m.description.finding, m.description.polarity, m.description.text): m
                for m in members
            }
        )
    changes = [
        {"in": name, "finding": key[0], "polarity": key[1], "text": key[2]}
        for name, side, other in ((first, *sides), (second, *sides[::-1]))
        for key in side
        if key not in other
    ]
    if json:
        print_json(changes)
        return
    for change in sorted(changes, key=lambda c: (c["finding"], c["polarity"])):
        mark = "-" if change["in"] == first else "+"
        place = f"{change['finding']}, {change['polarity']}"
        print_line(f"{mark} {place}: {change['text']}")
    n_both = len(sides[0].keys() & sides[1].keys())
    remark(f"{n_both} sentences are in both; - only in {first}, + only in {second}")


def export_command(
    set_name: _SetArgument,
    to: Annotated[
        Path | None, typer.Option("--to", help="A new YAML file [standard output].")
    ] = None,
    store: StoreOption = Path("feature-store"),
) -> None:
    """Write a set as YAML, with all that is known of each sentence.

    Example: retune-cli describe export ours --to ours.yaml
    """
    from retune.pipeline.describe.exchange import export_set, load_members
    from retune.store.errors import ConfigurationError

    language, members = load_members(_opened(store, set_name), set_name)
    text = export_set(set_name, language, members)
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
    print_line(f"{to}: {len(members)} sentences of {set_name}")


def import_command(
    file: Annotated[Path, typer.Argument(help="A YAML file.")],
    set_name: _NameOption = None,
    language: Annotated[
        str | None, typer.Option("--language", help="ISO 639-1 code [the file's, en].")
    ] = None,
    max_tokens: _TokensOption = 75,
    accept_anyway: _AcceptOption = False,
    store: StoreOption = Path("feature-store"),
) -> None:
    """Enter the sentences of a YAML file as a set, after judging them.

    Example: retune-cli describe import ours.yaml --set ours
    """
    from retune.pipeline.describe.exchange import read_import
    from retune.pipeline.describe.validation import Requirements
    from retune.store import FeatureStore
    from retune.store.errors import ConfigurationError

    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{file}: cannot be read: {error}", "Give the path of a YAML file."
        ) from error
    feature_store = FeatureStore.create(store)
    imported = read_import(
        feature_store,
        text,
        str(file),
        Requirements(1, "en", max_tokens),
        set_name=set_name,
        language=language,
        created_at=_now(),
    )
    _enter(feature_store, imported, "import", accept_anyway=accept_anyway)


def edit_command(
    set_name: _SetArgument,
    new_name: _NameOption = None,
    max_tokens: _TokensOption = 75,
    accept_anyway: _AcceptOption = False,
    store: StoreOption = Path("feature-store"),
) -> None:
    """Open a set in $VISUAL or $EDITOR and make a new set of what you save.

    The old set stays. Who edited is not recorded; that a sentence was edited is. A
    radiologist who has read every sentence sets `reviewed: true`.

    Example: retune-cli describe edit default --set ours
    """
    from retune.pipeline.describe.exchange import (
        export_set,
        load_members,
        read_import,
    )
    from retune.pipeline.describe.validation import Requirements
    from retune.store import FeatureStore
    from retune.store.errors import RetuneError

    language, members = load_members(_opened(store, set_name), set_name)
    feature_store = FeatureStore.create(store)
    name = new_name or _next_name(feature_store, set_name)
    before = export_set(name, language, members, parent=set_name, provenance=False)
    folder = Path(tempfile.mkdtemp(prefix="retune-"))
    file = folder / f"{name}.yaml"
    file.write_text(before, encoding="utf-8")
    kept = f"What you wrote is kept in {file}."
    try:
        after = _edited(file)
        if after != before:
            imported = read_import(
                feature_store,
                after,
                str(file),
                Requirements(1, language, max_tokens),
                set_name=new_name,
                created_at=_now(),
            )
            _enter(feature_store, imported, "edit", accept_anyway=accept_anyway)
        else:
            print_line("nothing was changed; no set was made")
    except RetuneError as error:
        error.hint = f"{error.hint} {kept} `describe import` takes it when corrected."
        raise
    file.unlink()
    folder.rmdir()


def _edited(file: Path) -> str:
    from retune.store.errors import ConfigurationError

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.call([*shlex.split(editor), str(file)])
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"the editor {editor!r} cannot be used: {error}",
            "Set VISUAL or EDITOR to a program that opens a file.",
        ) from error
    if code:
        raise ConfigurationError(
            f"the editor {editor!r} ended with code {code}", "No set was made."
        )
    return text


def _next_name(store: "FeatureStore", set_name: str) -> str:
    from retune.store.description_sets import list_sets

    taken = {row.set_name for row in list_sets(store)}
    numbered = (f"{set_name}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in numbered if name not in taken)


def _enter(
    store: "FeatureStore", imported: "Imported", made_by: str, *, accept_anyway: bool
) -> None:
    from retune.pipeline.describe.members import publish
    from retune.store.errors import ConfigurationError

    for finding, problem in imported.problems:
        remark(f"{finding}, {problem.polarity}: {problem.reason}: {problem.text}")
    if imported.problems and not accept_anyway:
        raise ConfigurationError(
            f"{len(imported.problems)} faults were found; no set was made",
            "Correct them, or keep the sentences with --accept-anyway.",
        )
    row = publish(
        store,
        imported.members,
        made_by=made_by,
        language=imported.language,
        created_at=_now(),
        parent=imported.parent,
    )
    edited = sum(member.description.edited for member in imported.members)
    accepted = sum(bool(member.accepted) for member in imported.members)
    print_line(
        f"set {row.set_name}: {row.n_sentences} sentences, {edited} of them edited, "
        f"{accepted} kept in spite of a fault"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _opened(store: Path, set_name: str) -> "FeatureStore | None":
    """The store; sets that ship need none."""
    from retune.pipeline.encode.descriptions import available_sets
    from retune.store import FeatureStore

    return None if set_name in available_sets() else FeatureStore(store)
