"""Comparing two runs on the same test images."""

from dataclasses import dataclass

from retune.store import FeatureStore, find_run
from retune.store.plural import counted

from ..learn.runs.scored_run import ScoredRun, check_comparable, score_run
from ..learn.stats.paired import (
    MacroDifference,
    macro_difference,
    paired_delong,
)
from ..learn.stats.sufficiency import (
    MIN_POSITIVES,
    left_out_note,
    sufficient_findings,
)

__all__ = ["FEW", "Comparison", "FindingDifference", "compare"]

#: Images of the smaller class below which the test is a rough guide.
FEW = 10


@dataclass(frozen=True)
class FindingDifference:
    """DeLong's paired test for one finding; NaN where there is no figure.

    Attributes:
        finding: Its name.
        positive: Positive test images.
        first: AUROC of the first run.
        second: AUROC of the second.
        difference: First less second.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: p of the test.
        p_holm: Adjusted for the number of findings (Holm).
        few: Whether a class has fewer than `FEW` images.
    """

    finding: str
    positive: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    few: bool


@dataclass(frozen=True)
class Comparison:
    """Two runs on their common test images.

    Attributes:
        first: One run with its scores.
        second: The other.
        findings: A test for each finding that both know.
        macro: Metrics of the mean over findings, by paired bootstrap over patients.
        note: How many findings the mean leaves out; empty if none.
    """

    first: ScoredRun
    second: ScoredRun
    findings: tuple[FindingDifference, ...]
    macro: MacroDifference
    note: str = ""

    @property
    def n_images(self) -> int:
        """Test images."""
        return len(self.first.image_id)

    @property
    def n_patients(self) -> int:
        """Their patients."""
        return len(set(self.first.patient_id.tolist()))

    def __repr__(self) -> str:
        macro = self.macro
        return (
            f"Comparison({self.first.run.run_id} less {self.second.run.run_id}: "
            f"{macro.difference:+.3f} ({macro.low:+.3f} to {macro.high:+.3f}), "
            f"p = {macro.p:.3f}, {counted(self.n_images, 'image')})"
        )


def compare(
    store: FeatureStore,
    first: str,
    second: str,
    *,
    across_encoders: bool = False,
    min_positives: int = MIN_POSITIVES,
    seed: int = 0,
) -> Comparison:
    """Test whether two runs differ on the same test images.

    Args:
        store: With both runs.
        first: Run id, the beginning of one, or ``latest``.
        second: The run to compare it with.
        across_encoders: Whether their vectors may be of different encoders.
        min_positives: Test positives, and negatives, from which a finding enters the
            mean.
        seed: Seed of the bootstrap.

    Raises:
        ConfigurationError: A run is unknown, their images or labels differ, or test
            images are no longer in the store.
        FingerprintMismatchError: They are of different encoders.
        TrainingError: The record or the folder of a run is damaged.
    """
    runs = [find_run(store, name) for name in (first, second)]
    one, other = check_comparable(
        *(score_run(store, run) for run in runs), across_encoders=across_encoders
    )
    cells = one.targets.value, one.targets.observed
    n_positive = ((cells[0] > 0) & cells[1]).sum(axis=0)
    counts = n_positive, cells[1].sum(axis=0), min_positives
    macro = macro_difference(
        one.score,
        other.score,
        *cells,
        one.patient_id,
        findings=sufficient_findings(*counts),
        seed=seed,
    )
    return Comparison(
        one, other, _differences(one, other), macro, left_out_note(*counts)
    )


def _differences(one: ScoredRun, other: ScoredRun) -> tuple[FindingDifference, ...]:
    value, observed = one.targets.value, one.targets.observed
    test = paired_delong(one.score, other.score, value, observed)
    positive = ((value > 0) & observed).sum(axis=0)
    negative = observed.sum(axis=0) - positive
    return tuple(
        FindingDifference(
            name,
            int(positive[k]),
            float(test.first[k]),
            float(test.second[k]),
            float(test.difference[k]),
            float(test.low[k]),
            float(test.high[k]),
            float(test.p[k]),
            float(test.p_holm[k]),
            bool(min(positive[k], negative[k]) < FEW),
        )
        for k, name in enumerate(one.findings)
    )
