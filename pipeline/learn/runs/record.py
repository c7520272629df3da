"""The record of a run: how it was made and from which images, typed and as JSON.

It is kept in the column `config` of the catalog's `runs`. Reading it needs no torch.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from retune.store import Run
from retune.store.errors import TrainingError

from ..problem.config import TrainConfig
from ..problem.prediction import Score
from ..problem.scenarios import Visible
from ..problem.targets import BlankPolicy, UncertainPolicy
from ..stats.sufficiency import MIN_POSITIVES
from .selection import Contribution, Provenance, Selection, SplitImages

__all__ = ["ExperimentConfig", "Lineage", "RunRecord", "read_record"]

_FORMAT_VERSION = 2
_T = TypeVar("_T")


@dataclass(frozen=True)
class ExperimentConfig:
    """What a run is.

    Attributes:
        scenario: One of `SCENARIOS`, or ``merge`` for states that were added.
        train: How adaptors are trained.
        preset: The name that `train` came from, for the record.
        method: How tasks are learned, a name in `METHODS`.
        findings: Only these, and they must be usable; None: all that are.
        order: Findings in the order of their tasks; None: as they are listed.
        n_tasks: Parts of the ``data`` scenario.
        visible: ``current`` or ``cumulative``.
        uncertain: Policy for uncertain labels.
        blank: Policy for findings not mentioned.
        score: What AUROC ranks images by, one of `SCORES`.
        operating_point: How thresholds are chosen on validation; see `OperatingPoint`.
        min_positives: Test positives, and negatives, from which a finding enters means.
        with_bounds: Also train ``joint``, ``joint-observed`` and logistic regression.
        device: ``cpu`` or ``cuda``.
    """

    scenario: str
    train: TrainConfig = field(default_factory=TrainConfig)
    preset: str = "default"
    method: str = "finetune"
    findings: tuple[str, ...] | None = None
    order: tuple[str, ...] | None = None
    n_tasks: int = 5
    visible: Visible = "current"
    uncertain: UncertainPolicy = "ignore"
    blank: BlankPolicy = "negative"
    score: Score = "difference"
    operating_point: str = "f1"
    min_positives: int = MIN_POSITIVES
    with_bounds: bool = True
    device: str = "cpu"


@dataclass(frozen=True)
class Lineage:
    """What a run goes on from.

    Attributes:
        continued: The run or state file that it continued; empty if none.
        merged: The runs or state files that it adds.
        contributions: What these had learned from.
    """

    continued: str = ""
    merged: tuple[str, ...] = ()
    contributions: tuple[Contribution, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """How a run was made.

    Attributes:
        config: How it learned.
        provenance: From which images.
        lineage: What it goes on from.
        pinned: Whether the run's folder lists its images; runs of version 0.1.0 and
            before have no list.
    """

    config: ExperimentConfig
    provenance: Provenance
    lineage: Lineage = field(default_factory=Lineage)
    pinned: bool = True

    def to_json(self) -> str:
        """JSON text with sorted keys.

        >>> record = RunRecord(ExperimentConfig("joint"), Provenance(Selection(("d",))))
        >>> RunRecord.from_json(record.to_json()) == record
        True
        """
        content = {
            "format_version": _FORMAT_VERSION,
            "experiment": asdict(self.config),
            "provenance": asdict(self.provenance),
            "lineage": asdict(self.lineage),
        }
        return json.dumps(content, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "RunRecord":
        """Read what `to_json` wrote, or a record of version 1.

        Raises:
            ValueError: The text is no record.
        """
        try:
            content = json.loads(text)
            config = _experiment(content["experiment"])
            if "provenance" not in content:
                return cls(config, _old_provenance(content["chosen"]), pinned=False)
            if content["format_version"] > _FORMAT_VERSION:
                raise ValueError("it was written by a newer retune")
            return cls(
                config, _provenance(content["provenance"]), _lineage(content["lineage"])
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__} {error}") from error


def read_record(run: Run) -> RunRecord:
    """The record of a run of the catalog.

    Raises:
        TrainingError: It cannot be read.
    """
    try:
        return RunRecord.from_json(run.config)
    except ValueError as error:
        raise TrainingError(
            f"the record of run {run.run_id} in the catalog cannot be read: {error}",
            "Train again; the table runs holds the record in the column config.",
        ) from error


def _known(record_type: type[_T], content: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass; lists as tuples.

    Raises:
        TypeError: A field is unknown.
    """
    names = {one.name for one in fields(record_type)}  # type: ignore[arg-type]  # a dataclass
    if unknown := set(content) - names:
        raise TypeError(f"unknown fields {', '.join(sorted(unknown))}")
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in content.items()
    }


def _experiment(content: Mapping[str, Any]) -> ExperimentConfig:
    # Means of runs from before findings could be left out are over all of them.
    given = {"min_positives": 0} | _known(ExperimentConfig, content)
    # Runs from before there was caution had none.
    train = {"caution": 0.0} | _known(TrainConfig, content["train"])
    given["train"] = TrainConfig(**train)
    return ExperimentConfig(**given)


def _contributions(content: Any) -> tuple[Contribution, ...]:
    return tuple(Contribution(**_known(Contribution, one)) for one in content)


def _provenance(content: Mapping[str, Any]) -> Provenance:
    given = _known(Provenance, content)
    given["selection"] = Selection(**_known(Selection, content["selection"]))
    given["splits"] = {
        name: SplitImages(**_known(SplitImages, one))
        for name, one in content["splits"].items()
    }
    given["contributions"] = _contributions(content["contributions"])
    return Provenance(**given)


def _lineage(content: Mapping[str, Any]) -> Lineage:
    given = _known(Lineage, content)
    given["contributions"] = _contributions(content["contributions"])
    return Lineage(**given)


def _old_provenance(chosen: Mapping[str, Any]) -> Provenance:
    """Of a record that says how images were chosen, and not which they were."""
    datasets = chosen.get("datasets")
    return Provenance(
        Selection(
            None if datasets is None else tuple(datasets),
            chosen.get("where"),
            chosen.get("split_seed"),
            chosen.get("descriptions", "default"),
            bool(chosen.get("allow_leakage", False)),
        )
    )
