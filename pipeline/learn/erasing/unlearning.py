"""Each run of a store as if some patients had never been in it, prepared aside."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from retune.store import FeatureStore, Run
from retune.store.erasure.erasing import LearnedAnew
from retune.store.erasure.people import Erased
from retune.store.errors import RetuneError, TrainingError
from retune.store.runs import read_run_marks

from ...progress import Progress, ProgressCallback, silent
from ..problem.chosen_findings import with_findings
from ..problem.features import EVERY_SPLIT
from ..runs.experiment import run_experiment, run_merge
from ..runs.learning_set import LearningSet
from ..runs.reopened import load_own_images
from ..runs.saved_model import load_model
from ..runs.saving import run_folder
from ..runs.state import STATE_FILE, RunState, load_state
from ..stats.subgroups import image_groups
from .erased_sums import sums_of_erased
from .marks import FIGURES, TRAINED
from .prepared import Prepared
from .seen_run import SeenRun, look_at
from .staged_run import stage_kept, stage_learned
from .subtracting import subtract_patients

__all__ = ["learn_anew"]


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
    work = Prepared()
    for number, run in enumerate(runs, start=1):
        seen = look_at(store, run, erased, staging, work, due=run.run_id in due)
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


def _treat(
    store: FeatureStore, seen: SeenRun, work: Prepared, *, retrain: bool
) -> None:
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
    stage_kept(store, seen, work)


def _learning_set(store: FeatureStore, seen: SeenRun) -> LearningSet:
    """The images of the run that stay, with its findings and descriptions."""
    listed = seen.listed.only(~seen.gone)
    images = load_own_images(store, replace(seen.reopened, listed=listed), EVERY_SPLIT)
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


def _start(store: FeatureStore, seen: SeenRun, work: Prepared) -> RunState | None:
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


def _learn_again(store: FeatureStore, seen: SeenRun, work: Prepared) -> None:
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
    stage_learned(store, seen, work, learning_set, experiment)


def _subtract(store: FeatureStore, seen: SeenRun, work: Prepared) -> None:
    """Take the erased out of the sums of a run, and evaluate it again."""
    state = load_state(run_folder(store, seen.run.run_id) / STATE_FILE)
    parts = sums_of_erased(store, seen, work, state.findings)
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
    stage_learned(store, seen, work, learning_set, experiment, less.contributions)
