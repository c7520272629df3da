"""Pages of the site that are made of the code, so that they cannot drift from it.

mkdocs calls `on_files` before it reads any page. Tests call `pages` by itself.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[2]

#: Page -> the file of the repository that it shows.
_COPIED = {
    "reference/format.md": "store/FORMAT.md",
    "architecture.md": "ARCHITECTURE.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "reference/mini.md": "pipeline/encode/backbones/mini-card.md",
}


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for name, content in pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_post_page(output: str, page: "Page", config: "MkDocsConfig") -> str:
    """Take the site's own script where the theme would load one from a host."""
    del config
    own = "../" * page.file.dest_uri.count("/") + "assets/file-worker.js"
    return output.replace("https://unpkg.com/iframe-worker/shim", own)


def pages() -> dict[str, str]:
    """Path below docs/ -> Markdown."""
    copied = {page: _copied(source, page) for page, source in _COPIED.items()}
    return copied | {
        "reference/command-line.md": _command_line(),
        "reference/errors.md": _errors(),
        "reference/catalog.md": _catalog(),
    }


def _copied(source: str, page: str) -> str:
    """A file of the repository; links to other files of it are links to its pages."""
    up = "../" * page.count("/")
    known = {file: up + name for name, file in _COPIED.items()}

    def link(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        if "://" in target or target.startswith("#"):
            return match[0]
        folder = (_ROOT / source).parent
        path = (folder / target.partition("#")[0]).resolve().relative_to(_ROOT)
        if str(path).startswith("docs/"):
            return f"[{text}]({up}{str(path).removeprefix('docs/')})"
        return f"[{text}]({known[str(path)]})" if str(path) in known else f"`{path}`"

    content = (_ROOT / source).read_text(encoding="utf-8")
    return re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", link, content)


def _command_line() -> str:
    from retune.cli.main import app

    verbs = [()]
    groups = {str(group.name): group.typer_instance for group in app.registered_groups}
    names = [str(command.name) for command in app.registered_commands]
    verbs += [(name,) for name in sorted([*names, *groups])]
    for name, group in groups.items():
        if group is not None:
            verbs += [(name, str(one.name)) for one in group.registered_commands]
    parts = ["# Command line", "", "Made of the code: `retune-cli COMMAND --help`.", ""]
    for verb in verbs:
        title = " ".join(["retune-cli", *verb])
        parts += [f"## `{title}`", "", "```text", _help(*verb).rstrip(), "```", ""]
    return "\n".join(parts)


def _help(*verb: str) -> str:
    code = (
        "import sys; sys.argv[0] = 'retune-cli'; "
        "from retune.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *verb, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "88", "TERMINAL_WIDTH": "88"},
    )
    return done.stdout


def _errors() -> str:
    from retune.cli.terminal.explanations import EXPLANATIONS

    parts = [
        "# Errors and exit codes",
        "",
        "Every message says what happened and where; every hint says what to do. "
        "`retune-cli explain CODE` shows the same on a terminal.",
        "",
        _exit_codes(),
    ]
    for known in EXPLANATIONS:
        cures = "\n".join(f"- {cure}" for cure in known.cures)
        parts += [
            f"## `{known.error.code}`",
            "",
            f"`retune.{known.error.__name__}`, exit code {known.error.exit_code}. "
            f"{known.meaning}",
            "",
            "An example that raises it:",
            "",
            f"```python\nimport retune\n\n{known.example}\n```",
            "",
            "What to do:",
            "",
            cures,
            "",
        ]
    return "\n".join(parts)


def _exit_codes() -> str:
    from retune.cli.terminal import boundary

    text = (boundary.__doc__ or "").partition("Exit codes:")[2]
    pairs = re.findall(r"(\d+) ([^;.]+)", " ".join(text.split()))
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in pairs)
    return f"| exit code | meaning |\n|---|---|\n{rows}\n"


def _catalog() -> str:
    """Tables and columns of an empty store, as DuckDB describes them."""
    import tempfile

    import retune

    with tempfile.TemporaryDirectory() as folder:
        store = retune.open(Path(folder) / "store", create=True)
        rows = store.sql(
            "SELECT table_name, column_name, data_type FROM information_schema.columns "
            "ORDER BY table_name, ordinal_position"
        ).fetchall()
    parts = [
        "# Tables and columns",
        "",
        "What `retune-cli sql` and `store.sql` can ask. "
        "[The format](format.md) says what each table means.",
        "",
    ]
    last = ""
    for table, column, kind in rows:
        if table != last:
            parts += ["", f"## `{table}`", "", "| column | type |", "|---|---|"]
            last = table
        parts.append(f"| `{column}` | `{kind}` |")
    return "\n".join([*parts, ""])
