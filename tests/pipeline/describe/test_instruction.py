"""The instruction: the shipped template and users' own."""

from pathlib import Path

import pytest
import yaml

from retune.pipeline.describe.instruction import load_instruction
from retune.pipeline.describe.validation import Problem, Requirements
from retune.store.errors import ConfigurationError

_LACKING = {"positive": 3, "negative": 2}
_OWN = {
    "template": "own",
    "version": "2",
    "system": 'Answer with {"positive": [], "negative": []}.',
    "user": "Write {n_positive}/{n_negative} about {finding} in {language}.",
    "again": "{problems} / {kept}",
}


def _write(folder: Path, **changes: object) -> Path:
    path = folder / "own.yaml"
    content = {k: v for k, v in (_OWN | changes).items() if v is not None}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_shipped_instruction_asks_for_appearance_and_has_no_gap() -> None:
    instruction = load_instruction()
    said = " ".join(
        message["content"]
        for message in instruction.messages(
            "Edema", _LACKING, Requirements(language="de"), ["Kept."],
            [Problem("length", "positive", "Long.", "too long")],
        )
    )  # fmt: skip
    for word in ("sign", "location", "severity", "atypical", "instead", "report"):
        assert word in said
    for value in (
        "Edema",
        "3 positive and 2 negative",
        "German",
        "46 words",
        "- Kept.",
    ):
        assert value in said
    assert "- Long. (too long)" in said
    assert "{n_" not in said
    assert "{finding}" not in said


def test_a_users_template_is_filled_in_and_has_a_digest_of_its_own(
    tmp_path: Path,
) -> None:
    own = load_instruction(_write(tmp_path))
    system, user = own.messages("Edema", _LACKING, Requirements())
    assert system["content"] == _OWN["system"]
    assert user["content"] == "Write 3/2 about Edema in English."
    assert own.digest != load_instruction().digest
    assert own.digest != load_instruction(_write(tmp_path, again="other")).digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": None}, "'user' is missing"),
        ({"more": "x"}, "'more' is not known"),
        ({"version": 2}, "'version' is not a text"),
        ({"system": " "}, "'system' is not a text"),
        ({"user": "no name"}, "lacks {finding}"),
    ],
)
def test_templates_that_cannot_be_used_are_refused(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"own\.yaml") as caught:
        load_instruction(_write(tmp_path, **changes))
    assert said in caught.value.message


@pytest.mark.parametrize("content", [b"a: [", b"- a list", b"\xff\xfe\xff"])
def test_files_that_are_no_template_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"t\.yaml"):
        load_instruction(path)


def test_a_missing_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_instruction(tmp_path / "none.yaml")
