"""Six ways to put findings into words, two of them controls.

The question that `describe ablate` asks: do descriptions help more than the finding's
name, and more than words that say nothing? Random words follow WaffleCLIP (Roth et al.,
ICCV 2023), structured phrases the severity × subtype × location prompts of GLoRIA
(Huang et al., ICCV 2021); the phrases themselves are ours.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from retune.store.errors import ConfigurationError

from ..findings import spelling_key
from .library import load_descriptions
from .sentence import Description, Polarity, fill_template

__all__ = ["CONDITIONS", "CONTROLS", "Sentence", "prompt_conditions"]

#: Condition -> what a reader should know of it.
CONDITIONS: Final[Mapping[str, str]] = {
    "name": "the finding's name and 'no' before it",
    "templates": "the shipped templates: there is, the radiograph shows, ...",
    "structured": "severity x subtype x location before and after the name",
    "described": "the description set",
    "random words": "control: the name followed by random words",
    "shuffled": "control: the description set, each finding with another's sentences",
}
#: Those that say nothing of the finding's look.
CONTROLS: Final = ("random words", "shuffled")
_BOTH: Final[tuple[Polarity, ...]] = ("positive", "negative")
_SEVERITIES: Final = ("mild", "moderate", "severe")
_LOCATIONS: Final = ("on the left", "on the right", "on both sides")
_SUBTYPES: Final[Mapping[str, tuple[str, ...]]] = {
    "atelectasis": ("linear", "lobar"),
    "cardiomegaly": ("left ventricular", "global"),
    "consolidation": ("lobar", "patchy"),
    "edema": ("interstitial", "alveolar"),
    "emphysema": ("centrilobular", "bullous"),
    "fibrosis": ("basal", "apical"),
    "fracture": ("displaced", "healing"),
    "infiltration": ("patchy", "diffuse"),
    "lung opacity": ("hazy", "dense"),
    "mass": ("spiculated", "lobulated"),
    "nodule": ("solitary", "calcified"),
    "pleural effusion": ("free", "loculated"),
    "pleural thickening": ("apical", "basal"),
    "pneumonia": ("lobar", "interstitial"),
    "pneumothorax": ("apical", "tension"),
}
_ANY_SUBTYPE: Final = ("focal", "diffuse")
#: Everyday words that no radiograph shows.
_WORDS: Final = (
    *("anchor", "apron", "autumn", "bakery", "banjo", "barrel", "basket", "bicycle"),
    *(
        "biscuit",
        "blanket",
        "bottle",
        "broom",
        "butter",
        "candle",
        "canoe",
        "carpet",
    ),
    *("castle", "cherry", "chimney", "clock", "coffee", "comet", "copper", "cotton"),
    *("cradle", "curtain", "desert", "donkey", "dragon", "engine", "falcon", "feather"),
    *("fiddle", "forest", "garden", "ginger", "guitar", "hammer", "harbor", "helmet"),
    *("honey", "island", "jacket", "kettle", "ladder", "lantern", "lemon", "marble"),
    *("meadow", "mirror", "monkey", "needle", "ocean", "orange", "paddle", "parrot"),
    *("pencil", "pepper", "piano", "pillow", "pocket", "pumpkin", "puzzle", "rabbit"),
    *("ribbon", "river", "rocket", "saddle", "sailor", "scarf", "shovel", "silver"),
    *("spider", "spoon", "stable", "summer", "sunset", "tailor", "teapot", "thunder"),
    *("ticket", "timber", "tomato", "trumpet", "tunnel", "turtle", "velvet", "village"),
    *("violin", "wagon", "walnut", "whistle", "winter", "wizard", "yogurt", "zebra"),
)


@dataclass(frozen=True)
class Sentence:
    """What is said of a finding under one condition."""

    finding: str
    polarity: Polarity
    text: str


def prompt_conditions(
    findings: Sequence[str], described: Sequence[Description], seed: int = 0
) -> dict[str, tuple[Sentence, ...]]:
    """Sentences of K findings under each condition.

    Args:
        findings: K names, at least two: one alone cannot be shuffled.
        described: The description set's sentences of these findings.
        seed: Seed of the random words and of the shuffling.

    Raises:
        ConfigurationError: There are fewer than two findings.

    >>> conditions = prompt_conditions(["Edema", "Mass"], load_descriptions("default"))
    >>> [sentence.text for sentence in conditions["name"]][:2]
    ['edema', 'no edema']
    >>> list(conditions) == list(CONDITIONS)
    True
    """
    if len(findings) < 2:
        raise ConfigurationError(
            f"an ablation needs at least two findings, not {len(findings)}",
            "One finding's descriptions cannot be given to another.",
        )
    own = {
        name: {
            polarity: [
                row.text
                for row in described
                if spelling_key(row.finding) == spelling_key(name)
                and row.polarity == polarity
            ]
            for polarity in _BOTH
        }
        for name in findings
    }
    templates = load_descriptions("templates", findings)
    strangers = dict(zip(findings, _shuffled(findings, seed), strict=True))
    return {
        "name": _pairs(findings, "{finding}", "no {finding}"),
        "templates": tuple(Sentence(r.finding, r.polarity, r.text) for r in templates),
        "structured": tuple(
            sentence for name in findings for sentence in _structured(name)
        ),
        "described": _of_sets(own, {name: name for name in findings}),
        "random words": tuple(
            sentence
            for name in findings
            for sentence in _random_words(name, own[name], seed)
        ),
        "shuffled": _of_sets(own, strangers),
    }


def _pairs(
    findings: Sequence[str], positive: str, negative: str
) -> tuple[Sentence, ...]:
    return tuple(
        Sentence(name, polarity, fill_template(template, name))
        for name in findings
        for polarity, template in zip(_BOTH, (positive, negative), strict=True)
    )


def _structured(finding: str) -> list[Sentence]:
    subtypes = _SUBTYPES.get(spelling_key(finding), _ANY_SUBTYPE)
    return [
        Sentence(
            finding,
            polarity,
            fill_template(
                f"{before}{severity} {subtype} {{finding}} {location}", finding
            ),
        )
        for polarity, before in zip(_BOTH, ("", "no "), strict=True)
        for severity, subtype, location in itertools.product(
            _SEVERITIES, subtypes, _LOCATIONS
        )
    ]


def _random_words(
    finding: str, own: Mapping[Polarity, Sequence[str]], seed: int
) -> list[Sentence]:
    """As many sentences as the set has, and about as many words in each."""
    random = np.random.default_rng([seed, *finding.encode()])
    sentences = []
    for polarity, before in zip(_BOTH, ("", "no "), strict=True):
        for text in own[polarity]:
            n_words = max(1, len(text.split()) - len(finding.split()))
            words = random.choice(_WORDS, size=n_words)
            said = fill_template(f"{before}{{finding}}", finding)
            sentences.append(Sentence(finding, polarity, f"{said} {' '.join(words)}"))
    return sentences


def _of_sets(
    own: Mapping[str, Mapping[Polarity, Sequence[str]]], whose: Mapping[str, str]
) -> tuple[Sentence, ...]:
    return tuple(
        Sentence(name, polarity, text)
        for name, other in whose.items()
        for polarity in _BOTH
        for text in own[other][polarity]
    )


def _shuffled(findings: Sequence[str], seed: int) -> list[str]:
    """Each finding's stand-in, never itself: a random cycle through all."""
    order = np.random.default_rng(seed).permutation(len(findings))
    stand_in = dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    return [findings[stand_in[index]] for index in range(len(findings))]
