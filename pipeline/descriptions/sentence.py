"""One description: a sentence that asserts or denies a finding, and its origin."""

import hashlib
from dataclasses import dataclass
from typing import Literal

__all__ = ["Description", "Polarity", "content_digest", "fill_template"]

Polarity = Literal["positive", "negative"]


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
