"""Killed anywhere, `forget` has erased nothing or is finished by the next call."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from erasure_samples import bytes_of, learnable_store, patient_name

from retune.pipeline.app.erasing.forget import ForgetRequest, forget, verify_erased
from retune.pipeline.app.train import TrainRequest, train
from retune.store import FeatureStore
from retune.store.erasure.receipts import RECEIPTS_FOLDER

#: Forks itself for each kill: one start-up serves them all, also of what an erasure
#: would load later. In a child, the step of that number ends the process as a power cut
#: would.
_CHILDREN = """
import json, os, sys
from pathlib import Path
import pandas
import retune.pipeline.app.gallery.thumbnails, retune.pipeline.app.queries.image_files
from retune.pipeline.app.erasing.forget import ForgetRequest, forget
from retune.pipeline.learn.erasing import unlearning
from retune.store import FeatureStore
from retune.store.erasure import journal

steps = json.loads(sys.argv[2])
patient = sys.argv[3]
for number in steps:
    if os.fork() == 0:
        left = [number]
        def step(name):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
        journal.before_step = step
        forget(FeatureStore(Path(sys.argv[1]) / str(number)), ForgetRequest([patient]))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""
_KILLS = 30

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kept") / "store"
    store = learnable_store(root, 20)
    train(store, TrainRequest("joint", method="analytic", bounds=False))
    return root


def _count_steps(workspace: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many steps an erasure takes."""
    shutil.copytree(kept, workspace)
    seen: list[str] = []
    monkeypatch.setattr("retune.store.erasure.journal.before_step", seen.append)
    forget(FeatureStore(workspace), ForgetRequest([patient_name(2)]))
    monkeypatch.undo()
    return len(seen)


def test_every_kill_is_finished_by_the_next_call(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_steps = _count_steps(tmp_path / "counted", kept, monkeypatch)
    assert n_steps >= _KILLS
    steps = sorted({step * n_steps // _KILLS for step in range(_KILLS)})
    for number in steps:
        shutil.copytree(kept, tmp_path / str(number))
    done = subprocess.run(
        [sys.executable, "-c", _CHILDREN, tmp_path, json.dumps(steps), patient_name(2)],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.stdout.split() == ["9"] * len(steps), done.stderr
    for index, number in enumerate(steps):
        store = FeatureStore(tmp_path / str(number))
        if index % 2:  # whoever opens the store for writing finishes it, too
            with store.writer("test"):
                pass
            assert not store.verify()
        forget(store, ForgetRequest([patient_name(2)]))
        assert not store.verify(), number
        assert not (store.path / "erasing").exists()
        receipts = [*(store.path / RECEIPTS_FOLDER).iterdir()]
        assert len(receipts) == 1
        assert not verify_erased(store, receipts[0])[1], number
        for name, content in bytes_of(store.path).items():
            assert patient_name(2).encode() not in content, (number, name)
