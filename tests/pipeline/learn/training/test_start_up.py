"""What a training run loads: torch's compiler takes two seconds and is not needed."""

import subprocess
import sys
from pathlib import Path

_CODE = """
import sys
from learning_samples import problem
from retune.pipeline.learn.runs.experiment import ExperimentConfig, run_experiment
from retune.pipeline.learn.problem.config import TrainConfig
for method in ("finetune", "analytic"):
    run_experiment(*problem(), ExperimentConfig(
        "label", method=method, train=TrainConfig(epochs=2), with_bounds=False))
print(*(name for name in ("torch._dynamo", "sklearn") if name in sys.modules))
"""


def test_training_loads_neither_the_compiler_nor_scikit_learn() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CODE],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout.strip() == ""
