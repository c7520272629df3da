"""Runs that differ only in seed and split are one experiment: their mean and spread."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from .records import Figure, RunRecord

__all__ = [
    "GOAL",
    "RunGroup",
    "group_runs",
    "mean_figure",
    "where_it_loses",
    "without_repeats",
]

Floats = npt.NDArray[np.float64]
#: What forgetting and sequence gap should stay below.
GOAL = 0.02
#: A finding's loss against zero-shot that is worth a word.
_LOSS = 0.02


@dataclass(frozen=True)
class RunGroup:
    """Runs of one configuration, but for their seeds.

    Attributes:
        backbone: Of their embeddings.
        scenario: Of all.
        method: Of all.
        preset: How adaptors were trained, for methods that train any.
        variant: What else tells it from groups of the same scenario and method.
        runs: At least one, oldest first.
    """

    backbone: str
    scenario: str
    method: str
    preset: str
    variant: str
    runs: tuple[RunRecord, ...]

    @property
    def name(self) -> str:
        """The method as a reader knows it."""
        known = self.method == "finetune" and self.preset != "default"
        name = self.preset if known else self.method
        return f"{name} ({self.variant})" if self.variant else name

    @property
    def newest(self) -> RunRecord:
        """The run whose details are shown."""
        return self.runs[-1]

    def summary(self, metric: str) -> Figure:
        """A figure over all runs; see `mean_figure`."""
        return mean_figure([run.figure(metric) for run in self.runs])

    def mean_row(self, metric: str, task: int | None = None) -> dict[str, float]:
        """Finding -> mean over the runs that have a figure of it after a task."""
        found: dict[str, list[float]] = {}
        for run in self.runs:
            for name, value in zip(run.findings, run.row(metric, task), strict=True):
                if not np.isnan(value):
                    found.setdefault(name, []).append(float(value))
        return {name: float(np.mean(values)) for name, values in found.items()}


def mean_figure(figures: Sequence[Figure]) -> Figure:
    """Mean over runs with the 95 % interval of that mean.

    From two runs on, Student's interval from their spread (runs on splits of the same
    patients are not independent, so it is somewhat too narrow). One run keeps its own
    interval, which is over test patients.

    >>> mean_figure([Figure(0.5, 0.4, 0.6)])
    Figure(value=0.5, low=0.4, high=0.6)
    >>> found = mean_figure([Figure(0.5), Figure(0.6), Figure(0.7), Figure()])
    >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
    (0.6, 0.352, 0.848)
    """
    known = [one for one in figures if not np.isnan(one.value)]
    if len(known) < 2:
        return known[0] if known else Figure()
    values = np.array([one.value for one in known])
    spread = values.std(ddof=1) / np.sqrt(len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * spread)
    mean = float(values.mean())
    return Figure(mean, mean - half, mean + half)


def without_repeats(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """Of runs with equal settings that came out the same, only the newest.

    A run that was repeated, or that a seed makes no difference to, says nothing new;
    counting it twice would make intervals over runs too narrow.

    Args:
        runs: Oldest first.
    """
    newest: dict[tuple[str, ...], RunRecord] = {}
    for run in runs:
        settings = json.dumps(_settings(run), sort_keys=True)
        rounded = np.nan_to_num(np.round(run.matrix(), 9), nan=-1)
        figures = hashlib.blake2b(rounded.tobytes()).hexdigest()
        newest[run.store, run.fingerprint, settings, figures] = run
    kept = {(run.store, run.run_id) for run in newest.values()}
    return [run for run in runs if (run.store, run.run_id) in kept]


def group_runs(runs: Iterable[RunRecord]) -> list[RunGroup]:
    """Put runs together that differ only in seed and split, in order of appearance.

    Runs of different backbones, images, findings or options are never mixed; the same
    backbone with other weights is mixed only across stores.
    """
    of_key: dict[str, list[RunRecord]] = {}
    for run in runs:
        of_key.setdefault(json.dumps(_settings(run), sort_keys=True), []).append(run)
    groups = [
        RunGroup(
            one[0].backbone,
            one[0].scenario,
            one[0].method,
            str(_experiment(one[0]).get("preset", "default")),
            "",
            tuple(one),
        )
        for one in of_key.values()
    ]
    return _told_apart(groups)


def _experiment(run: RunRecord) -> dict[str, object]:
    return dict(run.config.get("experiment", {}))


def _settings(run: RunRecord) -> dict[str, object]:
    """Everything but seeds, time and place; flat, by name."""
    experiment, chosen = _experiment(run), dict(run.config.get("chosen", {}))
    train = experiment.pop("train", {})
    flat = {**chosen, **experiment, **(train if isinstance(train, dict) else {})}
    unimportant = {"seed", "split_seed", "device", "with_bounds"}
    kept = {name: value for name, value in flat.items() if name not in unimportant}
    # Runs of before there was a choice are of s+ - s-.
    return {"backbone": run.backbone, "score": "difference", **kept}


def _told_apart(groups: list[RunGroup]) -> list[RunGroup]:
    """Name what differs between groups that would else read the same."""
    named = []
    for group in groups:
        alike = [
            _settings(one.newest)
            for one in groups
            if (one.scenario, one.name, one.backbone)
            == (group.scenario, group.name, group.backbone)
        ]
        ours = _settings(group.newest)
        differing = [
            f"{name}={_short(ours.get(name))}"
            for name in ours
            if len({json.dumps(one.get(name), sort_keys=True) for one in alike}) > 1
        ]
        variant = ", ".join(differing)
        named.append(
            RunGroup(
                group.backbone,
                group.scenario,
                group.method,
                group.preset,
                variant,
                group.runs,
            )
        )
    return named


def _short(value: object) -> str:
    if isinstance(value, list):
        return "+".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={one}" for name, one in value.items()) or "default"
    return "all" if value is None else str(value)


def where_it_loses(group: RunGroup) -> list[str]:
    """Plain sentences on what a reader should hold against it.

    Forgetting and sequence gap above `GOAL`; ending below zero-shot or below logistic
    regression; findings that end below zero-shot.
    """
    found = []
    for metric, words in (
        ("forgetting", "forgetting"),
        ("sequence_gap", "gap to joint-observed"),
    ):
        figure = group.summary(metric)
        if figure.value > GOAL:
            found.append(f"{words} {figure.value:.3f} is above {GOAL:g}")
    final, start = group.summary("final_auroc"), group.summary("zero_shot_auroc")
    if final.value < start.value:
        found.append(
            f"it ends at {final.value:.3f}, below zero-shot's {start.value:.3f}"
        )
    peer = group.summary("macro_auroc_logistic_regression")
    whole = group.summary("final_auroc_all")
    if whole.value < peer.value:
        found.append(
            f"its mean over all findings, {whole.value:.3f}, is below that of logistic "
            f"regression on all labels, {peer.value:.3f}"
        )
    before, after = group.mean_row("auroc", 0), group.mean_row("auroc")
    losers = sorted(
        (after[name] - before[name], name)
        for name in after.keys() & before.keys()
        if after[name] - before[name] < -_LOSS
    )
    if losers:
        listed = ", ".join(f"{name} ({loss:+.3f})" for loss, name in losers)
        found.append(f"findings that end below zero-shot: {listed}")
    return found
