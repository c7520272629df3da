"""The findings that retune knows by name, and what data sets call them.

The vocabulary is the union of CheXpert's columns (Irvin et al., AAAI 2019) and the
labels of NIH ChestX-ray14 (Wang et al., CVPR 2017), spelled as CheXpert spells. A
store may hold other findings too: a hospital's own table brings its own names.

`MORE_FINDINGS` are names that other public data sets share; they are canonical too, but
only findings of `FINDINGS` get sentences before a data set asks for them.

Tokens are mapped exactly, never by substring: a "pseudonodule" is not a nodule. Each
reader in `retune.pipeline.datasets` keeps the tokens of its own data set.
"""

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from retune.store.errors import ConfigurationError
from retune.store.label_states import NO_FINDING

from .finding_aliases import FOREIGN_NAMES

__all__ = [
    "ALIASES",
    "CHEXPERT_TOKENS",
    "FINDINGS",
    "HIERARCHY",
    "MORE_FINDINGS",
    "NIH_TOKENS",
    "NO_FINDING",
    "VOCABULARY",
    "alias_of",
    "broader_findings",
    "canonical_name",
    "known_spelling",
    "spelling_key",
]

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

#: What VinDr-CXR, PadChest and Open-i label beyond that, under one name for all.
MORE_FINDINGS: Final[tuple[str, ...]] = (
    "Aortic Enlargement",
    "Calcification",
    "Calcified Granuloma",
    "Chronic Obstructive Pulmonary Disease",
    "Clavicle Fracture",
    "Granuloma",
    "Interstitial Lung Disease",
    "Lung Cavity",
    "Lung Cyst",
    "Lung Tumor",
    "Mediastinal Shift",
    "Nodule or Mass",
    "Other Disease",
    "Other Lesion",
    "Pulmonary Artery Enlargement",
    "Rib Fracture",
    "Scoliosis",
    "Tuberculosis",
)

#: Every name that is canonical.
VOCABULARY: Final[tuple[str, ...]] = (*FINDINGS, *MORE_FINDINGS)

#: What findings are called elsewhere -> canonical name.
ALIASES: Final[Mapping[str, str]] = MappingProxyType(
    {
        **FOREIGN_NAMES,
        **{n: f for n, f in NIH_TOKENS.items() if n.replace("_", " ") != f},
    }
)

#: Finding -> what it includes. The first three lines are CheXpert's own hierarchy
#: (Irvin et al., AAAI 2019, figure 1); the rest follows from the words.
HIERARCHY: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "Enlarged Cardiomediastinum": ("Cardiomegaly",),
        "Lung Opacity": (
            "Edema", "Consolidation", "Atelectasis", "Lung Lesion", "Infiltration",
        ),
        "Consolidation": ("Pneumonia",),
        "Lung Lesion": ("Nodule or Mass", "Lung Tumor"),
        "Nodule or Mass": ("Nodule", "Mass"),
        "Pleural Other": ("Pleural Thickening",),
        "Fracture": ("Rib Fracture", "Clavicle Fracture"),
        "Granuloma": ("Calcified Granuloma",),
    }
)  # fmt: skip


def broader_findings(finding: str) -> tuple[str, ...]:
    """The findings that include this one, the nearest first.

    >>> broader_findings("Pneumonia")
    ('Consolidation', 'Lung Opacity')
    >>> broader_findings("Pneumothorax")
    ()
    """
    for parent, children in HIERARCHY.items():
        if finding in children:
            return (parent, *broader_findings(parent))
    return ()


def known_spelling(name: str, known: Sequence[str] = VOCABULARY) -> str | None:
    """The one known name that is spelled so but for case and underscores, if any.

    >>> known_spelling("pleural_effusion")
    'Pleural Effusion'
    >>> known_spelling("pseudonodule") is None
    True
    """
    key = spelling_key(name)
    same = {other for other in known if spelling_key(other) == key}
    return same.pop() if len(same) == 1 else None


def spelling_key(name: str) -> str:
    """What two spellings of one finding have in common.

    Case, underscores and runs of white space are ignored, and nothing else is.

    >>> spelling_key("Pleural_Effusion") == spelling_key(" pleural  effusion ")
    True
    >>> spelling_key("Effusion") == spelling_key("Pleural Effusion")
    False
    """
    return " ".join(name.replace("_", " ").split()).casefold()


_BY_KEY: Final[Mapping[str, str]] = MappingProxyType(
    {spelling_key(name): finding for name, finding in ALIASES.items()}
)


def alias_of(name: str) -> str | None:
    """The canonical finding that a name elsewhere stands for, if it is one.

    >>> alias_of("Effusion"), alias_of("pleuraerguss"), alias_of("Pseudonodule")
    ('Pleural Effusion', 'Pleural Effusion', None)
    """
    return _BY_KEY.get(spelling_key(name))


def canonical_name(name: str, known: Sequence[str]) -> str:
    """The known finding that a user means by a name.

    An exact match wins; otherwise the one known name with the same spelling key;
    otherwise the one that is called so elsewhere, as by NIH (``Effusion``).

    Args:
        name: A finding as somebody typed it.
        known: The findings to choose from, for example those that a store holds.

    Raises:
        ConfigurationError: No known finding is spelled so, or several are.

    >>> canonical_name("pleural_effusion", FINDINGS)
    'Pleural Effusion'
    >>> canonical_name("rib fracture", ["Rib fracture", "Edema"])
    'Rib fracture'
    >>> canonical_name("Effusion", FINDINGS)
    'Pleural Effusion'
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
    meant = _meant_by(name)
    alike = sorted({other for other in known if _meant_by(other) == meant})
    if meant is not None and len(alike) == 1:
        return alike[0]
    raise ConfigurationError(f"unknown finding {name!r}", _suggestion(name, known))


def _meant_by(name: str) -> str | None:
    """The canonical finding of any name that is known, here or elsewhere."""
    return known_spelling(name) or alias_of(name)


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
