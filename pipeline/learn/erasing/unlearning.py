"""Each run of a store as if some patients had never been in it, prepared aside."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from retune.store import FeatureStore, Run
from retune.store.changes.manifests import MANIFEST_NAME, write_manifest
from retune.store.erasure.erasing import LearnedAnew
from retune.store.erasure.people import Erased
from retune.store.errors import RetuneError, TrainingError
from retune.store.runs import read_run_marks, run_tables

from ...progress import Progress, ProgressCallback, silent
from ..problem.chosen_findings import with_findings
from ..problem.features import SET_ASIDE, SPLITS
from ..runs.experiment import Experiment, run_experiment, run_merge
from ..runs.image_list import ImageList, read_image_list, write_image_list
from ..runs.learning_set import LearningSet
from ..runs.record import RunRecord, read_record
from ..runs.reopened import ReopenedRun, load_own_images
from ..runs.saved_model import load_model
from ..runs.saving import prediction_rows, run_folder, write_run_files
from ..runs.selection import Contribution, SplitImages, contributions_of, images_digest
from ..runs.state import STATE_FILE, RunState, load_state, save_state
from ..stats.subgroups import image_groups
from .marks import FIGURES, TRAINED
from .subtracting import PatientSums, patient_sums, subtract_patients

__all__ = ["learn_anew", "part_of_run"]

Mask = npt.NDArray[np.bool_]
#: Scenarios that learn from no image of the store by themselves.
_UNTRAINED = ("merge", "zero-shot")
_EVERY = (*SPLITS, SET_ASIDE)


@dataclass
class _Work:
    """What is known after some of the runs.

    Attributes:
        renamed: Digest of a contribution -> what is left of it.
        tainted: Contributions that gradients learned from with an erased patient.
        parts: Digest of a contribution -> runs that made it, with what the erased are
            of their sums.
    """

    files: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    rows: dict[str, list[pa.Table]] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    configs: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    renamed: dict[str, Contribution] = field(default_factory=dict)
    tainted: set[str] = field(default_factory=set)
    parts: dict[str, list[tuple[ReopenedRun, Mask]]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    """A run that has seen an erased patient, or goes on from one that has.

    Attributes:
        reopened: The run with all its images.
        gone: Which of them are of erased patients, shape (N,).
        record: Its record without them.
        staged: Where its files are prepared.
    """

    reopened: ReopenedRun
    gone: Mask
    record: RunRecord
    staged: Path

    @property
    def run(self) -> Run:
        """The run."""
        return self.reopened.run

    @property
    def listed(self) -> ImageList:
        """All its images."""
        assert self.reopened.listed is not None
        return self.reopened.listed

    @property
    def learned(self) -> bool:
        """Whether weights of this run's own training depend on the erased."""
        counted = np.isin(self.listed.split.astype(str), ("train", "validation"))
        return self.run.scenario not in _UNTRAINED and bool((self.gone & counted).any())


def learn_anew(
    store: FeatureStore,
    erased: Erased,
    staging: Path,
    *,
    retrain: bool = False,
    progress: ProgressCallback = silent,
) -> LearnedAnew:
    """Prepare what becomes of every run of a store.

    Args:
        store: With the runs.
        erased: Who goes.
        staging: Folder under which files are laid down as they will lie in the store.
        retrain: Train runs of gradient methods again.
        progress: Told after each run.

    Raises:
        StoreWriteError: The disk refused.
    """
    rows = store.rows("SELECT * FROM runs ORDER BY started_at, run_id")
    runs = [Run(*row) for row in rows]
    marks = read_run_marks(store) if retrain else {}
    due = {run_id for run_id, known in marks.items() if TRAINED in known}
    work = _Work()
    for number, run in enumerate(runs, start=1):
        seen = _look_at(store, run, erased, staging, work, due=run.run_id in due)
        if seen is not None:
            _treat(store, seen, work, retrain=retrain)
        progress(Progress("runs", number, len(runs)))
    return LearnedAnew(
        looked_at=frozenset(run.run_id for run in runs),
        files=work.files,
        removed=tuple(work.removed),
        rows={table: pa.concat_tables(parts) for table, parts in work.rows.items()},
        replaced=tuple(work.replaced),
        configs=work.configs,
        outcomes=work.outcomes,
        marks=work.marks,
        superseded={old: new.digest for old, new in work.renamed.items()},
        notes=tuple(work.notes),
    )


