"""Runs that differ only in seed and split are one experiment: their mean and spread."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from .records import Figure, ReportedRun

__all__ = [
    "MENTIONED",
    "RunGroup",
    "group_runs",
    "group_settings",
    "mean_figure",
    "setting_text",
    "where_it_loses",
    "without_repeats",
]

Floats = npt.NDArray[np.float64]
#: Smaller losses are not worth a word.
MENTIONED = 0.02
#: Runs whose figures differ less gave the same.
_ALIKE = 1e-9


@dataclass(frozen=True)
class RunGroup:
    """Runs of one configuration, but for their seeds.

    Attributes:
        backbone: Backbone of their embeddings.
        scenario: Scenario of all.
        method: Method of all.
        preset: How adaptors were trained, for methods that train any.
        variant: What else tells it from groups of the same scenario and method.
        runs: At least one, oldest first.
    """

    backbone: str
    scenario: str
    method: str
    preset: str
    variant: str
    runs: tuple[ReportedRun, ...]

    @property
    def name(self) -> str:
        """The method as a reader knows it."""
        known = self.method == "finetune" and self.preset != "default"
        name = self.preset if known else self.method
        return f"{name} ({self.variant})" if self.variant else name

    @property
    def newest(self) -> ReportedRun:
        """The run whose details are shown."""
        return self.runs[-1]

    @property
    def same_images(self) -> bool:
        """Whether all runs have the same test images, and differ in seed only."""
        return len({run.test_images for run in self.runs}) == 1

    def summary(self, metric: str) -> Figure:
        """A figure over all runs; see `mean_figure`.

        Runs that differ in seed only have the same test patients: their interval is
        over these, because a spread over seeds says nothing of other patients.
        """
        figures = [run.figure(metric) for run in self.runs]
        mean = mean_figure(figures, same_images=self.same_images)
        return _within(mean, 0 if "auroc" in metric else -1)

    def difference(self, metric: str, other: str) -> Figure:
        """One figure less another, run by run; its interval needs two runs or more."""
        moved = [
            Figure(run.figure(metric).value - run.figure(other).value)
            for run in self.runs
        ]
        return _within(mean_figure(moved), -1)

    def differences(self, metric: str, task: int) -> dict[str, Figure]:
        """Finding -> its figure after the last task less that after a task."""
        by_name: dict[str, list[Figure]] = {}
        for run in self.runs:
            moved = run.row(metric) - run.row(metric, task)
            for name, value in zip(run.findings, moved.tolist(), strict=True):
                by_name.setdefault(name, []).append(Figure(value))
        return {
            name: _within(mean_figure(values), -1) for name, values in by_name.items()
        }


def _within(figure: Figure, least: float) -> Figure:
    """Ends of an interval cut to what is possible: AUROC, or differences of AUROCs.

    Student's interval over a few runs knows no limits.
    """
    low, high = np.clip([figure.low, figure.high], least, 1).tolist()
    return Figure(figure.value, low, high)


def mean_figure(figures: Sequence[Figure], *, same_images: bool = False) -> Figure:
    """Mean over runs with the 95 % interval of that mean.

    From two runs on, Student's interval from their spread (runs on splits of the same
    patients are not independent, so it is somewhat too narrow). One run keeps its own
    interval, which is over test patients; so do runs that do not differ, and the ends
    of runs on the same test images are the means of their ends.

    Args:
        figures: Figures of the runs.
        same_images: Whether all runs have the same test images.

    >>> mean_figure([Figure(0.5, 0.4, 0.6)])
    Figure(value=0.5, low=0.4, high=0.6)
    >>> mean = mean_figure([Figure(0.5), Figure(0.6), Figure(0.7), Figure()])
    >>> round(mean.value, 3), round(mean.low, 3), round(mean.high, 3)
    (0.6, 0.352, 0.848)
    >>> mean_figure([Figure(0.5, 0.25, 0.75), Figure(0.5, 0.25, 0.75)])
    Figure(value=0.5, low=0.25, high=0.75)
    """
    known = [one for one in figures if not np.isnan(one.value)]
    if len(known) < 2:
        return known[0] if known else Figure()
    values = np.array([one.value for one in known])
    own = np.array([(one.low, one.high) for one in known]).mean(axis=0)
    if np.ptp(values) < _ALIKE or (same_images and not np.isnan(own).any()):
        return Figure(float(values.mean()), float(own[0]), float(own[1]))
    spread = values.std(ddof=1) / np.sqrt(len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * spread)
    mean = float(values.mean())
    return Figure(mean, mean - half, mean + half)


def without_repeats(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """Of runs with equal settings that came out the same, only the newest.

    A run that was repeated, or that a seed makes no difference to, says nothing new;
    counting it twice would make intervals over runs too narrow.

    Args:
        runs: Oldest first.
    """
    newest: dict[tuple[str, ...], ReportedRun] = {}
    for run in runs:
        settings = json.dumps(_settings(run), sort_keys=True)
        rounded = np.nan_to_num(np.round(run.matrix(), 9), nan=-1)
        figures = hashlib.blake2b(rounded.tobytes()).hexdigest()
        newest[run.store, run.fingerprint, settings, figures] = run
    kept = {(run.store, run.run_id) for run in newest.values()}
    return [run for run in runs if (run.store, run.run_id) in kept]


def group_runs(
    runs: Iterable[ReportedRun], *, by_division: bool = False
) -> list[RunGroup]:
    """Put runs together that differ only in seed and split, in order of appearance.

    Runs of different backbones, images, findings or options are never mixed; the same
    backbone with other weights is mixed only across stores.

    Args:
        runs: Oldest first.
        by_division: Whether runs on the splits of `ingest` are kept apart from those
            on other divisions, with which they share no test images, and from one
            another if images, findings or labels changed between them.
    """
    runs = list(runs)
    encoders: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        encoders.setdefault((run.store, run.backbone), set()).add(run.fingerprint)
    of_key: dict[str, list[ReportedRun]] = {}
    for run in runs:
        several = len(encoders[run.store, run.backbone]) > 1
        settings = {
            **_settings(run),
            "encoder": run.fingerprint if several else "",
            "rests on": _rests_on(run) if by_division else "",
        }
        of_key.setdefault(json.dumps(settings, sort_keys=True), []).append(run)
    groups = [
        RunGroup(
            one[0].backbone,
            one[0].scenario,
            one[0].method,
            one[0].record.config.preset,
            "",
            tuple(one),
        )
        for one in of_key.values()
    ]
    return _told_apart(groups)


def _rests_on(run: ReportedRun) -> list[object]:
    provenance = run.record.provenance
    if provenance.selection.split_seed is not None:
        return ["divisions", dict(provenance.label_versions)]
    findings = sorted(run.findings)
    return [run.test_images, findings, dict(provenance.label_versions)]


def group_settings(group: RunGroup) -> Mapping[str, object]:
    """What all runs of a group have in common, flat, by name."""
    return _settings(group.newest)


def _settings(run: ReportedRun) -> dict[str, object]:
    """Everything but seeds, time and place; flat, by name."""
    record = run.record
    experiment, chosen = asdict(record.config), asdict(record.provenance.selection)
    flat = {**chosen, **experiment, **experiment["train"]}
    unimportant = {"train", "seed", "split_seed", "device", "with_bounds"}
    kept = {name: value for name, value in flat.items() if name not in unimportant}
    lineage = {
        name: value
        for name, value in asdict(record.lineage).items()
        if value and name != "contributions"
    }
    return {"backbone": run.backbone, **kept, **lineage}


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
            f"{name}={setting_text(ours.get(name))}"
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


def setting_text(value: object) -> str:
    """A setting in few words.

    >>> [setting_text(value) for value in (None, ("a", "b"), {}, {"x": 1}, 0.5)]
    ['all', 'a+b', 'default', 'x=1', '0.5']
    """
    if isinstance(value, list | tuple):
        return "+".join(map(str, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={one}" for name, one in value.items()) or "default"
    return "all" if value is None else str(value)


def where_it_loses(group: RunGroup) -> list[str]:
    """Plain sentences on what a reader should hold against it.

    Forgetting and sequence gap above `MENTIONED`; ending below zero-shot or below
    logistic regression; findings that end below zero-shot. Differences are taken run
    by run, and have an interval over runs where there are several.
    """
    losses = []
    for metric, words in (
        ("forgetting", "forgetting"),
        ("sequence_gap", "gap to joint-observed"),
    ):
        figure = group.summary(metric)
        if figure.value > MENTIONED:
            losses.append(f"{words} {_signed(figure)}")
    for metric, other, words in (
        ("final_auroc", "zero_shot_auroc", "it ends below zero-shot"),
        (
            "final_auroc_all",
            "macro_auroc_logistic_regression",
            "its mean over all findings is below that of logistic regression on all "
            "labels",
        ),
    ):
        moved = group.difference(metric, other)
        if moved.value < 0:
            ours, theirs = group.summary(metric).value, group.summary(other).value
            losses.append(
                f"{words}: {ours:.3f} against {theirs:.3f}, a difference of "
                f"{_signed(moved)}"
            )
    losers = sorted(
        (moved.value, name, moved)
        for name, moved in group.differences("auroc", 0).items()
        if moved.value < -MENTIONED
    )
    if losers:
        listed = "; ".join(f"{name} {_signed(moved)}" for _, name, moved in losers)
        losses.append(f"findings that end below zero-shot: {listed}")
    return losses


def _signed(figure: Figure) -> str:
    """A difference with its interval, if it has one that shows.

    >>> _signed(Figure(-0.1)), _signed(Figure(-0.1, -0.3, 0.1))
    ('−0.100', '−0.100 (−0.300 to +0.100)')
    >>> _signed(Figure(0.2, 0.2, 0.2001))
    '+0.200'
    """
    value, low, high = (
        f"{end:+.3f}".replace("-", "−")
        for end in (figure.value, figure.low, figure.high)
    )
    if np.isnan(figure.low) or value == low == high:
        return value
    return f"{value} ({low} to {high})"
