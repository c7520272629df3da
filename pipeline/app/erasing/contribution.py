"""What a patient is of a state, to be subtracted where the state was carried to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from retune.store import FeatureStore, find_run
from retune.store.errors import ConfigurationError, TrainingError

from ...learn.erasing.erased_sums import part_of_run
from ...learn.erasing.subtracting import PatientSums, subtract_patients
from ...learn.methods.analytic.sums import Sums
from ...learn.runs.reopened import load_model_of, reopen_run
from ...learn.runs.saving import run_folder
from ...learn.runs.selection import Contribution
from ...learn.runs.state import STATE_FILE, RunState, load_state, save_state
from .patients import choose_patients

__all__ = ["PatientStateSummary", "subtract_files", "write_patient_state"]

#: Names the kind of the file, so that it is not taken for a run's state.
_METHOD = "analytic patients"


@dataclass(frozen=True)
class PatientStateSummary:
    """What was written.

    Attributes:
        run_id: Id of the run whose sums were looked at.
        n_patients: Patients in the file.
        n_images: Images of theirs that the run had.
        path: The file.
    """

    run_id: str
    n_patients: int
    n_images: int
    path: Path


def write_patient_state(
    store: FeatureStore,
    run: str,
    patients: Sequence[str],
    out: Path,
    *,
    datasets: Sequence[str] | None = None,
) -> PatientStateSummary:
    """Write what patients are of a run's sums, before they are erased.

    The file holds sums over their images. With few images single embeddings could be
    solved for: treat it as you treat the images.

    Args:
        store: With the run, and still with the patients.
        run: Run id, the beginning of one, or ``latest``; a run of `analytic` that
            learned from images of this store.
        patients: Ids, or files with one id a line.
        out: The file to write.
        datasets: Only patients of these datasets.

    Raises:
        ConfigurationError: A patient or the run is unknown, or the run did not have the
            patients.
        TrainingError: The run keeps no sums of its own images.
        StoreWriteError: The disk refused.
    """
    run_row = find_run(store, run)
    reopened = reopen_run(store, run_row)
    if run_row.method != "analytic" or run_row.scenario in ("merge", "zero-shot"):
        raise TrainingError(
            f"run {run_row.run_id} keeps no sums of images of its own",
            "Name a run of `method` analytic that was trained on the patient's images; "
            "a merged run consists of such runs.",
        )
    chosen, _ = choose_patients(store, patients, datasets=datasets)
    assert reopened.listed is not None
    wanted = set(chosen)
    owners = reopened.listed.owners()
    mine = np.array([owner in wanted for owner in owners], dtype=bool)
    if not mine.any():
        raise ConfigurationError(
            f"run {run_row.run_id} had no image of these patients",
            "`retune-cli runs` lists the runs of the store.",
        )
    part = part_of_run(store, reopened, mine)
    state = load_state(run_folder(store, run_row.run_id) / STATE_FILE)
    saved = load_model_of(store, reopened)
    pairs: list[Contribution] = []
    for old in state.contributions:
        if old.digest in part.contributions:
            pairs += [old, part.contributions[old.digest]]
    tensors = {
        **part.train.to_tensors("train"),
        **part.validation.to_tensors("validation"),
        "prior": state.tensors["prior"],
        "counted": torch.tensor(part.counted),
    }
    save_state(
        out,
        RunState(
            _METHOD,
            saved.config,
            saved.findings,
            run_row.fingerprint,
            saved.prompts,
            tensors,
            tuple(pairs),
        ),
    )
    return PatientStateSummary(run_row.run_id, len(chosen), int(mine.sum()), out)


def subtract_files(state: RunState, files: Sequence[str | Path]) -> RunState:
    """Take patients out of a state, by files that the state's makers sent.

    Args:
        state: State of `analytic`.
        files: Made by `write_patient_state`.

    Raises:
        TrainingError: A file is of another state, or was subtracted already.
    """
    for name in files:
        part = load_state(Path(name))
        if part.method != _METHOD:
            raise TrainingError(
                f"{name} is a state of method {part.method}, not of patients",
                "`retune-cli state RUN --of-patient ID --out FILE` writes such files.",
            )
        fits = (
            part.findings == state.findings
            and part.fingerprint == state.fingerprint
            and torch.equal(part.tensors["prior"], state.tensors["prior"])
        )
        pairs = dict(
            zip(
                (one.digest for one in part.contributions[::2]),
                part.contributions[1::2],
                strict=True,
            )
        )
        known = {one.digest for one in state.contributions}
        if not fits or not set(pairs) <= known:
            raise TrainingError(
                f"{name} is no part of this state",
                "It is of another encoder, of other findings or descriptions, or was "
                "subtracted already.",
            )
        old, new = part.tensors["counted"].tolist()
        sums = PatientSums(
            Sums.from_tensors("train", part.tensors),
            Sums.from_tensors("validation", part.tensors),
            (int(old), int(new)),
            pairs,
        )
        state = subtract_patients(state, [sums])
    return state
