"""The same images and several sets of prompts: what do the words change?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...progress import Progress, ProgressCallback, silent
from ..problem.features import Features, Prompts
from ..problem.targets import make_targets
from ..runs.experiment import Experiment, ExperimentConfig, run_experiment
from ..stats.evaluation import EvaluatedRows
from ..stats.paired import MacroDifference, macro_difference

__all__ = ["AblationRow", "ablate_prompts"]

_SCENARIOS = ("zero-shot", "joint")


@dataclass(frozen=True)
class AblationRow:
    """Mean test AUROC of one condition in one scenario.

    Attributes:
        condition: Name of the set of prompts.
        scenario: ``zero-shot`` or ``joint``.
        auroc: Mean over the findings that have one.
        low: Lower end of its 95 % interval (bootstrap over patients).
        high: Upper end.
        against: The baseline's mean less this one's, on the same draws; None for the
            baseline itself.
        findings: Finding -> (AUROC, lower, upper end; DeLong).
    """

    condition: str
    scenario: str
    auroc: float
    low: float
    high: float
    against: MacroDifference | None
    findings: Mapping[str, tuple[float, float, float]]


def ablate_prompts(
    features: Features,
    prompts: Mapping[str, Prompts],
    baseline: str,
    config: ExperimentConfig,
    progress: ProgressCallback = silent,
) -> list[AblationRow]:
    """Score and train with each set of prompts, on the same splits and seed.

    Args:
        features: The images.
        prompts: Condition -> descriptions of all findings of the images.
        baseline: The condition that the others are compared with, in pairs.
        config: How to train; its scenario is not looked at.
        progress: Told after each run.

    Returns:
        A row per condition and scenario.

    Raises:
        TrainingError: The images cannot be trained on.
    """
    total = len(prompts) * len(_SCENARIOS)
    rows = []
    for scenario in _SCENARIOS:
        asked = replace(config, scenario=scenario, with_bounds=False)
        held: Experiment | None = None
        for name in sorted(prompts, key=lambda one: one != baseline):
            result = run_experiment(features, prompts[name], asked)
            held = held or result
            rows.append(_row(name, scenario, result, held, features))
            progress(Progress("runs", len(rows), total, f"{scenario}, {name}"))
    order = {name: index for index, name in enumerate(prompts)}
    return sorted(rows, key=lambda row: order[row.condition])


def _row(
    name: str,
    scenario: str,
    result: Experiment,
    held: Experiment,
    features: Features,
) -> AblationRow:
    final = result.final
    against = None
    if result is not held:
        columns = [features.findings.index(finding) for finding in result.findings]
        config = result.config
        targets = make_targets(
            features.states[:, columns],
            config.uncertain,
            config.blank,
            findings=result.findings,
        )
        test = EvaluatedRows.of(features, targets, features.rows("test"))
        against = macro_difference(
            held.prediction.score[test.rows],
            result.prediction.score[test.rows],
            test.value,
            test.observed,
            features.patient_id[test.rows],
            seed=config.train.seed,
        )
    figures = zip(final.auroc, final.low, final.high, strict=True)
    return AblationRow(
        name,
        scenario,
        *final.macro,
        against,
        {
            finding: (float(value), float(low), float(high))
            for finding, (value, low, high) in zip(
                result.findings, figures, strict=True
            )
        },
    )
