"""Each benchmark runs, on little data: what `make bench` prints is worth having."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import busy_benchmark
import choose_calibration
import choose_caution
import choose_prior
import decode_benchmark
import drift_power
import encode_benchmark
import exchange_benchmark
import forget_benchmark
import gallery_benchmark
import ingest_benchmark
import learn_benchmark
import numpy as np
import predict_benchmark
import pytest
import reliability
import results
import scale_benchmark
import search_benchmark
import sink_benchmark
from image_samples import write_images
from learning_samples import problem
from measuring import Row, print_rows
from query_benchmark import query_rows
from read_benchmark import read_rows

from retune.pipeline.demo import write_demo
from retune.pipeline.learn.curves.exact import exact_weights

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (sink_benchmark, "_N_ROWS", 2_000),
        (sink_benchmark, "_N_IMAGES", 24),
        (ingest_benchmark, "MIMIC_IMAGES", 300),
        (ingest_benchmark, "MIMIC_STUDIES", 200),
        (ingest_benchmark, "MIMIC_PATIENTS", 50),
        (learn_benchmark, "N_IMAGES", 1_500),
        (learn_benchmark, "_BATCH", 256),
        (learn_benchmark, "_LOADED", 600),
        (learn_benchmark, "_COMPARED", 3_000),
        (exchange_benchmark, "N_ROWS", 900),
        (exchange_benchmark, "DIM", 16),
        (forget_benchmark, "N_IMAGES", 800),
        (encode_benchmark, "_TIMES", 1),
        (encode_benchmark, "_TIMES_VIT", 2),
    ):
        monkeypatch.setattr(module, name, value)


def _check(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(rows)
    printed = capsys.readouterr().out
    for row in rows:
        assert row.ours > 0
        assert row.peer > 0
        assert row.ratio > 0
        assert row.name in printed


def test_reading_and_queries(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _check([*read_rows(tmp_path, 2_000, 1), *query_rows(tmp_path, 1)], capsys)


def test_importing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _check(exchange_benchmark.exchange_rows(tmp_path), capsys)


def test_erasing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _check(forget_benchmark.forget_rows(tmp_path), capsys)


def test_the_power_of_drift(real_data: Path, tmp_path: Path) -> None:
    drift_power.changed_copy(real_data / "nih-1024", tmp_path / "changed", 1.2)
    assert len([*(tmp_path / "changed" / "images").iterdir()]) == 24
    x = np.random.default_rng(0).normal(size=(260, 4))
    patients = [f"p{index}" for index in range(260)]
    drift_power.normalise(x)
    assert drift_power.share_of_alarms((x, patients), (-x, patients), 20, 2) <= 1


def test_scale(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Each takes a process, and training has its own tests.
    few = ("status", "planning, all is encoded", "commit of 100 vectors")
    actions = {name: scale_benchmark._ACTIONS[name] for name in few}
    monkeypatch.setattr(scale_benchmark, "_ACTIONS", actions)
    rows = scale_benchmark.scale_rows(tmp_path, 400, 8)
    _check(rows, capsys)
    assert not list(tmp_path.iterdir())


def test_search(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search_benchmark, "SMALL", 1_000)
    monkeypatch.setattr(search_benchmark, "LARGE", 2_000)
    monkeypatch.setenv("RETUNE_QUALITY_STORE", str(tmp_path / "none"))
    _check(search_benchmark.search_rows(tmp_path, 1), capsys)


def test_gallery(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gallery_benchmark, "N_IMAGES", 500)
    monkeypatch.setattr(gallery_benchmark, "_PICTURES", 12)
    _check(gallery_benchmark.gallery_rows(tmp_path), capsys)


def test_ingest(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ingest_benchmark, "_chexpert", lambda _: None)  # at full size
    _check(ingest_benchmark.ingest_rows(tmp_path), capsys)


def test_writing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sink_benchmark.publish_rows(tmp_path)
    _check([*rows, *sink_benchmark.overlap_rows(tmp_path, 1)], capsys)


def test_encoding(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, n_images, side in (("nih-320", 12, 64), ("nih-1024", 6, 96)):
        write_demo(tmp_path / "drawn" / name, n_images, size=side)
    monkeypatch.setenv("RETUNE_REAL_DATA", str(tmp_path / "drawn"))
    monkeypatch.setattr(encode_benchmark, "_vit", lambda exact: exact)
    monkeypatch.setattr(encode_benchmark, "keep_freed_memory", lambda: None)
    _check(encode_benchmark.encode_rows(tmp_path, 1), capsys)


def test_decoding(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "drawn" / "nih-1024" / "images"
    write_images(folder, ["a.png", "b.png"], size=300)
    monkeypatch.setenv("RETUNE_REAL_DATA", str(tmp_path / "drawn"))
    monkeypatch.setattr(decode_benchmark, "JPEG_SIZE", (460, 560))
    rows = decode_benchmark.decode_rows(tmp_path, 1)
    _check(rows, capsys)
    assert [row.ours for row in rows if row.unit == ""] == [1, 1]  # equal pixels


def test_predicting(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_demo(tmp_path / "drawn" / "nih-320", 24, size=64)
    monkeypatch.setenv("RETUNE_REAL_DATA", str(tmp_path / "drawn"))
    _check(predict_benchmark.predict_rows(tmp_path, 1), capsys)


def test_learning(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(learn_benchmark, "keep_freed_memory", lambda: None)
    _check(learn_benchmark.learn_rows(tmp_path, 1), capsys)


def test_learning_beside_a_busy_core(capsys: pytest.CaptureFixture[str]) -> None:
    _check(busy_benchmark.busy_rows(1, 20_000), capsys)


def test_curves(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn_benchmark, "N_IMAGES", 3_000)
    _check(learn_benchmark.curve_rows(), capsys)


@pytest.mark.skipif(
    importlib.util.find_spec("avalanche") is None, reason="the extra `bench` is absent"
)
def test_avalanche(capsys: pytest.CaptureFixture[str]) -> None:
    from avalanche_benchmark import avalanche_rows

    _check(avalanche_rows(1_500, 1_500), capsys)


def test_the_table_of_clip_retrieval_is_left_out_where_it_is_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peer_benchmark import peer_rows

    monkeypatch.setenv("RETUNE_CLIP_RETRIEVAL", str(tmp_path / "absent"))
    assert peer_rows(tmp_path, 1) == []


def test_results_measure_every_method_and_say_so_with_intervals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(results, "SHOTS", (16,))
    monkeypatch.setattr(results, "SCENARIOS", ("joint", "label"))
    features, prompts = problem(n_images=120)
    metrics = results.measure(features, prompts, 1, ("analytic",), n_draws=2)
    few = {f" 16 patients, {name}" for name in ("logistic regression", "analytic")}
    assert set(metrics) == few | {
        "zero-shot", "analytic, joint", "analytic, label", "logistic regression",
        " 16 patients, zero-shot",
    }  # fmt: skip
    assert metrics["analytic, label"].others["forgetting"].values == [0.0]
    titles = [title for title, _ in results.table(metrics)]
    assert "analytic, label: ECE of all splits" in titles
    assert "analytic, label: Brier less constant" in titles
    assert len(metrics[" 16 patients, analytic"].values) == 2
    for figure in metrics.values():
        assert 0.5 < figure.values[0] <= 1
        assert " to " in str(figure)
    pairs = list(results.differences(metrics))
    assert len(pairs) == 5
    for name, other in pairs:
        metrics[name].less(metrics[other])


def test_a_figure_differs_from_itself_by_nothing() -> None:
    figure = results.Figure([0.7, 0.8], {"a": 0.1, "b": -0.2})
    assert str(figure.less(figure)) == "0.000 (0.000 to 0.000)"


def test_results_leave_out_patients_that_a_backbone_lists(tmp_path: Path) -> None:
    features, _ = problem(n_images=20)
    (tmp_path / "seen.txt").write_text("# pool: 2 patients\n3\n4\n")
    kept = results.leave_out(features, tmp_path / "seen.txt")
    assert len(kept.image_id) == 16
    assert not {"3", "4"} & set(kept.patient_id)


def test_what_chance_adds_to_a_calibration_error_is_taken_off() -> None:
    random = np.random.default_rng(0)
    chance, patient = random.uniform(0.05, 0.6, 150), np.arange(150) // 2
    labels = (random.random((400, 150)) < chance).astype(float)
    plain = [reliability.calibration_error(chance, one, patient) for one in labels]
    square = [reliability.squared_error(chance, one, patient) for one in labels]
    assert np.mean([one.value for one in plain]) > 0.06
    assert abs(np.mean([one.value for one in square])) < 0.0005
    wrong = [reliability.squared_error(chance + 0.1, one, patient) for one in labels]
    assert abs(np.sqrt(np.mean([one.value for one in wrong])) - 0.1) < 0.005


@pytest.mark.parametrize(
    "figure",
    [reliability.calibration_error, reliability.squared_error, reliability.brier],
)
def test_what_patients_move_a_figure_by_says_how_it_scatters(
    figure: Callable[..., reliability.Moved],
) -> None:
    random, patient = np.random.default_rng(1), np.arange(300) // 2
    said = random.uniform(0.05, 0.6, 300)
    drawn = [
        figure(said + 0.1, (random.random(300) < said).astype(float), patient)
        for _ in range(400)
    ]
    scatter = float(np.std([one.value for one in drawn]))
    believed = float(np.sqrt(np.mean([(one.moved**2).sum() for one in drawn])))
    assert 0.8 * scatter < believed < 1.5 * scatter


def test_the_rule_in_use_is_the_one_of_the_method() -> None:
    pool = choose_prior.synthetic(n_images=200, dim=20, n_findings=3)
    for n in (16, 90):
        rows = np.arange(n)
        few = choose_prior.Few(
            pool.phi[:n], pool.label[:n], rows // 2, pool.start, pool.phi[n:], pool.phi
        )
        every = np.ones((n, 3), dtype=bool)
        weights = exact_weights(
            lambda chosen: pool.phi[chosen], rows, pool.label[:n], every, pool.start
        )
        scores = choose_prior.RULES["base, r scale 0.2"](few)
        wanted = pool.phi[n:] @ weights.T
        np.testing.assert_allclose(
            scores - scores.mean(axis=0), wanted - wanted.mean(axis=0), atol=1e-9
        )
        scored = choose_calibration.fitted(few, 0, pool.phi[n:], pool.phi[:0])[0]
        np.testing.assert_allclose(
            scored - scored.mean(), (wanted - wanted.mean(axis=0))[:, 0], atol=1e-9
        )


def test_a_prior_is_chosen_without_test_patients(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("base", "after RAIL", "patients left out, half of it", "after LP++")
    rules = {name: choose_prior.RULES[name] for name in names}
    monkeypatch.setattr(choose_prior, "RULES", rules)
    monkeypatch.setattr(choose_prior, "_IN_USE", "base")
    monkeypatch.setattr(choose_prior, "POINTS", (16, "all", "label"))
    pool = choose_prior.synthetic(n_images=240, dim=12, n_findings=3)
    table = choose_prior.measure({"unknown": pool}, 2)
    choose_prior.print_table(table)
    choose_prior.nested(table, pool, 2)
    printed = capsys.readouterr().out
    assert "chosen: base\n" in printed  # the only one that may be
    assert "test patients, label: chosen so" in printed
    for seed, rest, test in choose_prior.outer("unknown", pool, 2):
        learn, held = choose_prior.division(pool, rest, seed)
        parts = [set(pool.patient[rows]) for rows in (learn, held, test)]
        assert sum(map(len, parts)) == len(set.union(*parts))


def test_a_calibration_is_chosen_without_test_patients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("a constant", "before", "patients left out too", "isotonic")
    rules = {name: choose_calibration.RULES[name] for name in names}
    rules["Beta"] = choose_calibration.beta
    monkeypatch.setattr(choose_calibration, "RULES", rules)
    pool = choose_prior.synthetic(n_images=240, dim=12, n_findings=3)
    table = choose_calibration.measure({"unknown": pool}, 2)
    assert table.shape == (5, 1, 3, 3)
    assert np.isfinite(table).all()
    assert (table[..., 2] < 0.3).all()


def test_caution_is_chosen_without_test_patients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = {"n/(n + 100)": (100.0, 0.0), "hardly": (1e9, 0.0)}
    monkeypatch.setattr(choose_caution, "RULES", few)
    monkeypatch.setattr(choose_caution, "_SCENARIOS", ("data",))
    pools = {"unknown": problem(n_images=200)}
    table = choose_caution.measure(pools, 1)
    assert table.shape == (2, 1, 1, 2)
    assert not np.array_equal(table[0], table[1])
