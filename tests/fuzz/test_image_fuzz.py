"""A small run of `make fuzz`; the hostile kinds stand in test_isolation.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_fuzz import mutated, whole_files, with_right_checksums

pytestmark = pytest.mark.e2e


#: In a process of its own: the peak of memory is that of a whole process.
_FUZZ = """
import json, image_fuzz
image_fuzz.HOSTILE = {}
report = image_fuzz.fuzz_images(250, seed=1)
counts = [[outcome, n] for (_, outcome), n in report.outcomes.items()]
print(json.dumps([report.fine, counts, repr(report)]))
"""


def test_mutated_images_are_pictures_or_failure_rows() -> None:
    folder = Path(__file__).parent
    path = os.pathsep.join([str(folder), str(folder.parent)])
    done = subprocess.run(
        [sys.executable, "-c", _FUZZ], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    fine, counts, report = json.loads(done.stdout)
    assert fine, report
    assert {"picture", "failure row"} <= {outcome for outcome, _ in counts}
    assert sum(count for _, count in counts) == 254


def test_a_seed_gives_the_same_files() -> None:
    one, other = (whole_files(np.random.default_rng(5)) for _ in range(2))
    assert one.keys() == other.keys()
    assert one["PNG"] == other["PNG"]
    damaged = [mutated(one["PNG"], np.random.default_rng(2)) for _ in range(2)]
    assert damaged[0] == damaged[1]


def test_most_changed_pngs_are_read_beyond_their_checksums() -> None:
    content = whole_files(np.random.default_rng(5))["PNG"]
    assert with_right_checksums(content) == content
    changed = bytearray(content)
    changed[20] ^= 1  # of the width
    mended = with_right_checksums(bytes(changed))
    assert mended[:29] == changed[:29]
    assert mended[29:33] != changed[29:33]
    assert mended[33:] == content[33:]
