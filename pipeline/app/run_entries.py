"""The runs of a store as a list; their names and tags; deleting them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from retune.store import FeatureStore, find_run
from retune.store.errors import ConfigurationError
from retune.store.opening.kept_catalogs import opening_once
from retune.store.runs import (
    delete_run,
    read_run_names,
    read_run_tags,
    rename_run,
    tag_run,
)

from .queries.listing import Listing

__all__ = ["RunEntry", "delete_runs", "list_runs", "name_run", "tag_runs"]


@dataclass(frozen=True)
class RunEntry:
    """A run as a list shows it.

    Attributes:
        run_id: Its id.
        name: What a person calls it; None if nothing.
        scenario: What was learned.
        method: How.
        seed: Seed of weights, batches and parts.
        seconds: Reading, training and evaluating.
        final_auroc: Mean test AUROC after the last task; None if undefined.
        tags: A person's words for it.
        started_at: In UTC.
    """

    run_id: str
    name: str | None
    scenario: str
    method: str
    seed: int
    seconds: float
    final_auroc: float | None
    tags: tuple[str, ...]
    started_at: datetime


@opening_once
def list_runs(store: FeatureStore, tag: str | None = None) -> Listing[RunEntry]:
    """The finished runs, newest first.

    Args:
        store: Where to look.
        tag: Only runs with this tag; None for all.
    """
    names, tags = read_run_names(store), read_run_tags(store)
    rows = store.rows(
        """SELECT run_id, scenario, method, seed, round(seconds, 2),
            (SELECT round(value, 4) FROM metrics WHERE metrics.run_id = runs.run_id
             AND metric = 'final_auroc' AND finding IS NULL LIMIT 1), started_at
        FROM runs WHERE status = 'finished' ORDER BY started_at DESC, run_id DESC"""
    )
    entries = [
        RunEntry(
            run_id,
            names.get(run_id),
            scenario,
            method,
            seed,
            seconds,
            final_auroc,
            tags.get(run_id, ()),
            started_at,
        )
        for run_id, scenario, method, seed, seconds, final_auroc, started_at in rows
        if tag is None or tag in tags.get(run_id, ())
    ]
    columns = [name for name in RunEntry.__dataclass_fields__ if name != "started_at"]
    return Listing.of(entries, columns)


def name_run(store: FeatureStore, run: str, name: str | None) -> str:
    """Call a run something, or nothing any more.

    Args:
        store: With the run.
        run: Its name, id, the beginning of it, or ``latest``.
        name: The new name; None takes the name away.

    Returns:
        The run's id.

    Raises:
        ConfigurationError: No run or several are meant; the name is taken or could be
            mistaken for an id.
    """
    run_id = find_run(store, run).run_id
    if name is not None:
        _check_word(name, "name")
        ids = [entry.run_id for entry in list_runs(store)]
        if name == "latest" or any(one.startswith(name) for one in ids):
            raise ConfigurationError(
                f"'{name}' would be mistaken for a run's id or for the newest run",
                "Choose a name such as baseline-a.",
            )
    rename_run(store, run_id, name)
    return run_id


def tag_runs(
    store: FeatureStore,
    runs: Sequence[str],
    add: Sequence[str],
    remove: Sequence[str] = (),
) -> tuple[str, ...]:
    """Give runs tags, and take others away.

    Returns:
        The runs' ids.

    Raises:
        ConfigurationError: No run or several are meant by one name, or a tag cannot be
            used. Nothing was changed.
    """
    for tag in add:
        _check_word(tag, "tag")
    run_ids = tuple(find_run(store, run).run_id for run in runs)
    for run_id in run_ids:
        tag_run(store, run_id, add, remove)
    return run_ids


def delete_runs(store: FeatureStore, runs: Sequence[str]) -> tuple[str, ...]:
    """Erase runs: their figures, predictions, names, tags and adaptors.

    Returns:
        Their ids.

    Raises:
        ConfigurationError: No run or several are meant by one name; nothing was erased.
        StoreWriteError: A folder cannot be removed.
    """
    run_ids = tuple(dict.fromkeys(find_run(store, run).run_id for run in runs))
    for run_id in run_ids:
        delete_run(store, run_id)
    return run_ids


def _check_word(text: str, word: str) -> None:
    plain = text == text.strip() and text.isprintable()
    if not text or not plain or text.startswith("-") or set(text) & set("/,"):
        raise ConfigurationError(
            f"{text!r} cannot be a run's {word}",
            "Use letters, digits, '-', '_' and '.', as in baseline-a.",
        )
