"""What opening a store for writing set right, told before the work begins."""

from retune.store import ReconcileReport
from retune.store.plural import counted

from .progress import Progress, ProgressCallback

__all__ = ["tell_healed"]


def tell_healed(report: ReconcileReport, progress: ProgressCallback) -> None:
    """Tell what an interrupted command had left behind, a note each.

    >>> tell_healed(ReconcileReport(temporary_files=2), lambda p: print(p.note))
    2 unfinished files were removed that an interrupted command left
    """
    interrupted = "that an interrupted command left"
    notes = {
        f"{counted(report.adopted_shards, 'shard', 'were')} entered {interrupted} "
        f"({counted(report.adopted_rows, 'vector')})": report.adopted_shards,
        f"{counted(report.dropped_shards, 'shard', 'are')} gone; "
        f"{counted(report.dropped_rows, 'vector')} will be encoded again": (
            report.dropped_shards
        ),
        f"{counted(report.temporary_files, 'unfinished file', 'were')} removed "
        f"{interrupted}": report.temporary_files,
        **{f"set aside as damaged: {one}": 1 for one in report.damaged.values()},
    }
    for note, present in notes.items():
        if present:
            progress(Progress("Note", 0, 0, note))
