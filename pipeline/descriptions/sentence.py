"""One description: a sentence that asserts or denies a finding, and its origin."""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

__all__ = [
    "STEERING",
    "Description",
    "Polarity",
    "content_digest",
    "fill_template",
    "is_date",
]

Polarity = Literal["positive", "negative"]
#: Characters that steer a terminal, or the direction of what it shows.
STEERING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_DATE: Final = re.compile(r"\d{4}(-\d{2}(-\d{2}([T ][\d:.]+(Z|[+-][\d:]+)?)?)?)?")


@dataclass(frozen=True, slots=True)
class Description:
    """A row of the catalog's `descriptions` table.

    Attributes:
        set_name: The set that the sentence belongs to.
        finding: The finding that it speaks of, as it was asked for.
        polarity: Whether the sentence asserts the finding or denies it.
        text: The sentence, on one line.
        generator: What made it: "large language model", "template", a profession.
        model: The language model; empty where there is none.
        created_at: When, as ISO 8601, at least the year.
        instruction_digest: Digest of the instruction; empty where there is none.
        reviewed: Whether a radiologist has reviewed it.
        edited: Whether a person has changed it since it was generated.
        source: The file: `shipped:NAME.yaml`, or the name of a user's file.
    """

    set_name: str
    finding: str
    polarity: Polarity
    text: str
    generator: str
    model: str
    created_at: str
    instruction_digest: str
    reviewed: bool
    edited: bool
    source: str

    @property
    def description_id(self) -> str:
        """Hexadecimal digest of set, finding, polarity and text; 32 characters.

        The four parts are joined by NUL, which no text of a description file can hold:
        no two descriptions run together to the same bytes.
        """
        parts = (self.set_name, self.finding, self.polarity, self.text)
        return content_digest("\0".join(parts))

    @property
    def text_digest(self) -> str:
        """Hexadecimal digest of the sentence alone; 32 characters."""
        return content_digest(self.text)


def content_digest(text: str) -> str:
    """BLAKE2b-128 of a text in UTF-8, as 32 hexadecimal characters.

    >>> content_digest("No pneumothorax.")
    '6864c2e296c8cbcc76e321b05c870d44'
    """
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def is_date(text: str) -> bool:
    """Whether a text is a date of ISO 8601, at least a year.

    >>> is_date("2026-11"), is_date("2026-11-24T08:00:00+00:00"), is_date("2026-13-45")
    (True, True, False)
    """
    if not _DATE.fullmatch(text):
        return False
    whole = text if len(text) > 7 else f"{text}-01-01"[:10]
    try:
        datetime.fromisoformat(whole)
    except ValueError:
        return False
    return True


def fill_template(template: str, finding: str) -> str:
    """Put a finding's name, as it reads inside a sentence, in place of `{finding}`.

    Words written as names (`Pleural`) become lower case; abbreviations stay.

    >>> fill_template("There is no {finding}.", "Pleural_Effusion")
    'There is no pleural effusion.'
    >>> fill_template("{finding}", "COPD Signs")
    'COPD signs'
    """
    words = finding.replace("_", " ").split()
    phrase = " ".join(word.lower() if word.istitle() else word for word in words)
    return template.replace("{finding}", phrase)
