"""What opening a store for writing set right, told before the work begins."""

from retune.store import ReconcileReport

from .progress import Progress, ProgressCallback

__all__ = ["tell_healed"]


def tell_healed(report: ReconcileReport, progress: ProgressCallback) -> None:
    """Tell what an interrupted command had left behind, a note each.

    >>> tell_healed(ReconcileReport(temporary_files=2), lambda p: print(p.note))
    2 unfinished files of an interrupted command were removed
    """
    notes = {
        f"{report.adopted_shards:,} shards of an interrupted command were entered "
        f"({report.adopted_rows:,} vectors)": report.adopted_shards,
        f"{report.dropped_shards:,} shards are gone; {report.dropped_rows:,} vectors "
        "will be encoded again": report.dropped_shards,
        f"{report.temporary_files:,} unfinished files of an interrupted command were "
        "removed": report.temporary_files,
        **{f"set aside as damaged: {one}": 1 for one in report.damaged.values()},
    }
    for note, present in notes.items():
        if present:
            progress(Progress("Note", 0, 0, note))
