"""A run as text: task × finding AUROC, the bounds, and what the figures mean."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["format_matrix", "markdown_table", "short_names"]

Floats = npt.NDArray[np.float64]
#: Label, values, and which findings were learned by then (None for a bound).
_Row = tuple[str, Floats, npt.NDArray[np.bool_] | None]

_SUMMARY_WORDS = {
    "final_auroc": "final AUROC (mean over findings)",
    "final_auroc_positive": "final AUROC of s+ alone (the reference's score)",
    "average_incremental_auroc": "average over tasks (findings seen so far)",
    "zero_shot_auroc": "zero-shot AUROC",
    "forgetting": "forgetting (0 is best)",
    "backward_transfer": "backward transfer",
    "forward_transfer": "forward transfer",
    "zero_shot_retention": "unseen findings against zero-shot",
    "sequence_gap": "gap to joint-observed (price of learning in sequence)",
    "joint_gap": "gap to joint (all labels at once)",
}
_CELL = 8
_MACRO = "mean"


def short_names(names: Sequence[str], width: int) -> list[str]:
    """Names cut to a width, still told apart.

    >>> short_names(["Pleural Effusion", "Pleural Other", "Edema"], 7)
    ['Pl Effu', 'Pl Othe', 'Edema']
    """
    short = []
    for name in names:
        words = name.split()
        if len(name) > width and len(words) > 1:
            words = [*(word[:2] for word in words[:-1]), words[-1]]
        short.append(" ".join(words)[:width])
    return [
        f"{one[: width - 2]}{place:>2}" if short.count(one) > 1 else one
        for place, one in enumerate(short, start=1)
    ]


def _cell(value: float, mark: str = "") -> str:
    text = "-" if np.isnan(value) else f"{value:.3f}"
    return f"{text}{mark or ' '}".rjust(_CELL)


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def format_matrix(
    findings: Sequence[str],
    auroc: Floats,
    introduced: npt.NDArray[np.int64],
    *,
    summary: Mapping[str, float],
    final_low: Floats,
    final_high: Floats,
    n_positive: npt.NDArray[np.int64],
    excluded: Mapping[str, str],
    bounds: Mapping[str, Floats],
    task_names: Sequence[str],
    intervals: Mapping[str, tuple[float, float]] | None = None,
    score: str = "difference",
    counted: npt.NDArray[np.bool_] | None = None,
    width: int = 100,
) -> str:
    """Lay a run out for a terminal.

    Args:
        findings: K names.
        auroc: Test AUROC before the first task and after each, shape (T+1, K).
        introduced: The task that introduced each finding, shape (K,), from 1.
        summary: Figures by name, of `retune.pipeline.learn.stats.incremental`.
        final_low: Lower end of the last row's 95 % intervals, shape (K,).
        final_high: Upper end, shape (K,).
        n_positive: Positive test images, shape (K,).
        excluded: Finding -> why it has no figure.
        bounds: Name -> AUROC, shape (K,).
        task_names: T names.
        intervals: Ends of the 95 % intervals of `summary`; None: not printed.
        score: Whose AUROC it is, ``difference`` or ``positive``.
        counted: Findings that enter the mean, shape (K,); None: all with a figure.
        width: Columns of the terminal; findings that do not fit go to a next block.
    """
    labels = ["zero-shot", *(f"{t} {name}" for t, name in enumerate(task_names, 1))]
    rows: list[_Row] = [
        (label, auroc[t], introduced <= t if t else np.zeros(len(findings), dtype=bool))
        for t, label in enumerate(labels)
    ]
    rows += [(name, row, None) for name, row in bounds.items()]
    label_width = min(28, max(map(len, [*labels, *bounds, "positive test images"])))
    per_block = max(1, (width - label_width - _CELL) // _CELL)
    names = short_names(findings, _CELL - 1)
    blocks = [
        range(start, min(start + per_block, len(findings)))
        for start in range(0, len(findings), per_block)
    ]
    of_score = "s+" if score == "positive" else "s+ - s-"
    lines = [f"test AUROC of {of_score}; * marks findings that were learned by then"]
    every = np.ones(len(findings), dtype=bool) if counted is None else counted
    for block in blocks:
        lines += _block(
            block, names, rows, label_width, final_low, final_high, n_positive, labels,
            every,
        )  # fmt: skip
    lines += _summary_lines(summary, intervals or {})
    lines += [f"no figure for {name}: {why}" for name, why in excluded.items()]
    return "\n".join(line.rstrip() for line in lines)


def _summary_lines(
    summary: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> list[str]:
    """A line per figure that is defined, differences with their sign."""
    wide = max(map(len, _SUMMARY_WORDS.values()))
    known = {key for key in intervals if not np.isnan(intervals[key]).any()}
    lines = []
    if known & summary.keys():
        lines.append(" " * (wide + 10) + "95 % over test patients")
    for key, words in _SUMMARY_WORDS.items():
        if np.isnan(summary.get(key, np.nan)):
            continue
        sign = "+" if "gap" in key or "transfer" in key else " "
        line = f"{words.ljust(wide)}  {round(summary[key], 3) + 0.0:{sign}.3f}"
        if key in known:
            low, high = (end + 0.0 for end in np.round(intervals[key], 3))
            line += f"  {low:{sign}.3f} to {high:{sign}.3f}"
        lines.append(line)
    return lines


def _block(
    block: range,
    names: Sequence[str],
    rows: Sequence[_Row],
    label_width: int,
    low: Floats,
    high: Floats,
    n_positive: npt.NDArray[np.int64],
    labels: Sequence[str],
    counted: npt.NDArray[np.bool_],
) -> list[str]:
    """The columns of some findings, the mean of all beside the first ones."""
    first = block.start == 0
    head = "".join(names[k].rjust(_CELL - 1) + " " for k in block)
    lines = ["", " " * label_width + head + (_MACRO.rjust(_CELL - 1) if first else "")]
    for label, values, learned in rows:
        cells = "".join(
            _cell(values[k], "*" if learned is not None and learned[k] else "")
            for k in block
        )
        macro = _cell(_mean(values[counted])) if first else ""
        lines.append(label[:label_width].ljust(label_width) + cells + macro)
        if label == labels[-1]:
            for name, ends in (("  95 % from", low), ("  95 % to", high)):
                line = "".join(_cell(ends[k]) for k in block)
                lines.append(name.ljust(label_width) + line)
    counts = "".join(f"{n_positive[k]:>{_CELL - 1}} " for k in block)
    lines += ["positive test images".ljust(label_width) + counts, ""]
    return lines


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for README or an issue.

    >>> print(markdown_table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [header, *rows]
    text = [f"| {' | '.join(line)} |" for line in lines]
    text.insert(1, "|" + "---|" * len(header))
    return "\n".join(text)
