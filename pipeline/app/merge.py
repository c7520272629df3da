"""Merging: states of several runs become one run of the store."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from retune.store import FeatureStore

from ..learn.erasing.marks import refuse_superseded
from ..learn.problem.targets import BlankPolicy, UncertainPolicy
from ..learn.runs.experiment import run_merge
from ..learn.runs.learning_set import load_learning_set
from ..learn.runs.record import ExperimentConfig, Lineage
from ..learn.runs.reopened import find_state
from ..learn.runs.saving import save_run
from ..learn.runs.seen_images import check_states_apart
from ..learn.runs.selection import Selection
from ..learn.runs.state import merge_runs
from ..learn.stats.subgroups import image_groups
from .erasing.contribution import subtract_files
from .train import TrainedRun

__all__ = ["MergeRequest", "merge"]


@dataclass(frozen=True)
class MergeRequest:
    """Which states to add, and which images to evaluate their sum on.

    Attributes:
        sources: Runs of the store, or state files; two or more.
        selection: Images for thresholds and evaluation.
        uncertain: Policy for uncertain labels.
        blank: Policy for findings not mentioned.
        bounds: Also train what the merged run is compared with.
        subtract: Files of patients to take out of the sum, made by
            `write_patient_state`; one source is then enough.
    """

    sources: tuple[str, ...]
    selection: Selection = field(default_factory=Selection)
    uncertain: UncertainPolicy = "ignore"
    blank: BlankPolicy = "negative"
    bounds: bool = True
    subtract: tuple[str, ...] = ()


def merge(store: FeatureStore, request: MergeRequest) -> TrainedRun:
    """Add the states of runs that learned by sums: one model, as if trained on all.

    Raises:
        ConfigurationError: A run is unknown.
        TrainingError: The states do not fit each other, or images would count twice.
    """
    states = [find_state(store, name) for name in request.sources]
    alone = len(states) == 1 and request.subtract
    start = states[0] if alone else merge_runs(states)
    check_states_apart(store, [state.contributions for state in states])
    start = subtract_files(start, request.subtract)
    refuse_superseded(store, start.contributions)
    learning_set = load_learning_set(
        store, request.selection, fingerprint=start.fingerprint
    )
    config = ExperimentConfig(
        scenario="merge",
        train=start.config,
        method=start.method,
        findings=start.findings,
        uncertain=request.uncertain,
        blank=request.blank,
        with_bounds=request.bounds,
    )
    started_at, started = datetime.now(UTC), time.perf_counter()
    experiment = run_merge(
        learning_set.features,
        learning_set.prompts,
        config,
        start,
        groups=image_groups(learning_set.images),
    )
    run = save_run(
        store,
        learning_set,
        experiment,
        started_at=started_at.replace(tzinfo=None),
        seconds=time.perf_counter() - started,
        lineage=Lineage(merged=request.sources, contributions=start.contributions),
    )
    return TrainedRun(run, experiment, learning_set)
