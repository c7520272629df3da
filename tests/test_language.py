"""The words of code and documentation; docs/contributing-style.md says why."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

_ROOT = Path(__file__).resolve().parents[1]
_ROOMS = ("cli", "pipeline", "retune", "store")
_STYLE = Path("docs/contributing-style.md")
#: Names that say nothing of what they hold.
_CATCH_ALL = {"found", "place", "kind"}
_TYPE_TAG = "a public name: what a leak is of"
_SEARCH = "a public parameter and attribute of `search`"
_THEIRS = "a parameter or attribute of NumPy, pandas or the standard library"
#: File -> name -> how often it may be used, and why.
_ALLOWED = {
    "cli/gallery/views.py": {"kind": (2, "a field of a form and of its page")},
    "cli/query.py": {"kind": (1, _TYPE_TAG)},
    "cli/search.py": {"kind": (2, _SEARCH)},
    "pipeline/app/gallery/gallery.py": {"kind": (2, _SEARCH)},
    "pipeline/app/searching/search.py": {"kind": (4, _SEARCH)},
    "pipeline/app/session.py": {"kind": (4, _SEARCH)},
    "pipeline/datasets/leakage.py": {"kind": (2, _TYPE_TAG)},
    "store/erasure/needles.py": {"kind": (4, "a name in receipts that were written")},
    "pipeline/mini_recipe/phrases.py": {"place": (1, "a field of a phrase")},
    "tests/pipeline/app/searching/test_search.py": {"kind": (2, _SEARCH)},
    "tests/pipeline/datasets/test_leakage.py": {"kind": (2, _TYPE_TAG)},
}
#: Calls and attributes of other packages that have such a name.
_FOREIGN = re.compile(r"kind=\"stable\"|\bdtype\.kind\b")


def _python_files() -> list[Path]:
    return [
        path.relative_to(_ROOT)
        for room in (*_ROOMS, "tests")
        for path in sorted((_ROOT / room).rglob("*.py"))
    ]


def _uses(path: Path) -> Counter[str]:
    """How often a file uses each catch-all name as an identifier."""
    content = (_ROOT / path).read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(content).readline)
    counts = Counter(
        token.string
        for token in tokens
        if token.type == tokenize.NAME
        and token.string in _CATCH_ALL
        and not _FOREIGN.search(token.line)
    )
    # Python 3.11 reads an f-string as one token.
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.FormattedValue):
            names = [n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)]
            attributes = [
                n.attr for n in ast.walk(node.value) if isinstance(n, ast.Attribute)
            ]
            counts.update(_CATCH_ALL.intersection([*names, *attributes]))
    return counts


def test_names_say_what_they_hold() -> None:
    allowed = {
        path: {name: number for name, (number, _) in names.items()}
        for path, names in _ALLOWED.items()
    }
    uses = {path.as_posix(): _uses(path) for path in _python_files()}
    assert {path: dict(counts) for path, counts in uses.items() if counts} == allowed


def _rules() -> list[tuple[re.Pattern[str], str]]:
    file = _ROOT / "docs" / "_style" / "house-words.yaml"
    rules = yaml.safe_load(file.read_text(encoding="utf-8"))
    return [
        (re.compile(rule["phrase"], re.IGNORECASE), rule["write"]) for rule in rules
    ]


def _words_of_code(path: Path) -> Iterator[str]:
    """Docstrings, messages, help and comments of a file."""
    content = (_ROOT / path).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from node.value.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def _texts() -> Iterator[tuple[Path, str]]:
    for path in _python_files():
        if path.parts[0] != "tests":
            yield from ((path, line) for line in _words_of_code(path))
    pages = [
        *_ROOT.glob("*.md"),
        *(_ROOT / "docs").glob("*.md"),
        *(path for room in _ROOMS for path in (_ROOT / room).rglob("*.md")),
        *(path for room in _ROOMS for path in (_ROOT / room).rglob("*.j2")),
    ]
    for page in sorted(pages):
        path = page.relative_to(_ROOT)
        if path != _STYLE:  # its table shows what not to write
            text = page.read_text(encoding="utf-8")
            yield from ((path, line) for line in text.splitlines())


def test_no_text_has_a_phrase_that_the_style_rules_out() -> None:
    rules = _rules()
    broken = [
        f"{path}: {match.group()!r} in {line.strip()!r}; write: {write}"
        for path, line in _texts()
        for phrase, write in rules
        if (match := phrase.search(line))
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    "line",
    [
        "logistic regression is not trained beside",
        "So many runs, from --seed on",
        "takes up an interrupted run",
        "is no positive finite number",
        "Of Adam.",
        "Of weights, batches and parts.",
        "progress: Told of each stage.",
        "seed: Of the bootstrap.",
        "Patient ids, one a line",
        "what the others are held against",
        "models of before",
    ],
)
def test_the_rules_know_what_they_are_for(line: str) -> None:
    assert any(phrase.search(line) for phrase, _ in _rules())


def test_the_style_page_shows_before_and_after() -> None:
    rows = [
        line
        for line in (_ROOT / _STYLE).read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| instead of")
    ]
    assert len(rows) >= 15
