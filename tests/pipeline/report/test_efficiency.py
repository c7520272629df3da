"""Data-efficiency curves, if a store has any."""

from pathlib import Path

import duckdb
import pytest

from retune.pipeline.report.efficiency import draw_efficiency, read_curves
from retune.store import FeatureStore

_TABLE = """CREATE TABLE IF NOT EXISTS curves (curve_id VARCHAR, fingerprint VARCHAR,
    config VARCHAR, made_at TIMESTAMP, method VARCHAR, n_patients BIGINT,
    n_images DOUBLE, seed INTEGER, finding VARCHAR, metric VARCHAR, value DOUBLE,
    ci_low DOUBLE, ci_high DOUBLE)"""
_CONFIG = '{"seeds": 5, "selection": {"datasets": ["nih"], "where": null}}'
_ROWS = [
    ("zero-shot", 0, 0.6, 0.55, 0.65),
    ("analytic", 8, 0.61, None, None),
    ("analytic", 128, 0.7, 0.66, 0.74),
    ("<b>", 8, 0.58, 0.5, 0.6),
]


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def _enter(store: FeatureStore) -> None:
    with duckdb.connect(str(store.path / "catalog.duckdb")) as connection:
        connection.execute(_TABLE)
        for method, n, value, low, high in _ROWS:
            for seed in (None, 1):  # that of single draws is not shown
                connection.execute(
                    "INSERT INTO curves VALUES ('c1', 'f', ?, now(), ?, ?, 9, ?, NULL,"
                    " 'auroc', ?, ?, ?)",
                    [_CONFIG, method, n, seed, value, low, high],
                )


def test_a_store_without_curves_has_none(store: FeatureStore) -> None:
    assert read_curves(store) == []


def test_curves_are_read_and_drawn(store: FeatureStore) -> None:
    _enter(store)
    (curve,) = read_curves(store)
    assert [n for n, _ in curve.lines["analytic"]] == [8, 128]
    assert curve.settings == "datasets=nih, seeds=5"
    picture = draw_efficiency(curve)
    for text in (">zero-shot 0.600<", ">analytic 0.700<", ">128<", "&lt;b&gt; 0.580"):
        assert text in picture
    assert picture == draw_efficiency(curve)
