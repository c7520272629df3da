"""Data-efficiency curves of a store, read back from the catalog."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from retune.store import FeatureStore

from .charts.axis import auroc_axis
from .charts.curves import EfficiencyLine, efficiency_plot
from .groups import setting_text
from .records import Figure

__all__ = ["ReportedCurve", "draw_efficiency", "read_curves"]

#: Classes of the style sheet, by method; others take what is left.
_KINDS = {"zero-shot": "zero", "analytic": "run", "logistic-regression": "logistic"}
_OTHERS = ("joint", "observed", "exact")


@dataclass(frozen=True)
class ReportedCurve:
    """AUROC by the number of training patients.

    Attributes:
        curve_id: Its id.
        encoder: Backbone and fingerprint.
        settings: How it was measured, in words.
        lines: Method -> number of patients and mean AUROC over findings, ascending;
            0 patients is zero-shot.
    """

    curve_id: str
    encoder: str
    settings: str
    lines: dict[str, list[tuple[int, Figure]]]


def read_curves(store: FeatureStore) -> list[ReportedCurve]:
    """The curves of a store, newest first; older stores have no table of them."""
    known = store.rows(
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'curves'"
    )
    if not known[0][0]:
        return []
    rows = store.rows(
        """SELECT curve_id, coalesce(e.backbone, '?') || ' ' || c.fingerprint, config,
            method, n_patients, value, ci_low, ci_high
        FROM curves c LEFT JOIN encoders e USING (fingerprint)
        WHERE seed IS NULL AND finding IS NULL AND metric = 'auroc'
        ORDER BY max(c.made_at) OVER (PARTITION BY curve_id) DESC, curve_id, method,
            n_patients"""
    )
    curves: dict[str, ReportedCurve] = {}
    for curve_id, encoder, config, method, n_patients, *ends in rows:
        one = curves.setdefault(
            curve_id, ReportedCurve(curve_id, encoder, _told(config), {})
        )
        figure = Figure(*(float("nan") if end is None else end for end in ends))
        one.lines.setdefault(method, []).append((int(n_patients), figure))
    return list(curves.values())


def _told(config: str) -> str:
    """The settings of a curve, without what says nothing."""
    try:
        settings = json.loads(config)
    except ValueError:
        return ""
    flat = {**settings.pop("selection", {}), **settings}
    return ", ".join(
        f"{name}={setting_text(value)}"
        for name, value in flat.items()
        if value not in (None, False, "")
    )


def draw_efficiency(curve: ReportedCurve) -> str:
    """A line per method over the number of training patients, which is logarithmic."""
    others = iter(_OTHERS * len(curve.lines))
    lines = [
        EfficiencyLine(method, _KINDS.get(method) or next(others), _points(points))
        for method, points in curve.lines.items()
    ]
    values = [
        end
        for points in curve.lines.values()
        for _, one in points
        for end in (one.value, one.low)
    ]
    return efficiency_plot(auroc_axis(values), lines)


def _points(
    points: Sequence[tuple[int, Figure]],
) -> tuple[tuple[int, float, float, float], ...]:
    return tuple((n, one.value, one.low, one.high) for n, one in points)
