"""What a description must be before it is stored. Pure: sentences in, reasons out.

The rules are deliberately simple and can err; `--accept-anyway` exists for that. They
follow the idea of NegEx (Chapman et al., J Biomed Inform 2001): a phrase is denied if a
word of negation stands in the same clause, before it or, for some words, after it;
phrases such as "cannot be excluded" are no negation.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from retune.store.errors import ConfigurationError

from ..descriptions.sentence import Polarity
from .languages import LANGUAGES, guess_language
from .repetition import Repetitions
from .vocabulary import Vocabulary, Words, shipped_vocabulary

__all__ = [
    "Problem",
    "Requirements",
    "estimate_tokens",
    "is_denied",
    "judge_sentence",
    "validate_finding",
    "validate_sentence",
]

#: A sign described with one of these words is a healthy one.
_HEALTHY: Final = re.compile(
    r"\b(?:normal\w*|unremarkable|intact|clear|smooth|without|sharp|straight)\b"
)
#: "Cannot be excluded" excludes nothing, and what has not changed is there.
_PSEUDO_NEGATION: Final = re.compile(
    r"\b(?:(?:cannot|can not|could not) be (?:excluded|ruled out)|not excluded|"
    r"no (?:(?:significant|interval|definite) )*(?:change|increase|decrease)|"
    r"not only|not normal)\b"
)
_CLAUSE: Final = re.compile(
    r"[;:.]\s|\b(?:but|however|although|pero|mais|aber|jedoch|però|mas|porém)\b"
)


@dataclass(frozen=True)
class Requirements:
    """What is asked of a set.

    Attributes:
        n: Sentences per finding and polarity, at least.
        language: ISO 639-1 code. Mentions and other findings are checked in English
            only, polarity in the languages of `languages.LANGUAGES`.
        max_tokens: Most tokens in the backbone's context, without its two marks. 75 is
            CLIP's.

    Raises:
        ConfigurationError: The language is no code of two letters.
    """

    n: int = 8
    language: str = "en"
    max_tokens: int = 75

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z]{2}", self.language):
            raise ConfigurationError(
                f"{self.language!r} is no code of a language",
                "Use the two letters of ISO 639-1: en, de, zh.",
            )


@dataclass(frozen=True)
class Problem:
    """Why a sentence, or a list of them, does not do.

    Attributes:
        rule: ``count``, ``duplicate``, ``near-duplicate``, ``language``, ``length``,
            ``mention``, ``polarity`` or ``other finding``.
        polarity: Polarity of the list.
        text: The sentence; empty if the list as a whole is meant.
        reason: For a person, and for the model that is asked again.
    """

    rule: str
    polarity: Polarity
    text: str
    reason: str


def estimate_tokens(text: str) -> int:
    """About how many tokens a sentence takes; on average a quarter too many of CLIP's.

    A token for every four letters of a word begun, and one for each mark or digit. No
    tokenizer is loaded; `embed` counts exactly and warns.

    >>> estimate_tokens("No pneumothorax.")
    5
    """
    pieces = re.findall(r"[^\W\d_]+|[\d_]|[^\w\s]", text)
    return sum(-(-len(piece) // 4) for piece in pieces)


def is_denied(text: str, phrase: re.Pattern[str], language: str = "en") -> bool:
    """Whether every mention of a phrase in a sentence is negated.

    >>> is_denied("No effusion or pneumothorax.", re.compile("pneumothorax"))
    True
    >>> is_denied("No effusion, but a pneumothorax.", re.compile("pneumothorax"))
    False
    """
    return not _asserted(_folded(text), phrase, language)


def validate_sentence(
    finding: str,
    polarity: Polarity,
    text: str,
    requirements: Requirements,
    vocabulary: Vocabulary | None = None,
) -> list[Problem]:
    """What is wrong with one sentence on its own.

    Returns:
        Problems in the order of the rules; empty if there are none.

    >>> [p.rule for p in validate_sentence("Edema", "negative", "Pulmonary edema.",
    ...                                    Requirements())]
    ['polarity']
    """
    if "\0" in text or not text.strip():
        reason = "the sentence is empty or holds a NUL"
        return [Problem("length", polarity, text, reason)]
    pairs = []
    guess = guess_language(text)
    if guess is not None and guess != requirements.language:
        reason = f"reads as '{guess}', not '{requirements.language}'"
        pairs.append(("language", reason))
    tokens = estimate_tokens(text)
    if tokens > requirements.max_tokens:
        reason = f"about {tokens} tokens; at most {requirements.max_tokens}"
        pairs.append(("length", reason))
    words = vocabulary or shipped_vocabulary()
    folded, language = _folded(text), requirements.language
    pairs += _polarity(finding, polarity, folded, language, words.words_of(finding))
    if language == "en":
        own = words.words_of(finding)
        pairs += [
            ("other finding", f"asserts {name}")
            for name, other in words.others(finding)
            if _asserted_beside(folded, other, own)
        ]
    return [Problem(rule, polarity, text, reason) for rule, reason in pairs]


def judge_sentence(
    finding: str,
    polarity: Polarity,
    text: str,
    requirements: Requirements,
    kept: Sequence[str],
    vocabulary: Vocabulary | None = None,
) -> list[Problem]:
    """What is wrong with a sentence, alone and compared with those already kept.

    >>> kept = ["Pulmonary edema."]
    >>> [p.rule for p in judge_sentence("Edema", "positive", "Pulmonary  edema",
    ...                                 Requirements(), kept)]
    ['duplicate']
    """
    problems = validate_sentence(finding, polarity, text, requirements, vocabulary)
    return problems + _repetition(polarity, text, Repetitions(kept))


def _polarity(
    finding: str, polarity: Polarity, folded: str, language: str, own: Words
) -> list[tuple[str, str]]:
    """Whether a sentence speaks of the finding, and on the right side."""
    cues = LANGUAGES.get(language)
    if cues is None:
        return []
    mentioned = own.mention_pattern.search(folded)
    if polarity == "positive":
        if language == "en" and not mentioned:
            reason = f"names neither {finding} nor a synonym or sign of it"
            return [("mention", reason)]
        if mentioned and _denies(folded, own, language):
            return [("polarity", f"denies {finding} where it must assert it")]
        opening = cues.negation.match(folded.lstrip())
        if opening and not mentioned:
            return [("polarity", f"begins with '{opening.group()}'")]
        return []
    signs = (cues.negation, cues.after, cues.normal)
    if not any(pattern.search(folded) for pattern in signs):
        return [("polarity", "does not read as absence")]
    if _asserted(folded, own.name_pattern, language):
        return [("polarity", f"asserts {finding} where it must deny it")]
    return []


def validate_finding(
    finding: str,
    sentences: Mapping[Polarity, Sequence[str]],
    requirements: Requirements,
    vocabulary: Vocabulary | None = None,
) -> list[Problem]:
    """What is wrong with the sentences of one finding.

    A sentence that repeats an earlier one, whatever the polarity, is the one at fault.
    The count is of sentences without a problem.
    """
    all_problems: list[Problem] = []
    kept = Repetitions(texts=(text for texts in sentences.values() for text in texts))
    for polarity, texts in sentences.items():
        n_good = 0
        for text in texts:
            problems = validate_sentence(
                finding, polarity, text, requirements, vocabulary
            )
            problems += _repetition(polarity, text, kept)
            if not problems:
                kept.add(text)
                n_good += 1
            all_problems += problems
        if n_good < requirements.n:
            reason = f"{n_good} usable sentences; at least {requirements.n} are needed"
            all_problems.append(Problem("count", polarity, "", reason))
    return all_problems


def _repetition(polarity: Polarity, text: str, kept: Repetitions) -> list[Problem]:
    repeated = kept.of(text)
    if repeated is None:
        return []
    rule, other = repeated
    said = "repeats" if rule == "duplicate" else "nearly"
    return [Problem(rule, polarity, text, f"{said} {other!r}")]


def _folded(text: str) -> str:
    """A sentence in lower case, without words that negate nothing."""
    return _PSEUDO_NEGATION.sub(" ", text.casefold())


def _asserted(folded: str, phrase: re.Pattern[str], language: str = "en") -> bool:
    """Whether some mention of a phrase is not negated; the text is in lower case."""
    cues = LANGUAGES.get(language)
    for clause in _CLAUSE.split(folded):
        for match in phrase.finditer(clause):
            if cues is None:
                return True
            before, after = clause[: match.start()], clause[match.end() :]
            if not (cues.negation.search(before) or cues.after.search(after)):
                return True
    return False


def _denies(folded: str, own: Words, language: str) -> bool:
    """Whether a sentence with the finding's words denies it or speaks of health.

    It does if each mention is negated, or if none asserts the finding by name and what
    is described is said to be as it should be: "the bony thorax is intact".
    """
    if not _asserted(folded, own.mention_pattern, language):
        return True
    if language != "en" or not _HEALTHY.search(folded):
        return False
    return not _asserted(folded, own.name_pattern)


def _asserted_beside(folded: str, other: Words, own: Words) -> bool:
    """Whether another finding is asserted by words that are not the finding's own."""
    blanked = own.mention_pattern.sub(lambda match: " " * len(match.group()), folded)
    return _asserted(blanked, other.name_pattern)
