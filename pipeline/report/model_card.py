"""The card of an exported model: what it was made of, how good it is, its limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retune.store.plural import counted

__all__ = ["CardFigures", "card_text"]

#: Name, value, and the ends of its interval.
Figure = tuple[str, float | None, float | None, float | None]


@dataclass(frozen=True)
class CardFigures:
    """What a card says.

    Attributes:
        run_id: The run.
        method: Name of the method.
        scenario: Name of the scenario.
        backbone: Backbone of the encoder.
        fingerprint: Fingerprint of the encoder.
        dim: D of its embeddings.
        findings: K names.
        thresholds: K probabilities from which a finding is called positive.
        auroc: Test AUROC of each finding.
        groups: Macro AUROC of groups of test images.
        provenance: What the run's record says of its images.
    """

    run_id: str
    method: str
    scenario: str
    backbone: str
    fingerprint: str
    dim: int
    findings: tuple[str, ...]
    thresholds: tuple[float, ...]
    auroc: Sequence[Figure] = ()
    groups: Sequence[Figure] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def card_text(card: CardFigures) -> str:
    """A model card in Markdown.

    >>> card = CardFigures("r", "analytic", "joint", "mini", "f", 4, ("Edema",), (0.5,))
    >>> "not for diagnosis" in card_text(card)
    True
    """
    lines = [
        f"# Model of run {card.run_id}",
        "",
        "**For research only, not for diagnosis.** Not a medical device.",
        "",
        "## What it is",
        "",
        f"Embeddings of shape (N, {card.dim}), as the encoder {card.fingerprint} "
        f"({card.backbone}) gives them, to probabilities of "
        f"{counted(len(card.findings), 'finding')}. Method {card.method}, scenario "
        f"{card.scenario}. Embeddings of another encoder give figures without meaning.",
        "",
        "## Data",
        "",
        *_data(card.provenance),
        "",
        "## Figures on test images",
        "",
        *_table("finding", card, card.auroc, thresholds=True),
        "",
        "## Groups of test images (macro AUROC)",
        "",
        *_table("group", card, card.groups, thresholds=False),
        "",
        "## Intended use and limits",
        "",
        "Research on chest radiographs like those above. Figures hold for the test "
        "images of these datasets; at another site, device or period they may be "
        "lower, "
        "and probabilities may be off: measure there first (`evaluate`, `drift`). "
        "Groups with few images have wide intervals. Labels are those of the datasets, "
        "with their errors.",
        "",
    ]
    return "\n".join(lines)


def _data(provenance: Mapping[str, Any]) -> list[str]:
    """Datasets with the versions of their labels, and how many images of each split."""
    versions = provenance.get("label_versions")
    splits = provenance.get("splits")
    if not isinstance(versions, Mapping) or not versions:
        return ["The run's record names no datasets."]
    names = [
        f"{name} (labels: version {version})" for name, version in versions.items()
    ]
    counts = [
        f"{one['n_images']:,} {split}"
        for split, one in (splits.items() if isinstance(splits, Mapping) else ())
        if isinstance(one, Mapping) and "n_images" in one
    ]
    images = f" Images: {', '.join(counts)}." if counts else ""
    return [f"Datasets: {', '.join(names)}.{images}"]


def _table(
    what: str, card: CardFigures, figures: Sequence[Figure], *, thresholds: bool
) -> list[str]:
    if not figures:
        return ["None were recorded."]
    known = dict(zip(card.findings, card.thresholds, strict=True))
    head = f"| {what} | AUROC | 95 % interval |" + " threshold |" * thresholds
    lines = [head, "|---" * (head.count("|") - 1) + "|"]
    for name, value, low, high in figures:
        shown = "undefined" if value is None else f"{value:.3f}"
        ends = "none" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        tail = f" {known[name]:.3f} |" if thresholds and name in known else ""
        tail = tail or " |" * thresholds
        lines.append(f"| {name.replace('|', '/')} | {shown} | {ends} |{tail}")
    return lines
