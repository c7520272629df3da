"""The figure of an ablation."""

import sys
from pathlib import Path

import pytest

from retune.pipeline.report.ablation_figure import draw_ablation
from retune.store.errors import ConfigurationError

_POINTS = [
    ("name", "zero-shot", 0.6, 0.5, 0.7),
    ("name", "joint", 0.7, 0.6, 0.8),
    ("shuffled", "zero-shot", 0.5, 0.4, 0.6),
    ("shuffled", "joint", 0.69, 0.6, 0.75),
]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_same_points_give_the_same_file(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    draw_ablation(_POINTS, first, "title")
    draw_ablation(_POINTS, second, "title")
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes()) > 1000
    draw_ablation([*_POINTS[:3], ("shuffled", "joint", 0.2, 0.1, 0.3)], second, "title")
    assert first.read_bytes() != second.read_bytes()


def test_other_endings_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"ends in \.pdf, \.png, \.svg"):
        draw_ablation(_POINTS, tmp_path / "a.txt", "title")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        draw_ablation(_POINTS, tmp_path / "none" / "a.png", "title")


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError) as caught:
        draw_ablation(_POINTS, tmp_path / "a.png", "title")
    assert "pip install 'retune-cli[report]'" in caught.value.hint