def _look_at(
    store: FeatureStore,
    run: Run,
    erased: Erased,
    staging: Path,
    work: _Work,
    *,
    due: bool,
) -> _Seen | None:
    """The run if it has to do with somebody erased, or is due to be trained again."""
    folder = run_folder(store, run.run_id)
    try:
        record = read_record(run)
        if not record.pinned:
            _judge_old(run, record, erased, work)
            return None
        listed = read_image_list(folder)
    except TrainingError as error:
        work.marks[run.run_id] = TRAINED
        work.outcomes[run.run_id] = f"cannot be read, marked '{TRAINED}'"
        work.notes.append(f"run {run.run_id}: {error.message}")
        return None
    gone = _of_erased(listed, erased)
    lineage = {one.digest for one in record.lineage.contributions}
    if not (due or gone.any() or lineage & set(work.renamed)):
        return None
    own = _own_contributions(listed, gone, record)
    work.renamed |= own
    reopened = ReopenedRun(run, record, listed)
    less = _record_without(record, _without(listed, gone), work.renamed)
    seen = _Seen(reopened, gone, less, staging / "runs" / run.run_id)
    if seen.learned:
        for digest in own:
            work.parts.setdefault(digest, []).append((reopened, gone))
    return seen


def _judge_old(run: Run, record: RunRecord, erased: Erased, work: _Work) -> None:
    """A run from before runs listed their images: nobody knows whom it saw."""
    datasets = record.provenance.selection.datasets
    if run.scenario == "zero-shot" or not erased.datasets:
        return
    if datasets is None or set(datasets) & set(erased.datasets):
        work.marks[run.run_id] = TRAINED
        work.outcomes[run.run_id] = f"does not list its images, marked '{TRAINED}'"


def _of_erased(listed: ImageList, erased: Erased) -> Mask:
    patients, images = set(erased.patients), set(erased.image_ids)
    digests = set(erased.digests)
    return np.array(
        [
            patient in patients or image in images or digest in digests
            for patient, image, digest in zip(
                listed.owners(),
                listed.image_id.tolist(),
                listed.content_digest.tolist(),
                strict=True,
            )
        ],
        dtype=bool,
    )


def _without(listed: ImageList, gone: Mask) -> ImageList:
    return listed.only(~gone)


def _own_contributions(
    listed: ImageList, gone: Mask, record: RunRecord
) -> dict[str, Contribution]:
    """Digest of a contribution of the run -> what is left of it."""
    dataset = np.array(
        [name.partition("/")[0] for name in listed.image_id.tolist()], dtype=object
    )
    left = {
        one.dataset: one
        for one in contributions_of(dataset[~gone], listed.content_digest[~gone])
    }
    touched = set(dataset[gone].tolist())
    return {
        one.digest: left.get(
            one.dataset, Contribution(one.dataset, 0, images_digest([]))
        )
        for one in record.provenance.contributions
        if one.dataset in touched
    }


def _record_without(
    record: RunRecord, listed: ImageList, renamed: Mapping[str, Contribution]
) -> RunRecord:
    """The record of the run on the images that stay."""

    def left(contributions: Sequence[Contribution]) -> tuple[Contribution, ...]:
        return tuple(renamed.get(one.digest, one) for one in contributions)

    splits = {
        name: SplitImages(len(ids), images_digest(ids.tolist()))
        for name in SPLITS
        for ids in [listed.of_splits([name]).image_id]
    }
    provenance = replace(
        record.provenance,
        splits=splits,
        contributions=left(record.provenance.contributions),
    )
    lineage = replace(record.lineage, contributions=left(record.lineage.contributions))
    return replace(record, provenance=provenance, lineage=lineage)


