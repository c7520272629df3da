"""The real, full-size tables of NIH and CheXpert give the published counts.

They come with the package torchxrayvision, whose code is not run.
"""

import gzip
import importlib.util
import random
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from reference_labels import chexpert_rows, nih_rows

from retune.pipeline.datasets.label_table import LabelTable, TableOptions
from retune.pipeline.datasets.layouts import read_layout
from retune.pipeline.datasets.splits import assign_splits
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN


def unpack(name: str, file: Path) -> None:
    package = importlib.util.find_spec("torchxrayvision")
    if package is None or package.origin is None:
        pytest.skip("the package torchxrayvision, which has the tables, is absent")
    packed = Path(package.origin).parent / "data" / name
    file.write_bytes(gzip.decompress(packed.read_bytes()))


def check_a_thousand_rows(table: LabelTable, oracle: list[dict[str, object]]) -> None:
    """Ids, sex, age, view and labels of random rows are those of the slow reader."""
    assert table.images.num_rows == len(oracle)
    rows = random.Random(0).sample(range(len(oracle)), 1_000)
    images = table.images.take(rows).to_pylist()
    for row, image in zip(rows, images, strict=True):
        expected = dict(oracle[row])
        states = expected.pop("states")
        assert {name: image[name] for name in expected} == expected
        found = dict(zip(table.findings, table.states[row].tolist(), strict=True))
        assert found == states


def counts(table: LabelTable, finding: str) -> dict[int, int]:
    states = table.states[:, table.findings.index(finding)]
    codes, n = np.unique(states, return_counts=True)
    return dict(zip(codes.tolist(), n.tolist(), strict=True))


def test_chexpert_train(tmp_path):
    file = tmp_path / "train.csv"
    unpack("chexpert_train.csv.gz", file)
    table = read_layout("chexpert", tmp_path, TableOptions())
    assert table.images.num_rows == 223_414
    assert pc.count_distinct(table.images["patient_id"]).as_py() == 64_540
    assert pc.count_distinct(table.images["study_id"]).as_py() == 187_641
    assert counts(table, "Atelectasis") == {
        POSITIVE: 33_376,
        NEGATIVE: 1_328,
        UNCERTAIN: 33_739,
        ABSENT: 154_971,
    }
    assert table.images["sex"].null_count == 1
    assert table.warnings == (
        "train.csv: column 'Sex': 1 value kept as unknown: 'Unknown' (1)",
    )
    check_a_thousand_rows(table, chexpert_rows(file))


def test_nih(tmp_path):
    file = tmp_path / "Data_Entry_2017_v2020.csv"
    unpack("Data_Entry_2017_v2020.csv.gz", file)
    table = read_layout("nih", tmp_path, TableOptions())
    images = table.images
    assert images.num_rows == 112_120
    assert pc.count_distinct(images["patient_id"]).as_py() == 30_805
    assert counts(table, "Infiltration")[POSITIVE] == 19_894
    assert counts(table, "Hernia") == {POSITIVE: 227, NEGATIVE: 112_120 - 227}
    assert int((table.states == NEGATIVE).all(axis=1).sum()) == 60_361  # No Finding
    assert (images["sex"].null_count, images["age"].null_count) == (0, 0)
    (warning,) = table.warnings
    assert warning.startswith("112,120 of 112,120 images are not in images/")
    check_a_thousand_rows(table, nih_rows(file))

    patients = images["patient_id"].to_numpy()
    split = assign_splits(patients, np.full(len(patients), None, object), seed=0)
    images = images.append_column("split", [split.tolist()])
    sides = images.group_by("patient_id").aggregate([("split", "count_distinct")])
    assert pc.max(sides["split_count_distinct"]).as_py() == 1
