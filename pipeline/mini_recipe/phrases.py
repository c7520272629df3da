"""Sentences that assert or deny findings, put together for training mini's text tower.

They come from the shipped descriptions and from a list of names, signs and frames
(phrases.yaml), so that the tower sees each finding in many wordings and learns what the
words mean instead of learning sentences by heart.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import yaml

from ..descriptions import load_descriptions

__all__ = ["Phrases", "Wording", "compose_sentences", "load_phrases"]

_ARTICLE = re.compile(r"^(an?|the) ", re.IGNORECASE)
#: Share of frames, of signs, and of shipped descriptions among composed sentences.
_SHARES = (0.5, 0.2, 0.3)


@dataclass(frozen=True)
class Wording:
    """How one finding is spoken of.

    Attributes:
        names: Noun phrases that assert it.
        signs: Sentences that assert it by how it looks.
        normal: Sentences that deny it by what is seen instead.
        described: Shipped descriptions that assert it.
        denied: Shipped descriptions that deny it.
    """

    names: tuple[str, ...]
    signs: tuple[str, ...]
    normal: tuple[str, ...]
    described: tuple[str, ...]
    denied: tuple[str, ...]


@dataclass(frozen=True)
class Phrases:
    """Frames and the wordings of K findings, in order."""

    positive_frames: tuple[str, ...]
    negative_frames: tuple[str, ...]
    grades: tuple[str, ...]
    places: tuple[str, ...]
    wordings: Mapping[str, Wording]


def load_phrases(findings: Sequence[str]) -> Phrases:
    """Read phrases.yaml and the shipped descriptions.

    A finding that phrases.yaml does not know is spoken of by its name and its shipped
    descriptions only.

    Args:
        findings: Canonical names.
    """
    text = files(__package__).joinpath("phrases.yaml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    shipped = load_descriptions("default", list(findings))
    wordings = {}
    for finding in findings:
        known = content["findings"].get(finding, {})
        own = [one for one in shipped if one.finding == finding]
        wordings[finding] = Wording(
            names=tuple(known.get("names", [finding.lower()])),
            signs=tuple(known.get("signs", [])),
            normal=tuple(known.get("normal", [])),
            described=tuple(one.text for one in own if one.polarity == "positive"),
            denied=tuple(one.text for one in own if one.polarity == "negative"),
        )
    frames = content["frames"]
    return Phrases(
        tuple(frames["positive"]),
        tuple(frames["negative"]),
        tuple(frames["grade"]),
        tuple(frames["place"]),
        wordings,
    )


def compose_sentences(
    phrases: Phrases, finding: str, *, positive: bool, n: int, seed: int
) -> list[str]:
    """Draw sentences of one finding and polarity.

    All shipped descriptions come first, then sentences drawn from frames, signs and
    descriptions.

    Args:
        phrases: From `load_phrases`.
        finding: One of its findings.
        positive: Whether the sentences assert the finding.
        n: How many, at least as many as there are shipped descriptions.
        seed: Seed of the draw.

    >>> phrases = load_phrases(["Cardiomegaly"])
    >>> drawn = compose_sentences(phrases, "Cardiomegaly", positive=False, n=40, seed=0)
    >>> len(drawn), "No cardiomegaly." in drawn
    (40, True)
    """
    wording = phrases.wordings[finding]
    described = wording.described if positive else wording.denied
    signs = wording.signs if positive else wording.normal
    random = np.random.default_rng([seed, positive, *finding.encode()])
    sentences = list(described)
    while len(sentences) < n:
        sentence_type = random.choice(3, p=_SHARES)
        if sentence_type == 0 or not signs:
            sentences.append(_framed(phrases, wording, positive, random))
        else:
            chosen = signs if sentence_type == 1 else described or signs
            sentences.append(str(random.choice(chosen)))
    return sentences


def _framed(
    phrases: Phrases, wording: Wording, positive: bool, random: np.random.Generator
) -> str:
    frames = phrases.positive_frames if positive else phrases.negative_frames
    frame = str(random.choice(frames))
    name = str(random.choice(wording.names))
    if not positive or "{grade} {name}" in frame:
        name = _ARTICLE.sub("", name)
    sentence = frame.format(
        name=name,
        grade=random.choice(phrases.grades),
        place=random.choice(phrases.places),
    )
    return sentence[0].upper() + sentence[1:] if random.random() < 0.5 else sentence