def _treat(store: FeatureStore, seen: _Seen, work: _Work, *, retrain: bool) -> None:
    """Do what can be done for a run: learn anew, subtract, or mark."""
    run = seen.run
    inherited = {one.digest for one in seen.reopened.record.lineage.contributions}
    exact = run.method == "analytic" or run.scenario == "zero-shot"
    tainted = not exact and (seen.learned or bool(inherited & work.tainted))
    ways: list[tuple[str, Callable[[], object]]] = []
    if run.scenario != "merge" and (exact or retrain):
        done = "learned again on the images that stay"
        ways.append((done, lambda: _learn_again(store, seen, work)))
    if exact and run.scenario != "zero-shot":
        done = "the sums of the erased were subtracted"
        ways.append((done, lambda: _subtract(store, seen, work)))
    for outcome, way in ways:
        try:
            way()
        except RetuneError as error:
            shutil.rmtree(seen.staged, ignore_errors=True)
            work.notes.append(f"run {run.run_id}: {error.message}")
        else:
            work.outcomes[run.run_id] = outcome
            return
    mark = TRAINED if tainted or (exact and seen.learned) else FIGURES
    if mark == TRAINED:
        work.tainted |= {
            one.digest for one in seen.reopened.record.provenance.contributions
        } | (inherited & set(work.renamed))
    work.marks[run.run_id] = mark
    work.outcomes[run.run_id] = f"marked '{mark}'"
    _keep_weights(store, seen, work)


def _learning_set(store: FeatureStore, seen: _Seen) -> LearningSet:
    """The images of the run that stay, with its findings and descriptions."""
    listed = _without(seen.listed, seen.gone)
    images = load_own_images(store, replace(seen.reopened, listed=listed), _EVERY)
    saved = load_model(run_folder(store, seen.run.run_id))
    provenance = replace(
        images.provenance,
        selection=seen.record.provenance.selection,
        n_contaminated=seen.record.provenance.n_contaminated,
    )
    content = vars(images) | {
        "features": with_findings(images.features, saved.findings),
        "provenance": provenance,
    }
    return LearningSet(**content, prompts=saved.prompts)


def _start(store: FeatureStore, seen: _Seen, work: _Work) -> RunState | None:
    """The state that the run goes on from, without the erased.

    Raises:
        TrainingError: It is not known, or depends on the erased itself.
    """
    lineage = seen.record.lineage
    if not (lineage.continued or lineage.contributions):
        return None
    rows = store.rows(
        "SELECT run_id FROM runs WHERE ? <> '' AND starts_with(run_id, ?)",
        [lineage.continued, lineage.continued],
    )
    if len(rows) != 1 or work.marks.get(rows[0][0]) == TRAINED:
        raise TrainingError(
            f"it goes on from '{lineage.continued}', which is no run of this store "
            "that is free of the erased"
        )
    parent = rows[0][0]
    staged = seen.staged.parent / parent
    folder = staged if staged.is_dir() else run_folder(store, parent)
    return load_state(folder / STATE_FILE)


def _learn_again(store: FeatureStore, seen: _Seen, work: _Work) -> None:
    """Run what the record says on the images that stay."""
    start = _start(store, seen, work)
    learning_set = _learning_set(store, seen)
    experiment = run_experiment(
        learning_set.features,
        learning_set.prompts,
        seen.record.config,
        start=start,
        groups=image_groups(learning_set.images),
    )
    _replace(store, seen, work, learning_set, experiment)


