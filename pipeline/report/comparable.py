"""Which groups of runs may share a chart, and why others may not."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .groups import RunGroup, group_settings, setting_text

__all__ = ["Basis", "Comparison", "Lone", "compare_groups", "differing_settings"]

_SCENARIOS = ("label", "data", "class", "joint", "merge", "zero-shot")
#: Settings that say the same as the basis of a comparison or the name of a group.
_TOLD = {
    "scenario", "method", "backbone", "datasets", "where", "uncertain", "blank",
    "allow_contaminated", "with_bounds", "contributions",
}  # fmt: skip


@dataclass(frozen=True)
class Basis:
    """What must be alike, or figures of runs cannot be compared.

    Attributes:
        encoder: Backbone and fingerprints.
        findings: In alphabetical order.
        images: Images of the test split, one digest for each division into splits.
        labels: How uncertain and missing labels count.
        versions: Versions of the labels of each dataset.
    """

    encoder: tuple[str, ...]
    findings: tuple[str, ...]
    images: tuple[str, ...]
    labels: tuple[str, str]
    versions: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, group: RunGroup) -> "Basis":
        """The basis of a group."""
        runs, config = group.runs, group.newest.record.config
        return cls(
            (group.backbone, *_each(run.fingerprint for run in runs)),
            _each(name for run in runs for name in run.findings),
            _each(run.test_images for run in runs),
            (config.uncertain, config.blank),
            tuple(sorted(group.newest.record.provenance.label_versions.items())),
        )


def _each(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


@dataclass(frozen=True)
class Comparison:
    """Groups on the same basis, in the order of their scenarios."""

    basis: Basis
    groups: tuple[RunGroup, ...]


@dataclass(frozen=True)
class Lone:
    """A group that shares its basis with no other, and what tells it from the first."""

    group: RunGroup
    reasons: tuple[str, ...]


def compare_groups(
    groups: Sequence[RunGroup],
) -> tuple[list[Comparison], list[Lone]]:
    """Put groups on the same basis together, the largest comparison first.

    Groups that are alone on their basis come after, with the reasons. If all are, the
    one with most runs counts as a comparison of one.
    """
    of_basis: dict[Basis, list[RunGroup]] = {}
    for group in groups:
        of_basis.setdefault(Basis.of(group), []).append(group)
    groups_of_basis = sorted(
        of_basis.items(),
        key=lambda item: (-len(item[1]), -sum(len(one.runs) for one in item[1])),
    )
    comparisons = [
        Comparison(basis, tuple(sorted(members, key=_by_scenario)))
        for index, (basis, members) in enumerate(groups_of_basis)
        if len(members) > 1 or index == 0
    ]
    alone = [members[0] for _, members in groups_of_basis[len(comparisons) :]]
    return comparisons, [Lone(one, _reasons(one, comparisons[0])) for one in alone]


def _by_scenario(group: RunGroup) -> tuple[int, str]:
    known = group.scenario in _SCENARIOS
    rank = _SCENARIOS.index(group.scenario) if known else len(_SCENARIOS)
    return rank, group.scenario


def _reasons(group: RunGroup, other: Comparison) -> tuple[str, ...]:
    """How a group differs from a comparison, in words."""
    ours, theirs = Basis.of(group), other.basis
    reasons = []
    if ours.encoder != theirs.encoder:
        reasons.append(f"other encoder: {' '.join(ours.encoder)}")
    if ours.findings != theirs.findings:
        reasons.append(_other_findings(ours.findings, theirs.findings))
    if ours.images != theirs.images:
        reasons.append(_other_images(group, other.groups[0]))
    if ours.labels != theirs.labels:
        uncertain, blank = ours.labels
        reasons.append(f"other labels: uncertain={uncertain}, blank={blank}")
    if dict(ours.versions) != dict(theirs.versions) and ours.images == theirs.images:
        versions = ", ".join(f"{name} {version}" for name, version in ours.versions)
        reasons.append(f"other versions of the labels: {versions}")
    return tuple(reasons)


def _other_findings(ours: Sequence[str], theirs: Sequence[str]) -> str:
    parts = [
        f"{word} {', '.join(sorted(names))}"
        for word, names in (
            ("without", set(theirs) - set(ours)),
            ("also", set(ours) - set(theirs)),
        )
        if names
    ]
    return f"other findings: {'; '.join(parts)}"


def _other_images(group: RunGroup, other: RunGroup) -> str:
    n_ours, n_theirs = group.newest.n_test_images, other.newest.n_test_images
    known = n_ours is not None and n_theirs is not None and n_ours != n_theirs
    counts = f" ({n_ours:,}, not {n_theirs:,})" if known else ""
    ours, theirs = group_settings(group), group_settings(other)
    chosen = [
        f"{name} {setting_text(ours.get(name))}"
        for name in ("datasets", "where", "allow_contaminated")
        if ours.get(name) != theirs.get(name)
    ]
    seeds = [run.record.provenance.selection.split_seed for run in group.runs]
    if not chosen and any(seed is not None for seed in seeds):
        chosen = [f"split_seed {', '.join(map(str, seeds))}"]
    return f"other test images{counts}{': ' if chosen else ''}{'; '.join(chosen)}"


def differing_settings(
    groups: Sequence[RunGroup],
) -> list[tuple[str, list[tuple[str, bool]]]]:
    """The settings in which groups differ.

    Returns:
        For each setting its name and, for each group, a text and whether it is unlike
        most groups.
    """
    settings = [group_settings(group) for group in groups]
    names = list(dict.fromkeys(name for one in settings for name in one))
    differing = []
    for name in names:
        texts = [
            setting_text(one.get(name)) if name in one else "–" for one in settings
        ]
        if name in _TOLD or len(set(texts)) < 2:
            continue
        (usual, n_usual), *_ = Counter(texts).most_common()
        differing.append(
            (name, [(text, n_usual > 1 and text != usual) for text in texts])
        )
    return differing
