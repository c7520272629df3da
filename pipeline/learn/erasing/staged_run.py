"""Files and rows of runs without the erased, laid down beside the store."""

import shutil
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from retune.store import FeatureStore
from retune.store.changes.manifests import MANIFEST_NAME, write_manifest
from retune.store.runs import run_tables

from ..problem.features import EVERY_SPLIT
from ..runs.experiment import Experiment
from ..runs.image_list import write_image_list
from ..runs.learning_set import LearningSet
from ..runs.reopened import load_own_images
from ..runs.saving import prediction_rows, run_folder, write_run_files
from ..runs.selection import Contribution
from ..runs.state import STATE_FILE, load_state, save_state
from .prepared import Prepared
from .seen_run import SeenRun

__all__ = ["stage_kept", "stage_learned"]


def stage_learned(
    store: FeatureStore,
    seen: SeenRun,
    work: Prepared,
    learning_set: LearningSet,
    experiment: Experiment,
    contributions: tuple[Contribution, ...] | None = None,
) -> None:
    """Prepare files and rows of a run that was learned anew."""
    run, record = seen.run, seen.record
    write_run_files(seen.staged, learning_set, experiment, record.lineage)
    if contributions is not None:  # an evaluation alone does not know of them
        path = seen.staged / STATE_FILE
        save_state(path, replace(load_state(path), contributions=contributions))
    _lay_down(store, seen, work, keep_others=False)
    provenance = replace(
        learning_set.provenance,
        contamination_unknown=record.provenance.contamination_unknown,
    )
    config = replace(record, provenance=provenance).to_json()
    kept = store.rows(
        "SELECT count(*) FROM predictions WHERE run_id = ?", [run.run_id]
    )[0][0]
    predictions = None
    if kept:
        predictions = prediction_rows(learning_set.features, experiment)
    tables = run_tables(replace(run, config=config), experiment.metrics, predictions)
    for name, table in zip(("runs", "metrics", "predictions"), tables, strict=True):
        work.rows.setdefault(name, []).append(table)
    work.replaced.append(run.run_id)


def stage_kept(store: FeatureStore, seen: SeenRun, work: Prepared) -> None:
    """Prepare the files of a run that cannot be undone: its list and its memory."""
    folder = run_folder(store, seen.run.run_id)
    write_image_list(seen.staged, seen.listed.only(~seen.gone))
    if (folder / STATE_FILE).is_file():
        state = load_state(folder / STATE_FILE)
        left = tuple(work.renamed.get(one.digest, one) for one in state.contributions)
        tensors = dict(state.tensors)
        if seen.run.method == "replay" and seen.gone.any():
            tensors |= _memory_without(store, seen, tensors)
        save_state(
            seen.staged / STATE_FILE,
            replace(state, tensors=tensors, contributions=left),
            local=True,
        )
    _lay_down(store, seen, work, keep_others=True)
    work.configs[seen.run.run_id] = seen.record.to_json()


def _memory_without(
    store: FeatureStore, seen: SeenRun, tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The memory of `replay` without the embeddings of the erased."""
    mine = seen.listed.only(seen.gone)
    images = load_own_images(store, replace(seen.reopened, listed=mine), EVERY_SPLIT)
    memory = next((name for name in tensors if name.rpartition(".")[2] == "x"), None)
    if memory is None:
        return {}
    x = tensors[memory]
    theirs = torch.from_numpy(np.array(images.features.embedding)).to(x.dtype)
    kept = ~(x[:, None, :] == theirs[None, :, :]).all(dim=2).any(dim=1)
    prefix = memory.rpartition("x")[0]
    return {
        f"{prefix}{name}": tensors[f"{prefix}{name}"][kept]
        for name in ("x", "targets", "observed", "task")
    }


def _lay_down(
    store: FeatureStore, seen: SeenRun, work: Prepared, *, keep_others: bool
) -> None:
    """Complete the prepared folder, with checksums, and note what goes where."""
    folder = run_folder(store, seen.run.run_id)
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        staged = seen.staged / path.name
        if path.name == MANIFEST_NAME or not path.is_file() or staged.exists():
            continue
        if keep_others:
            shutil.copyfile(path, staged)
            staged.chmod(0o600)
        else:  # an export, a card: of weights that are gone
            work.removed.append(path.relative_to(store.path).as_posix())
    write_manifest(seen.staged)
    for path in sorted(seen.staged.iterdir()):
        if path.is_file():
            staged_path = (folder / path.name).relative_to(store.path).as_posix()
            work.files[path.relative_to(store.path).as_posix()] = staged_path
