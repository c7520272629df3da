"""`retune-cli describe import|edit`: sentences of a person's file become a set."""

import os
import shlex
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..terminal.options import StoreOption
from ..terminal.printing import print_line, remark

if TYPE_CHECKING:
    from retune.pipeline.describe.exchange import Imported
    from retune.store import FeatureStore

__all__ = ["SetArgument", "edit_command", "import_command", "opened"]

SetArgument = Annotated[str, typer.Argument(metavar="SET", help="Name of the set.")]
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
    from retune.pipeline.descriptions.text_file import read_text_file
    from retune.store import FeatureStore
    from retune.store.errors import ConfigurationError

    try:
        text = read_text_file(file)
    except FileNotFoundError as error:
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
    set_name: SetArgument,
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

    language, members = load_members(opened(store, set_name), set_name)
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


def opened(store: Path, set_name: str) -> "FeatureStore | None":
    """The store; sets that ship need none."""
    from retune.pipeline.descriptions import available_sets
    from retune.store import FeatureStore

    return None if set_name in available_sets() else FeatureStore(store)