def _subtract(store: FeatureStore, seen: _Seen, work: _Work) -> None:
    """Take the erased out of the sums of a run, and evaluate it again."""
    state = load_state(run_folder(store, seen.run.run_id) / STATE_FILE)
    parts = _parts(store, seen, work, state.findings)
    less = subtract_patients(state, parts)
    learning_set = _learning_set(store, seen)
    experiment = run_merge(
        learning_set.features,
        learning_set.prompts,
        seen.record.config,
        less,
        groups=image_groups(learning_set.images),
    )
    experiment = replace(experiment, config=seen.record.config)
    _replace(store, seen, work, learning_set, experiment, less.contributions)


def _parts(
    store: FeatureStore, seen: _Seen, work: _Work, findings: tuple[str, ...]
) -> list[PatientSums]:
    """What the erased are of each run that a run goes back to.

    Raises:
        TrainingError: Several runs made a contribution, and which is not known.
    """
    record = seen.reopened.record
    digests = {one.digest for one in record.lineage.contributions}
    if seen.run.scenario not in _UNTRAINED:
        digests |= {one.digest for one in record.provenance.contributions}
    named = {record.lineage.continued, *record.lineage.merged, seen.run.run_id}
    parts: dict[str, PatientSums] = {}
    for digest in sorted(digests & set(work.parts)):
        makers = [
            (one, gone)
            for one, gone in work.parts[digest]
            if one.run.method == "analytic"
            and load_model(run_folder(store, one.run.run_id)).findings == findings
        ]
        chosen = [pair for pair in makers if pair[0].run.run_id in named] or makers
        kinds = {
            (one.record.config.scenario, one.record.config.train.seed)
            for one, _ in chosen
        }
        if len(kinds) != 1:
            raise TrainingError(
                f"{len(kinds)} kinds of runs have learned from a contribution of run "
                f"{seen.run.run_id}: which of them it goes back to is not known"
            )
        reopened, gone = chosen[0]
        if reopened.run.run_id not in parts:
            parts[reopened.run.run_id] = part_of_run(
                store, reopened, gone, work.renamed
            )
    return list(parts.values())


def part_of_run(
    store: FeatureStore,
    reopened: ReopenedRun,
    gone: Mask,
    renamed: Mapping[str, Contribution] | None = None,
) -> PatientSums:
    """What some images of a run are of its sums.

    Args:
        store: With the run, and still with the images.
        reopened: A run of `analytic` that learned from images of this store.
        gone: Which of its listed images, shape (N,).
        renamed: Digest of a contribution -> what is left of it; None: found here.

    Raises:
        ConfigurationError: Images of the run are gone.
        TrainingError: The run cannot be read.
    """
    assert reopened.listed is not None
    if renamed is None:
        renamed = _own_contributions(reopened.listed, gone, reopened.record)
    images = set(reopened.listed.image_id[gone].tolist())
    image_set = load_own_images(store, reopened, _EVERY)
    saved = load_model(run_folder(store, reopened.run.run_id))
    features = with_findings(image_set.features, saved.findings)
    mine = np.array([name in images for name in features.image_id.tolist()], dtype=bool)
    own = {one.digest for one in reopened.record.provenance.contributions}
    return patient_sums(
        features,
        saved.prompts,
        reopened.record.config,
        mine,
        {old: new for old, new in renamed.items() if old in own},
    )


def _replace(
    store: FeatureStore,
    seen: _Seen,
    work: _Work,
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


def _keep_weights(store: FeatureStore, seen: _Seen, work: _Work) -> None:
    """Prepare the files of a run that cannot be undone: its list and its memory."""
    folder = run_folder(store, seen.run.run_id)
    write_image_list(seen.staged, _without(seen.listed, seen.gone))
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
    store: FeatureStore, seen: _Seen, tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The memory of `replay` without the embeddings of the erased."""
    mine = seen.listed.only(seen.gone)
    images = load_own_images(store, replace(seen.reopened, listed=mine), _EVERY)
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
    store: FeatureStore, seen: _Seen, work: _Work, *, keep_others: bool
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
