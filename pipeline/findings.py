"""The findings that retune knows by name, and what data sets call them.

The vocabulary is the union of CheXpert's columns (Irvin et al., AAAI 2019) and the
labels of NIH ChestX-ray14 (Wang et al., CVPR 2017), spelled as CheXpert spells. A
store may hold other findings too: a hospital's own table brings its own names.

Tokens are mapped exactly, never by substring: a "pseudonodule" is not a nodule.
"""

import difflib
from collections.abc import Sequence
from typing import Final

from retune.store.errors import ConfigurationError

__all__ = [
    "CHEXPERT_TOKENS",
    "FINDINGS",
    "NIH_TOKENS",
    "NO_FINDING",
    "canonical_name",
    "spelling_key",
]

#: A column in both data sets, yet derived from the findings rather than one of them.
NO_FINDING: Final = "No Finding"

#: CheXpert's column name -> canonical name; they are the same by our choice.
CHEXPERT_TOKENS: Final[dict[str, str]] = {
    name: name
    for name in (
        "Enlarged Cardiomediastinum",
        "Cardiomegaly",
        "Lung Opacity",
        "Lung Lesion",
        "Edema",
        "Consolidation",
        "Pneumonia",
        "Atelectasis",
        "Pneumothorax",
        "Pleural Effusion",
        "Pleural Other",
        "Fracture",
        "Support Devices",
    )
}

#: Token in NIH's `Finding Labels` -> canonical name.
NIH_TOKENS: Final[dict[str, str]] = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Effusion": "Pleural Effusion",
    "Emphysema": "Emphysema",
    "Fibrosis": "Fibrosis",
    "Hernia": "Hernia",
    "Infiltration": "Infiltration",
    "Mass": "Mass",
    "Nodule": "Nodule",
    "Pleural_Thickening": "Pleural Thickening",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}

#: Every canonical finding: CheXpert's in the order of its columns, then what NIH adds.
FINDINGS: Final[tuple[str, ...]] = (
    *CHEXPERT_TOKENS.values(),
    "Infiltration",
    "Mass",
    "Nodule",
    "Emphysema",
    "Fibrosis",
    "Pleural Thickening",
    "Hernia",
)


def spelling_key(name: str) -> str:
    """What two spellings of one finding have in common.

    Case, underscores and runs of white space are ignored, and nothing else is.

    >>> spelling_key("Pleural_Effusion") == spelling_key(" pleural  effusion ")
    True
    >>> spelling_key("Effusion") == spelling_key("Pleural Effusion")
    False
    """
    return " ".join(name.replace("_", " ").split()).casefold()


def canonical_name(name: str, known: Sequence[str]) -> str:
    """The known finding that a user means by a name.

    An exact match wins; otherwise the one known name with the same spelling key.

    Args:
        name: A finding as somebody typed it.
        known: The findings to choose from, for example those that a store holds.

    Raises:
        ConfigurationError: No known finding is spelled so, or several are.

    >>> canonical_name("pleural_effusion", FINDINGS)
    'Pleural Effusion'
    >>> canonical_name("rib fracture", ["Rib fracture", "Edema"])
    'Rib fracture'
    """
    if name in known:
        return name
    key = spelling_key(name)
    same = sorted({other for other in known if spelling_key(other) == key})
    if len(same) == 1:
        return same[0]
    if same:
        raise ConfigurationError(
            f"the finding {name!r} may mean any of: {', '.join(same)}",
            "Write the one you mean exactly as it is listed.",
        )
    raise ConfigurationError(f"unknown finding {name!r}", _suggestion(name, known))


def _suggestion(name: str, known: Sequence[str]) -> str:
    if spelling_key(name) == spelling_key(NO_FINDING):
        return f"{NO_FINDING!r} is derived from the findings; it is not one of them."
    if not known:
        return "There are no findings to choose from."
    by_key = {spelling_key(other): other for other in known}
    close = difflib.get_close_matches(spelling_key(name), by_key, n=3)
    if close:
        return f"Did you mean {' or '.join(repr(by_key[key]) for key in close)}?"
    return f"Known findings: {', '.join(known)}."
