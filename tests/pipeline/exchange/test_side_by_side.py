"""Several encoders in one store: listed, compared on the same images, dropped."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from exchange_samples import IDS, N, make_store, telling, vectors_of, write

import retune
from retune.pipeline.app.encoders.backbones import drop_backbone, list_backbones
from retune.pipeline.app.encoders.comparison import (
    CompareBackbones,
    compare_backbones,
    draw_comparison,
)
from retune.pipeline.app.encoders.import_request import ImportRequest
from retune.pipeline.app.encoders.vector_import import import_vectors
from retune.store.errors import ConfigurationError


def take(store: retune.Store, folder: Path, name: str, vectors: np.ndarray) -> None:
    given = write(folder, "npz", vectors, IDS[: len(vectors)])
    request = ImportRequest(tuple(given["files"]), name, given["ids"])
    import_vectors(store.feature_store, request)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`good` vectors show the labels, `poor` ones show nothing and lack some images."""
    folder = tmp_path_factory.mktemp("made")
    store = make_store(folder)
    take(store, folder / "a", "good", telling(store, "Edema", "Fracture"))
    take(store, folder / "b", "poor", vectors_of(N - 4, 5))
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> retune.Store:
    shutil.copytree(made / "store", tmp_path / "store")
    return retune.open(tmp_path / "store")


def test_the_list_says_what_there_is(store: retune.Store) -> None:
    rows = {one.backbone: one for one in list_backbones(store.feature_store)}
    assert [(one.dim, one.images) for one in rows.values()] == [(8, N), (5, N - 4)]
    assert rows["good"].trained_on is None


def test_all_are_scored_on_the_same_images(store: retune.Store, tmp_path: Path) -> None:
    names = ("poor", "good", "good+poor")
    comparison = compare_backbones(store.feature_store, CompareBackbones(names))
    assert comparison.n_train + comparison.n_test < N - 4  # those that both have
    scores = {(one.backbone, one.scenario): one for one in comparison.scores}
    assert set(scores) == {
        (name, scenario) for name in names for scenario in ("joint", "label")
    }
    assert scores["good", "joint"].auroc > scores["poor", "joint"].auroc
    assert scores["good+poor", "joint"].dim == 13
    less = scores["good", "joint"]
    assert less.difference == pytest.approx(less.auroc - scores["poor", "joint"].auroc)
    assert less.difference_low < less.difference < less.difference_high
    assert scores["poor", "joint"].difference is None
    assert comparison.advice.startswith("take good")
    points = [(one.backbone, one.n_patients) for one in comparison.shots]
    assert len(points) == 3 * len({number for _, number in points})
    most = max(number for _, number in points)
    few = {one.backbone: one for one in comparison.shots if one.n_patients == most}
    less = few["good"].difference
    assert less == pytest.approx(few["good"].auroc - few["poor"].auroc)
    assert few["good"].difference_low < less < few["good"].difference_high
    last = comparison.shots[-1]
    assert last.backbone == "good+poor"
    assert last.auroc == pytest.approx(scores["good+poor", "joint"].auroc, abs=0.02)
    assert comparison.as_json()["shots"][0]["backbone"] == "poor"
    draw_comparison(comparison, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert len(store.runs) == 0


def test_an_encoder_against_itself_shows_no_difference(
    store: retune.Store, tmp_path: Path
) -> None:
    take(store, tmp_path / "c", "twin", vectors_of(N - 4, 5))
    comparison = compare_backbones(
        store.feature_store, CompareBackbones(("poor", "twin"))
    )
    twin = [one for one in comparison.scores if one.backbone == "twin"]
    assert {one.difference for one in twin} == {0.0}
    few = [one for one in comparison.shots if one.backbone == "twin"]
    for one in few:
        ends = (one.difference, one.difference_low, one.difference_high)
        assert ends == pytest.approx((0, 0, 0), abs=1e-12)
    first = [one for one in comparison.shots if one.backbone == "poor"]
    assert {one.difference for one in first} == {None}
    assert "do not show a difference" in comparison.advice


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("good",), "needs two backbones"),
        (("good", "good"), "stands twice"),
        (("good", "nobody"), "no encoder of the store fits"),
    ],
)
def test_what_cannot_be_compared_is_said(
    store: retune.Store, names: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        compare_backbones(store.feature_store, CompareBackbones(names))


def test_a_dropped_encoder_is_gone_and_its_runs_are_marked(store: retune.Store) -> None:
    run = store.train("joint", backbone="good", bounds=False)
    fingerprint = list_backbones(store.feature_store)[0].fingerprint
    folder = store.path / "features" / fingerprint
    assert folder.is_dir()
    done = drop_backbone(store.feature_store, "good")
    assert (done.n_images, done.runs) == (N, (run.run_id,))
    assert done.n_bytes > N * 8 * 4
    assert not folder.exists()
    assert [one.backbone for one in list_backbones(store.feature_store)] == ["poor"]
    assert store.sql("SELECT run_id, tag FROM run_tags").fetchall() == [
        (run.run_id, "backbone-dropped")
    ]
    assert not store.feature_store.verify()
    assert store.train("joint", bounds=False).method == "analytic"  # with the other
    with pytest.raises(ConfigurationError, match="no encoder of the store fits"):
        drop_backbone(store.feature_store, "good")
