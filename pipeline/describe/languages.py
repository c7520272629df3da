"""Function words and words of negation of a few languages."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["LANGUAGES", "Cues", "guess_language"]


@dataclass(frozen=True)
class Cues:
    """How a language denies.

    Attributes:
        negation: Words that negate what follows in the clause.
        after: Phrases that negate what stands before them.
        normal: Words that say what is seen instead.
        common: Function words that few other languages here share.
    """

    negation: re.Pattern[str]
    after: re.Pattern[str]
    normal: re.Pattern[str]
    common: frozenset[str]


def _cues(negation: str, after: str, normal: str, common: str) -> Cues:
    def any_of(phrases: str) -> re.Pattern[str]:
        return re.compile(rf"\b(?:{phrases})\b")

    return Cues(
        any_of(negation), any_of(after), any_of(normal), frozenset(common.split())
    )


#: ISO 639-1 code -> cues.
LANGUAGES: Final[Mapping[str, Cues]] = {
    "en": _cues(
        "no|not|without|free of|free from|neither|nor|none|never|absence of|absent|"
        "lacks?|lacking|negative for|rules? out|excluded?|rather than|instead of|"
        "devoid of|resolved|removed|fails? to|cannot|clear of|nothing",
        "is absent|are absent|is not|are not|not seen|not present|is excluded|"
        "has resolved|ha(?:s|ve) been removed|is never|excluded|nowhere|is negative|"
        "within normal limits|"
        "is normal|are normal|is unremarkable|remains normal",
        r"normal\w*|clear\w*|intact|unremarkable|sharp\w*|within normal limits|"
        r"preserved|smooth\w*|regular\w*|symmetric\w*|thin|well[- ]aerated|"
        r"expanded|inflated|midline|central\w*|straight|narrow|crisp\w*|slender|lucent|"
        r"uniform\w*|homogeneous|healthy|usual|aerated|distinct|fine|free|"
        r"air[- ]filled|"
        r"below 0\.5|less than half|delicate|evenly|taper\w*|below the diaphragm|"
        r"against the chest wall|reach\w* the|extend\w* to|maintained|equal\w*|"
        r"unobstructed|continuous|lies? below",
        "the is are with and of there this in on at no without both",
    ),
    "es": _cues(
        "no|sin|ausencia de|ningún|ninguna|ni|libres? de|tampoco",
        "ausentes?|no se observan?|no visibles?",
        r"normal\w*|limpi\w+|conservad\w+|íntegr\w+|nítid\w+|libres?|bien",
        "el los las una del con por se y sin en hay ambos",
    ),
    "fr": _cues(
        "pas de|pas d|aucune?|sans|absence de|absence d|ni|ne|libres? de",
        "absente?s?|non visibles?|n'est pas",
        r"norma\w+|clairs?|nets?|intacte?s?|libres?|conservée?s?|fine?s?",
        "le les une des du avec et pas aucun dans est sont il au aux",
    ),
    "de": _cues(
        r"kein\w*|nicht|ohne|weder|noch|frei von|ausschluss|fehlen",
        "fehlt|fehlen|nicht nachweisbar|nicht erkennbar|ausgeschlossen",
        r"normal\w*|unauffällig\w*|frei\w*|regelrecht\w*|scharf\w*|intakt\w*|zart\w*",
        "der die das ein eine und mit ist sind im kein keine nicht von auf",
    ),
    "it": _cues(
        r"non|senza|assenza di|nessun\w*|né|privi? di|liber[oiae] da",
        r"assent[ei]|non visibil[ei]|non si osserv\w+",
        r"normal\w*|liber\w+|regolar\w+|integr\w+|nei limiti|nitid\w+|sottil\w+",
        "il lo gli della del nel con una senza sono che di non alla",
    ),
    "pt": _cues(
        r"não|sem|ausência de|nenhum\w*|nem|livres? de",
        r"ausentes?|não visíve\w+|não se observa\w*",
        r"norma\w+|limp\w+|preservad\w+|íntegr\w+|nítid\w+|livres?",
        "o os as uma do da com sem não são há em no na dos das e",
    ),
}

#: Ranges of letters that none of `LANGUAGES` is written in.
_SCRIPTS: Final = (
    ("el", "\u0370", "\u03ff"),
    ("ru", "\u0400", "\u04ff"),
    ("he", "\u0590", "\u05ff"),
    ("ar", "\u0600", "\u06ff"),
    ("hi", "\u0900", "\u097f"),
    ("ja", "\u3040", "\u30ff"),
    ("zh", "\u4e00", "\u9fff"),
    ("ko", "\uac00", "\ud7af"),
)


def guess_language(text: str) -> str | None:
    """The language that a sentence's function words point to, if clearly one.

    A sentence of few function words, as reports have many, gives None: not every
    "Left apical pneumothorax" can be placed.

    >>> guess_language("There is no evidence of a pneumothorax.")
    'en'
    >>> guess_language("Es zeigt sich kein Pneumothorax auf der linken Seite.")
    'de'
    >>> guess_language("Apical pneumothorax") is None
    True
    """
    for code, first, last in _SCRIPTS:
        # A unit such as "µm" or a Greek letter alone is no foreign sentence.
        if sum(first <= letter <= last for letter in text) > 2:
            return code
    words = set(re.findall(r"[^\W\d_]+", text.casefold()))
    counts = {code: len(words & cues.common) for code, cues in LANGUAGES.items()}
    best, second = sorted(counts.values(), reverse=True)[:2]
    if best < 2 or best == second:
        return None
    return max(counts, key=lambda code: counts[code])
