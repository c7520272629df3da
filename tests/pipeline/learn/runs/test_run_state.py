"""States on disk: going on, merging, resuming, and what a damaged file says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from learning_samples import FINDINGS, problem

from retune.pipeline.learn.methods.registry import METHODS
from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.problem.features import Features, Prompts
from retune.pipeline.learn.runs.checkpoints import Checkpoints
from retune.pipeline.learn.runs.experiment import (
    Experiment,
    ExperimentConfig,
    run_experiment,
    run_merge,
)
from retune.pipeline.learn.runs.state import (
    RunState,
    load_state,
    merge_runs,
    save_state,
)
from retune.store.errors import FingerprintMismatchError, TrainingError

_QUICK = TrainConfig(epochs=3, patience=2, batch_size=64, learning_rate=3e-3)


def _config(method: str, scenario: str = "joint", **options: Any) -> ExperimentConfig:
    return ExperimentConfig(
        scenario, method=method, train=_QUICK, with_bounds=False, **options
    )


def _state(experiment: Experiment, fingerprint: str = "01") -> RunState:
    return RunState(
        experiment.config.method,
        experiment.config.train,
        experiment.findings,
        fingerprint,
        experiment.prompts,
        experiment.state,
    )


def _carried(experiment: Experiment, path: Path) -> RunState:
    save_state(path, _state(experiment))
    return load_state(path)


def _hospitals() -> tuple[Features, Features, Features, Prompts]:
    """Two hospitals, and a third that has both; all with the same test images."""
    whole, prompts = problem(n_images=400)
    half = (whole.patient_id.astype(int) // 5) % 2 == 0
    test = whole.split == "test"

    def part(chosen: np.ndarray) -> Features:
        rows = np.flatnonzero(chosen | test)
        return Features(
            whole.image_id[rows],
            whole.patient_id[rows],
            whole.split[rows],
            whole.embedding[rows],
            FINDINGS,
            whole.states[rows],
        )

    return part(half), part(~half), whole, prompts


@pytest.mark.parametrize("method", METHODS)
def test_what_was_saved_is_what_is_loaded(method: str, tmp_path: Path) -> None:
    result = run_experiment(*problem(), _config(method, "label"))
    loaded = _carried(result, tmp_path / "state.safetensors")
    assert loaded.method == method
    assert loaded.config == _QUICK
    assert loaded.findings == FINDINGS
    carried = {k for k in result.state if not k.startswith("local.")}
    assert set(loaded.tensors) == carried
    for name in carried:
        assert (loaded.tensors[name] == result.state[name]).all()


def test_an_analytic_state_holds_no_embedding_and_no_id(tmp_path: Path) -> None:
    features, prompts = problem()
    _carried(run_experiment(features, prompts, _config("analytic")), tmp_path / "s")
    content = (tmp_path / "s").read_bytes()
    x = features.embedding.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    for row in range(len(x)):
        for dtype in ("f2", "f4", "f8"):
            assert x[row].astype(dtype).tobytes() not in content
            assert features.embedding[row].astype(dtype).tobytes() not in content
    assert b"i17" not in content


@pytest.mark.parametrize("scenario", ["joint", "data", "label"])
def test_continued_elsewhere_it_scores_as_joint_training_on_both(
    scenario: str, tmp_path: Path
) -> None:
    one, other, whole, prompts = _hospitals()
    config = _config("analytic")
    start = _carried(run_experiment(one, prompts, config), tmp_path / "s")
    there = replace(config, scenario=scenario)
    result = run_experiment(other, prompts, there, start=start)
    if scenario == "label":  # shows each finding on a part only
        assert np.isfinite(result.auroc).all()
        return
    together = run_experiment(whole, prompts, config)
    np.testing.assert_allclose(result.auroc[-1], together.auroc[-1], atol=1e-4)


def test_merged_it_scores_as_joint_training_on_both(tmp_path: Path) -> None:
    one, other, whole, prompts = _hospitals()
    config = _config("analytic")
    states = [
        _carried(run_experiment(part, prompts, config), tmp_path / str(index))
        for index, part in enumerate((one, other))
    ]
    merged = run_merge(
        one, prompts, replace(config, scenario="merge"), merge_runs(states)
    )
    together = run_experiment(whole, prompts, config)
    np.testing.assert_allclose(merged.auroc[-1], together.auroc[-1], atol=1e-4)


def test_a_finding_that_the_other_store_does_not_label_stays_as_it_was(
    tmp_path: Path,
) -> None:
    one, other, _, prompts = _hospitals()
    config = _config("analytic")
    first = run_experiment(one, prompts, config)
    start = _carried(first, tmp_path / "s")
    fewer = replace(other, findings=FINDINGS[:2], states=other.states[:, :2])
    result = run_experiment(fewer, prompts, config, start=start)
    assert result.findings == FINDINGS
    assert np.isnan(result.auroc[-1, 2])
    assert set(result.excluded) == {"Hernia"}


@pytest.mark.parametrize("method", ["finetune", "replay"])
def test_trained_adaptors_go_on_too(method: str, tmp_path: Path) -> None:
    one, other, _, prompts = _hospitals()
    start = _carried(run_experiment(one, prompts, _config(method)), tmp_path / "s")
    result = run_experiment(other, prompts, _config(method), start=start)
    alone = run_experiment(other, prompts, _config(method))
    assert not np.array_equal(result.auroc[-1], alone.auroc[-1])


def test_what_cannot_be_merged_is_named() -> None:
    one = _state(run_experiment(*problem(), _config("analytic")))
    tuned = _state(run_experiment(*problem(), _config("finetune")))
    with pytest.raises(TrainingError, match="two runs or more"):
        merge_runs([one])
    with pytest.raises(TrainingError, match="method finetune cannot be merged"):
        merge_runs([one, tuned])
    with pytest.raises(FingerprintMismatchError, match="01 and 02"):
        merge_runs([one, replace(one, fingerprint="02")])
    with pytest.raises(TrainingError, match="other findings"):
        merge_runs([one, replace(one, findings=("A", "B", "C"))])


@pytest.mark.parametrize("damage", ["gone", "empty", "garbage", "cut", "header"])
def test_a_damaged_state_is_named(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, _state(run_experiment(*problem(), _config("analytic"))))
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        damaged = {"empty": b"", "garbage": b"x" * 99, "cut": content[:-50]}
        path.write_bytes(damaged.get(damage, content.replace(b'\\"', b"??", 1)))
    with pytest.raises(TrainingError) as caught:
        load_state(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("from_end", [9, 999, 2000])
def test_a_flipped_bit_is_noticed(from_end: int, tmp_path: Path) -> None:
    """It may have travelled on a stick; no other check sees a wrong number."""
    path = tmp_path / "state.safetensors"
    save_state(path, _state(run_experiment(*problem(), _config("analytic"))))
    content = bytearray(path.read_bytes())
    content[-from_end] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainingError, match="checksum"):
        load_state(path)


def test_a_state_of_before_checksums_is_read(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, _state(run_experiment(*problem(), _config("analytic"))))
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    described = json.loads(header["__metadata__"]["retune"])
    del described["checksum"]
    described["format_version"] = 1
    header["__metadata__"]["retune"] = json.dumps(described)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    assert load_state(path).findings == FINDINGS


def test_the_checksum_covers_the_header_and_cannot_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, _state(run_experiment(*problem(), _config("analytic"))))
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    told = json.loads(header["__metadata__"]["retune"])
    without = {name: value for name, value in told.items() if name != "checksum"}
    for described in (without, told | {"contributions": []} | {"method": "ewc"}):
        header["__metadata__"]["retune"] = json.dumps(described)
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
        with pytest.raises(TrainingError, match="checksum"):
            load_state(path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("format_version", 9), ("format_version", None), ("findings", None),
        ("config", {"unknown": 1}), ("prompt_finding", [0]), ("prompt_positive", []),
    ],
)  # fmt: skip
def test_a_header_that_does_not_fit_is_named(
    part: str, value: Any, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, _state(run_experiment(*problem(), _config("analytic"))))
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    described = json.loads(header["__metadata__"]["retune"])
    described[part] = value
    header["__metadata__"]["retune"] = json.dumps(described)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    with pytest.raises(TrainingError, match=str(path)):
        load_state(path)


def test_a_damaged_checkpoint_says_what_to_delete(tmp_path: Path) -> None:
    """Training again with --resume would only meet it again."""
    result = run_experiment(*problem(), _config("analytic"))
    blank = RunState("analytic", _QUICK, FINDINGS, "01", result.prompts, {})
    checkpoints = Checkpoints(tmp_path / "unfinished-1", blank)
    checkpoints.keep(1, result.state)
    path = tmp_path / "unfinished-1" / "task-1.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(TrainingError, match="cannot be read") as caught:
        checkpoints.find(1)
    assert f"Delete {path}" in caught.value.hint
    path.unlink()
    assert checkpoints.find(1) is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("stopped_after", [1, 2])
def test_an_interrupted_run_resumes_bit_for_bit(
    method: str, stopped_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(method, "label")
    whole = run_experiment(*problem(), config)
    _, prompts = problem()
    blank = RunState(method, _QUICK, FINDINGS, "01", prompts, {})
    checkpoints = Checkpoints(tmp_path / "unfinished-1", blank)
    learned = []
    method_type = METHODS[method]
    learn = method_type.learn

    def stopping(self: Any, task: Any) -> None:
        if len(learned) == stopped_after:
            raise KeyboardInterrupt
        learned.append(task.name)
        learn(self, task)

    monkeypatch.setattr(method_type, "learn", stopping)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(*problem(), config, checkpoints=checkpoints)
    learned.clear()
    monkeypatch.setattr(method_type, "learn", learn)
    seen: list[str] = []
    monkeypatch.setattr(
        method_type,
        "learn",
        lambda self, task: (seen.append(task.name), learn(self, task)),
    )
    again = run_experiment(*problem(), config, checkpoints=checkpoints)
    assert seen == list(FINDINGS[stopped_after:])
    np.testing.assert_array_equal(again.auroc, whole.auroc)
    np.testing.assert_array_equal(
        again.prediction.difference, whole.prediction.difference
    )
    checkpoints.remove()
    assert not list(tmp_path.iterdir())
