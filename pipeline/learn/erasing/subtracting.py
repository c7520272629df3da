"""What some patients have put into the sums of `analytic`, and taking it out again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from retune.store.errors import TrainingError

from ..methods.analytic.counted import images_digest
from ..methods.analytic.method import Analytic
from ..methods.analytic.sums import Sums, subtract_sums, sum_rows
from ..problem.features import Features, Prompts
from ..problem.scenarios import plan_scenario
from ..problem.targets import make_targets
from ..runs.record import ExperimentConfig
from ..runs.selection import Contribution
from ..runs.state import RunState

__all__ = ["PatientSums", "patient_sums", "subtract_patients"]

Rows = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PatientSums:
    """What some patients' images are of a run's sums.

    Attributes:
        train: Sums of training.
        validation: Sums of validation.
        counted: Number of the run's validation images, and the number without the
            patients.
        contributions: Digest of a contribution of the run -> what is left of it.
    """

    train: Sums
    validation: Sums
    counted: tuple[int, int]
    contributions: Mapping[str, Contribution]


def patient_sums(
    features: Features,
    prompts: Prompts,
    config: ExperimentConfig,
    gone: Rows,
    contributions: Mapping[str, Contribution],
) -> PatientSums:
    """The sums of some images of a run, by the cells that its tasks showed.

    Args:
        features: All images of the run, with its findings in its order.
        prompts: Its descriptions.
        config: How it learned.
        gone: Which images, shape (N,).
        contributions: See `PatientSums`.
    """
    targets = make_targets(
        features.states,
        config.uncertain,
        config.blank,
        findings=features.findings,
        training=features.split == "train",
    )
    names = features.findings
    scenario = plan_scenario(
        config.scenario,
        targets,
        features.patient,
        features.rows("train"),
        names,
        order=[names.index(name) for name in config.order] if config.order else None,
        n_tasks=config.n_tasks,
        visible=config.visible,
        seed=config.train.seed,
    )
    shown = np.zeros_like(targets.observed)
    for task in scenario.tasks:
        shown[task.rows] |= task.mask
    validation = features.rows("validation")
    taught = np.zeros(len(names), dtype=bool)
    for task in scenario.tasks:
        taught |= task.mask.any(axis=0)
    shown[validation] = targets.observed[validation] & taught
    model = Analytic.build_model(
        config.train, prompts, len(names), features.embedding.shape[1]
    )

    def features_of(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            phi = model.features(torch.from_numpy(features.embedding[rows]).float())
        return np.asarray(phi.numpy())

    def sums(split: str) -> Sums:
        rows = np.flatnonzero(gone & (features.split == split))
        size = model.weight.shape[1]
        return sum_rows(features_of, size, rows, targets.value[rows], shown[rows])

    kept = validation[~gone[validation]]
    return PatientSums(
        sums("train"),
        sums("validation"),
        (
            images_digest(features.image_id[validation]),
            images_digest(features.image_id[kept]),
        ),
        contributions,
    )


def subtract_patients(state: RunState, parts: Sequence[PatientSums]) -> RunState:
    """A state as if it had never counted some patients.

    Args:
        state: State of `analytic`.
        parts: What they are of each run that the state goes back to.

    Raises:
        TrainingError: The state keeps no sums, or does not count them.
    """
    if "train.grams" not in state.tensors:
        raise TrainingError(f"a state of method {state.method} keeps no sums")
    train = Sums.from_tensors("train", state.tensors)
    validation = Sums.from_tensors("validation", state.tensors)
    counted = state.tensors["counted"].numpy().copy()
    renamed: dict[str, Contribution] = {}
    for part in parts:
        train = subtract_sums(train, part.train)
        validation = subtract_sums(validation, part.validation)
        counted[counted == part.counted[0]] = part.counted[1]
        renamed |= part.contributions
    tensors: dict[str, Tensor] = {
        **train.to_tensors("train"),
        **validation.to_tensors("validation"),
        "prior": state.tensors["prior"],
        "counted": torch.from_numpy(counted),
    }
    left = tuple(renamed.get(one.digest, one) for one in state.contributions)
    return replace(state, tensors=tensors, contributions=left, model=None)
