"""Numbers agree with their nouns, in every message of every room."""

import ast
import re
from pathlib import Path

import pytest

from retune.store.plural import counted

_ROOT = Path(__file__).resolve().parents[2]
_NOUNS = (
    "cells|columns|files|findings|groups|images|labels|paths|patients|reports|rows|"
    "runs|seeds|sentences|shards|studies|tasks|vectors"
)
_FIXED = re.compile(rf" ({_NOUNS})\b(?!/)")
#: What stands before a noun without being its number, or is two at least.
_NOT_COUNTS = {"counts", "rate", "stored.shape", "draw.n_patients"}


@pytest.mark.parametrize(
    ("number", "noun", "verb", "text"),
    [
        (0, "image", "", "0 images"),
        (1, "row", "say", "1 row says"),
        (1, "patient", "were", "1 patient was"),
        (2, "study", "have", "2 studies have"),
        (1200, "picture", "are", "1,200 pictures are"),
    ],
)
def test_noun_and_verb_agree_with_the_number(
    number: int, noun: str, verb: str, text: str
) -> None:
    assert counted(number, noun, verb) == text


def _fixed_plurals(path: Path) -> list[str]:
    """Numbers of a file's f-strings before a noun that is always in the plural."""
    faults = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, after in zip(node.values, node.values[1:], strict=False):
            if not isinstance(value, ast.FormattedValue) or value.conversion != -1:
                continue
            text = after.value if isinstance(after, ast.Constant) else ""
            number = ast.unparse(value.value)
            if _FIXED.match(str(text)) and number not in _NOT_COUNTS:
                faults.append(f"{path}:{node.lineno}: {number}{text}")
    return faults


@pytest.mark.parametrize("room", ["cli", "pipeline", "retune", "store"])
def test_no_message_has_a_number_before_a_fixed_plural(room: str) -> None:
    paths = (_ROOT / room).rglob("*.py")
    assert not [fault for path in paths for fault in _fixed_plurals(path)]
