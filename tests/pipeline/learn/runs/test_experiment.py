"""A whole run: figures, bounds, and clear refusals."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learning_samples import FINDINGS, problem

from retune.pipeline.learn.problem.features import Features, Prompts
from retune.pipeline.learn.runs.experiment import (
    Experiment,
    ExperimentConfig,
    run_experiment,
)
from retune.pipeline.learn.runs.saved_model import (
    SavedModel,
    load_model,
    predict,
    save_model,
)
from retune.pipeline.learn.training.trainer import TrainConfig, build_model
from retune.store.errors import ConfigurationError, RetuneError, TrainingError

_QUICK = TrainConfig(epochs=15, patience=5, batch_size=64, learning_rate=3e-3)


def _run(scenario: str = "label", **options: Any) -> Experiment:
    features, prompts = options.pop("problem", None) or problem()
    config = ExperimentConfig(scenario, **{"train": _QUICK} | options)
    return run_experiment(features, prompts, config)


@pytest.mark.parametrize(
    ("scenario", "n_tasks"),
    [("zero-shot", 0), ("joint", 1), ("class", 3), ("label", 3), ("data", 5)],
)
def test_every_scenario_gives_a_row_per_task_and_its_bounds(
    scenario: str, n_tasks: int
) -> None:
    result = _run(scenario)
    assert result.auroc.shape == result.auroc_positive.shape == (n_tasks + 1, 3)
    assert np.isfinite(result.auroc).all()
    expected = {"logistic regression", "analytic"}
    expected |= set() if scenario == "joint" else {"joint"}
    if scenario in ("class", "label", "data"):
        expected.add("joint-observed")
    assert set(result.bounds) == expected
    assert (result.final.low <= result.final.auroc).all()
    assert (result.final.auroc <= result.final.high).all()


def test_figures_are_of_the_score_asked_for() -> None:
    """The weights are the same; only what AUROC is of differs."""
    ours = _run("label", with_bounds=True)
    theirs = _run("label", with_bounds=True, score="positive")
    np.testing.assert_allclose(theirs.auroc, ours.auroc_positive, atol=1e-12)
    assert not np.array_equal(theirs.auroc, ours.auroc)
    np.testing.assert_array_equal(
        theirs.prediction.probability, ours.prediction.probability
    )
    np.testing.assert_array_equal(theirs.thresholds, ours.thresholds)
    assert not np.array_equal(theirs.bounds["joint"], ours.bounds["joint"])
    for result in (ours, theirs):
        value = result.summary["final_auroc_positive"]
        low, high = result.summary_interval["final_auroc_positive"]
        assert value == pytest.approx(ours.auroc_positive[-1].mean())
        assert low < value < high
    final = ours.auroc_positive[-1].mean()
    assert theirs.summary["final_auroc"] == pytest.approx(final)


def test_a_method_without_that_score_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"analytic gives no score s\+"):
        _run("joint", method="analytic", score="positive")
    result = _run("joint", method="analytic")
    assert np.isnan(result.summary["final_auroc_positive"])


def test_joint_learns_and_zero_shot_is_the_first_row_of_every_run() -> None:
    joint, zero = _run("joint"), _run("zero-shot")
    np.testing.assert_array_equal(joint.auroc[0], zero.auroc[0])
    assert joint.summary["final_auroc"] > 0.85


def test_a_run_is_repeatable() -> None:
    one, other = _run(), _run()
    np.testing.assert_array_equal(one.auroc, other.auroc)
    assert repr(one.metrics) == repr(other.metrics)


def test_metrics_name_every_task_split_and_finding() -> None:
    result = _run("label")
    rows = {(m.task, m.split, m.finding, m.metric): m for m in result.metrics}
    assert len(rows) == len(result.metrics)
    for task in range(4):
        for split in ("validation", "test"):
            for column, name in enumerate(FINDINGS):
                row = rows[task, split, name, "auroc"]
                if split == "test":
                    assert row.value == pytest.approx(result.auroc[task, column])
                assert row.ci_low is not None
                for metric in ("average_precision", "f1", "brier", "n_positive"):
                    assert (task, split, name, metric) in rows
            assert (task, split, None, "macro_auroc") in rows
    assert rows[3, "test", None, "forgetting"].value == result.summary["forgetting"]
    for name, (low, high) in result.summary_interval.items():
        row = rows[3, "test", None, name]
        assert (row.ci_low, row.ci_high) == (low, high)
        assert low <= row.value <= high
    assert [rows[3, "test", name, "task_introduced"].value for name in FINDINGS] == [
        1, 2, 3,
    ]  # fmt: skip
    drawn = rows[3, "test", "Mass", "auroc_bootstrap"]
    assert drawn.value == rows[3, "test", "Mass", "auroc"].value
    assert drawn.ci_low is not None
    assert drawn.ci_low <= drawn.value
    seen = rows[1, "test", None, "incremental_auroc"]
    assert seen.value == pytest.approx(result.auroc[1, 0])
    assert (3, "test", "Mass", "auroc_joint_observed") in rows
    assert (3, "test", "Mass", "sensitivity_at_90_specificity") in rows


def test_findings_and_order_are_those_asked_for() -> None:
    result = _run("label", findings=("Hernia", "Edema"))
    assert result.findings == ("Hernia", "Edema")
    ordered = _run("label", order=("Mass", "Hernia", "Edema"))
    assert [task.name for task in ordered.scenario.tasks] == ["Mass", "Hernia", "Edema"]


def _changed(**changes: Any) -> tuple[Features, Prompts]:
    features, prompts = problem()
    return replace(features, **changes), prompts


def test_a_finding_without_both_classes_in_training_is_named_and_left_out() -> None:
    features, _ = problem()
    states = features.states.copy()
    states[features.rows("train"), 1] = 0
    result = _run("label", problem=_changed(states=states))
    assert result.findings == ("Edema", "Hernia")
    assert "0 positive" in result.dropped["Mass"]
    with pytest.raises(TrainingError, match="'Mass' cannot be trained"):
        _run("label", problem=_changed(states=states), findings=("Mass",))


def test_a_finding_with_one_class_in_test_has_no_figure_and_is_named() -> None:
    features, _ = problem()
    states = features.states.copy()
    states[features.rows("test"), 1] = 1
    result = _run("label", problem=_changed(states=states))
    assert np.isnan(result.auroc[:, 1]).all()
    assert set(result.excluded) == {"Mass"}
    assert np.isfinite(result.summary["final_auroc"])


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split_is_an_error(split: str) -> None:
    features, _ = problem()
    moved = np.where(features.split == split, "validation", features.split)
    with pytest.raises(TrainingError, match=f"no image is in the {split} split"):
        _run(problem=_changed(split=moved.astype(object)))


def test_no_validation_images_is_no_reason_to_fail() -> None:
    features, _ = problem()
    moved = np.where(features.split == "validation", "train", features.split)
    result = _run("joint", problem=_changed(split=moved.astype(object)))
    assert result.thresholds.tolist() == [0.5] * 3
    assert np.isfinite(result.auroc).all()


def test_no_usable_finding_is_an_error() -> None:
    states = np.zeros((240, 3), dtype=np.int8)
    with pytest.raises(TrainingError, match="no finding has both"):
        _run(problem=_changed(states=states))


def test_a_patient_in_two_splits_is_an_error() -> None:
    features, _ = problem()
    split = features.split.copy()
    split[0] = "test"
    with pytest.raises(TrainingError, match="1 patient stands in more than one split"):
        _changed(split=split)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"embedding": np.full((240, 12), np.nan)}, "not finite"),
        ({"embedding": np.ones((3, 12))}, "embedding has shape"),
        ({"states": np.zeros((240, 2), dtype=np.int8)}, "states has shape"),
        ({"split": np.full(240, "dev", dtype=object)}, "unknown splits: dev"),
    ],
)
def test_features_that_do_not_fit(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(TrainingError, match=said):
        _changed(**changes)


def test_a_finding_without_descriptions_is_named() -> None:
    features, prompts = problem()
    kept = ~((prompts.finding == 2) & prompts.positive)
    fewer = Prompts(
        prompts.embedding[kept], prompts.finding[kept], prompts.positive[kept]
    )
    with pytest.raises(TrainingError, match="'Hernia' has no positive description"):
        _run(problem=(features, fewer))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"findings": ("Edema", "Edema")}, "twice"),
        ({"findings": ("Edema", "Mass"), "order": ("Edema",)}, "`order` must name"),
        ({"scenario": "magic"}, "unknown scenario"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        _run(**options)


def test_constant_features_give_chance_not_a_crash() -> None:
    result = _run("joint", problem=_changed(embedding=np.ones((240, 12), "f2")))
    np.testing.assert_allclose(result.auroc, 0.5)


def _saved(placement: str = "both") -> SavedModel:
    train = replace(_QUICK, placement=placement, epochs=2)
    result = _run("joint", train=train, with_bounds=False)
    return SavedModel(
        result.model,
        train,
        result.findings,
        result.thresholds,
        "0123",
        12,
        result.prompts,
    )


@pytest.mark.parametrize("placement", ["image", "text", "both", "shared"])
def test_a_saved_model_predicts_the_same(tmp_path: Path, placement: str) -> None:
    saved = _saved(placement)
    save_model(tmp_path / "run", saved)
    loaded = load_model(tmp_path / "run")
    features, _ = problem()
    for name, expected in vars(predict(saved.model, features.embedding)).items():
        values = getattr(predict(loaded.model, features.embedding), name)
        np.testing.assert_array_equal(values, expected)
    assert loaded.findings == saved.findings
    assert loaded.fingerprint == "0123"
    np.testing.assert_array_equal(loaded.thresholds, saved.thresholds)


def test_predictions_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    model = _saved().model
    features, _ = problem()
    whole = predict(model, features.embedding)
    parts = predict(model, features.embedding, batch_size=7)
    np.testing.assert_allclose(whole.probability, parts.probability, rtol=1e-5)


@pytest.mark.parametrize("name", ["adaptors.json", "adaptors.safetensors"])
@pytest.mark.parametrize("damage", ["gone", "empty", "garbage", "cut"])
def test_a_damaged_run_is_named(tmp_path: Path, name: str, damage: str) -> None:
    save_model(tmp_path, _saved())
    path = tmp_path / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "garbage": b"x" * 99}.get(damage, content[:50]))
    with pytest.raises(TrainingError) as caught:
        load_model(tmp_path)
    assert str(tmp_path) in caught.value.message


def test_a_run_of_a_newer_retune_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, _saved())
    path = tmp_path / "adaptors.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 9}))
    with pytest.raises(TrainingError, match="newer retune"):
        load_model(tmp_path)


_MISFITS: list[tuple[str, Any]] = [
    ("findings", []),
    ("findings", ["Edema"]),
    ("findings", [1, 2, 3]),
    ("thresholds", None),
    ("thresholds", [0.5]),
    ("thresholds", [0.5, 0.5, float("nan")]),
    ("dim", 13),
    ("dim", 12.0),
    ("dim", None),
    ("prompt_finding", []),
    ("prompt_finding", [0.5] * 15),
    ("prompt_finding", [0] * 15),
    ("prompt_finding", list(range(99))),
    ("format_version", 0),
    ("format_version", None),
    ("config", {"adaptor": "none such"}),
    ("config", {"unknown": 1}),
    ("config", []),
]


@pytest.mark.parametrize(("part", "value"), _MISFITS)
@pytest.mark.parametrize("adaptor", ["residual", "identity"])
def test_a_description_whose_parts_do_not_fit_is_refused(
    tmp_path: Path, adaptor: str, part: str, value: Any
) -> None:
    _, prompts = problem()
    train = TrainConfig(adaptor=adaptor)
    model = build_model(train, prompts, len(FINDINGS), 12)
    save_model(
        tmp_path, SavedModel(model, train, FINDINGS, np.full(3, 0.5), "01", 12, prompts)
    )
    path = tmp_path / "adaptors.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {part: value}))
    with pytest.raises(RetuneError) as caught:
        load_model(tmp_path)
    assert caught.value.hint


def test_a_description_without_one_of_its_parts_is_refused(tmp_path: Path) -> None:
    _, prompts = problem()
    model = build_model(_QUICK, prompts, len(FINDINGS), 12)
    saved = SavedModel(model, _QUICK, FINDINGS, np.full(3, 0.5), "01", 12, prompts)
    save_model(tmp_path, saved)
    path = tmp_path / "adaptors.json"
    whole = json.loads(path.read_text())
    for part in whole:
        path.write_text(json.dumps({k: v for k, v in whole.items() if k != part}))
        with pytest.raises(TrainingError, match=str(tmp_path)):
            load_model(tmp_path)


def test_means_are_over_findings_with_enough_test_images() -> None:
    features, _ = problem()
    states = features.states.copy()
    rare = features.rows("test")
    states[rare, 2] = 0
    states[rare[:3], 2] = 1  # three positives
    given = _changed(states=states)
    few, every = (_run("label", problem=given, min_positives=n) for n in (5, 1))
    assert few.final.counted.tolist() == [True, True, False]
    assert "over 2 of 3 findings" in few.final.note
    assert every.final.note == ""
    # The finding keeps its own figure; means are without it.
    np.testing.assert_array_equal(few.auroc, every.auroc)
    assert few.final.macro[0] == pytest.approx(few.auroc[-1, :2].mean())
    assert few.summary["final_auroc_all"] == pytest.approx(few.auroc[-1, :2].mean())
    assert every.summary["final_auroc_all"] == pytest.approx(every.auroc[-1].mean())
    rows = {(one.metric, one.finding): one.value for one in few.metrics if
            one.split == "test" and one.task == 3}  # fmt: skip
    assert rows["n_findings", None] == 2
    assert rows["n_findings_left_out", None] == 1
    joint = few.bounds["joint"]
    assert rows["macro_auroc_joint", None] == pytest.approx(joint[:2].mean())
    assert rows["auroc", "Hernia"] == pytest.approx(few.auroc[-1, 2])


def test_figures_of_probabilities_have_intervals_and_stand_beside_a_constant() -> None:
    result = _run("joint")
    rows = {(one.metric, one.finding): one for one in result.metrics if
            one.split == "test" and one.task == 1}  # fmt: skip
    for metric in ("average_precision", "f1", "brier", "calibration_error"):
        for finding in FINDINGS:
            one = rows[metric, finding]
            assert one.ci_low is not None
            assert one.ci_high is not None
            assert one.ci_low <= one.value <= one.ci_high
        mean = rows[f"macro_{metric}", None]
        each = [rows[metric, finding].value for finding in FINDINGS]
        assert mean.value == pytest.approx(np.mean(each))
    features, _ = problem()
    known = features.split != "test"
    share = (features.states[known] == 1).mean(axis=0)
    np.testing.assert_allclose(result.prevalence, share, atol=1e-6)
    value = (features.states[features.rows("test"), 0] == 1).astype(float)
    constant = rows["brier_constant", FINDINGS[0]].value
    assert constant == pytest.approx(((share[0] - value) ** 2).mean())
    assert rows["brier", FINDINGS[0]].value < constant


def test_thresholds_follow_the_operating_point_and_keep_their_origin(
    tmp_path: Path,
) -> None:
    result = _run("joint", operating_point="sensitivity=0.95")
    features, _ = problem()
    rows = features.rows("validation")
    positive = features.states[rows] == 1
    called = result.prediction.probability[rows] >= result.thresholds
    sensitivity = (called & positive).sum(axis=0) / positive.sum(axis=0)
    assert (sensitivity >= 0.95).all()
    for k, origin in enumerate(result.origins):
        assert origin.operating_point == "sensitivity=0.95"
        assert origin.n_positive == positive[:, k].sum()
    train, prompts = result.config.train, result.prompts
    saved = SavedModel(
        result.model, train, result.findings, result.thresholds, "01", 12, prompts,
        origins=result.origins, prevalence=result.prevalence,
    )  # fmt: skip
    save_model(tmp_path, saved)
    again = load_model(tmp_path)
    assert again.origins == result.origins
    np.testing.assert_allclose(again.constant, result.prevalence)
    with pytest.raises(ConfigurationError, match="`operating_point`"):
        _run("joint", operating_point="accuracy")


def test_models_of_before_say_no_more_of_thresholds_than_is_known(
    tmp_path: Path,
) -> None:
    _, prompts = problem()
    model = build_model(_QUICK, prompts, len(FINDINGS), 12)
    thresholds = np.array([0.5, 0.3, 0.2])
    save_model(
        tmp_path, SavedModel(model, _QUICK, FINDINGS, thresholds, "01", 12, prompts)
    )
    path = tmp_path / "adaptors.json"
    content = json.loads(path.read_text())
    content["format_version"] = 2
    del content["threshold_origins"], content["prevalence"]
    path.write_text(json.dumps(content))
    again = load_model(tmp_path)
    sources = [one.source for one in again.threshold_origins]
    assert sources == ["default", "validation", "validation"]
    assert again.threshold_origins[1].n_positive == -1
    assert np.isnan(again.constant).all()


@pytest.mark.parametrize("method", ["finetune", "replay", "lwf", "ewc", "mask"])
def test_every_method_is_calibrated_on_validation(method: str) -> None:
    result = _run("joint", method=method, with_bounds=False)
    slope = result.model.state_dict()["slope"]
    assert bool((slope > 0).all())
    assert not bool((slope == 1).any())
    assert result.final.means["brier"][0] < result.final.means["brier_constant"][0]


def test_zero_shot_is_calibrated_and_needs_no_training_images() -> None:
    features, _ = problem()
    without = np.where(features.split == "train", "validation", features.split)
    for split in (features.split, without.astype(object)):
        result = _run("zero-shot", problem=_changed(split=split))
        rows = result.prediction.probability[features.rows("test")]
        share = (features.states[features.rows("test")] == 1).mean(axis=0)
        np.testing.assert_allclose(rows.mean(axis=0), share, atol=0.15)
        assert {one.source for one in result.origins} == {"validation"}
    only = np.full(len(features.split), "test", dtype=object)
    result = _run("zero-shot", problem=_changed(split=only))
    assert {one.source for one in result.origins} == {"default"}
    assert result.thresholds.tolist() == [0.5] * 3
