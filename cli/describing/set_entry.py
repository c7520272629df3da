"""`retune-cli describe import|edit`: sentences of a person's file become a set."""

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import StoreOption
from ..terminal.printing import print_line, remark

if TYPE_CHECKING:
    from retune.pipeline.describe.exchange import Imported

__all__ = ["SetArgument", "edit_command", "import_command"]

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
    from retune.pipeline.app.describing.description_sets import (
        ImportRequest,
        read_draft,
    )
    from retune.pipeline.descriptions.text_file import read_text_file
    from retune.store.errors import ConfigurationError

    try:
        text = read_text_file(file)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{file}: cannot be read: {error}", "Give the path of a YAML file."
        ) from error
    request = ImportRequest(text, str(file), set_name, language, max_tokens)
    imported = read_draft(store, request)
    _enter(store, imported, "import", accept_anyway=accept_anyway)


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
    from retune.pipeline.app.describing.description_sets import (
        ImportRequest,
        read_draft,
        start_edit,
    )
    from retune.store.errors import RetuneError

    draft = start_edit(store, set_name, new_name)
    folder = Path(tempfile.mkdtemp(prefix="retune-"))
    file = folder / f"{draft.name}.yaml"
    file.write_text(draft.text, encoding="utf-8")
    kept = f"What you wrote is kept in {file}."
    try:
        after = _edited(file)
        if after != draft.text:
            request = ImportRequest(after, str(file), new_name, max_tokens=max_tokens)
            imported = read_draft(store, request)
            _enter(store, imported, "edit", accept_anyway=accept_anyway)
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


def _enter(
    store: Path, imported: "Imported", made_by: str, *, accept_anyway: bool
) -> None:
    from retune.pipeline.app.describing.description_sets import enter_set

    for finding, problem in imported.problems:
        remark(f"{finding}, {problem.polarity}: {problem.reason}: {problem.text}")
    row = enter_set(store, imported, made_by, accept_anyway=accept_anyway)
    edited = sum(member.description.edited for member in imported.members)
    accepted = sum(bool(member.accepted) for member in imported.members)
    print_line(
        f"set {row.set_name}: {counted(row.n_sentences, 'sentence')}, {edited} of "
        f"them edited, {accepted} kept in spite of a fault"
    )
