"""The real, full-size tables give the published counts and the labels of slow oracles.

They come with the package torchxrayvision, whose code is not run.
"""

import gzip
import importlib.util
import random
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from reference_labels import (
    chexpert_rows,
    nih_rows,
    openi_reports,
    padchest_rows,
    vindr_votes,
)

from retune.pipeline.datasets.contract import LabelTable, TableOptions
from retune.pipeline.datasets.layouts import read_layout
from retune.pipeline.datasets.readers.openi import OPENI_HEADINGS
from retune.pipeline.datasets.readers.padchest_tokens import (
    NORMAL,
    OTHER_TOKENS,
    PADCHEST_TOKENS,
    SILENT,
)
from retune.pipeline.datasets.readers.vindr import VINDR_TOKENS
from retune.pipeline.datasets.splits import assign_splits
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN


def packed(name: str) -> Path:
    package = importlib.util.find_spec("torchxrayvision")
    if package is None or package.origin is None:
        pytest.skip("the package torchxrayvision, which has the tables, is absent")
    return Path(package.origin).parent / "data" / name


def unpack(name: str, file: Path) -> None:
    file.write_bytes(gzip.decompress(packed(name).read_bytes()))


def check_a_thousand_rows(table: LabelTable, oracle: list[dict[str, object]]) -> None:
    """Ids, sex, age, view and labels of random rows are those of the slow reader."""
    assert table.images.num_rows == len(oracle)
    rows = random.Random(0).sample(range(len(oracle)), 1_000)
    images = table.images.take(rows).to_pylist()
    for row, image in zip(rows, images, strict=True):
        expected = dict(oracle[row])
        states = expected.pop("states")
        assert {name: image[name] for name in expected} == expected
        labels = dict(zip(table.findings, table.states[row].tolist(), strict=True))
        assert labels == states


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


def test_padchest(tmp_path):
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    (tmp_path / name).symlink_to(packed(name))  # read as it is, packed
    table = read_layout("padchest", tmp_path, TableOptions())
    images = table.images
    assert images.num_rows == 160_861
    assert pc.count_distinct(images["patient_id"]).as_py() == 67_625
    assert set(pc.unique(images["view"]).to_pylist()) == {
        "PA", "L", "AP", "AP_HORIZONTAL", "COSTAL", "EXCLUDE", "UNK",
    }  # fmt: skip

    plain = tmp_path / "plain.csv"
    unpack(name, plain)
    oracle = padchest_rows(plain)
    tokens = set().union(*(row["labels"] for row in oracle))
    # DATASETS.md counts `nan`, which stands for a blank cell, as the 194th token.
    assert len(tokens) == 193
    assert tokens <= {*PADCHEST_TOKENS, *OTHER_TOKENS, *NORMAL, *SILENT}
    assert len({*PADCHEST_TOKENS, *OTHER_TOKENS, *NORMAL, *SILENT}) == 194
    assert sum("pseudonodule" in row["labels"] for row in oracle) == 2_241
    nodules = sum(
        bool(row["labels"] & {"nodule", "multiple nodules"}) for row in oracle
    )
    assert counts(table, "Nodule")[POSITIVE] == nodules
    for row in oracle:
        listed = row.pop("labels")
        row["states"] = padchest_states(listed, table.findings)
    check_a_thousand_rows(table, oracle)


def padchest_states(listed: set[str], findings: tuple[str, ...]) -> dict[str, int]:
    if not listed - SILENT:
        return dict.fromkeys(findings, ABSENT)
    states = dict.fromkeys(findings, NEGATIVE)
    for token in listed:
        for finding in PADCHEST_TOKENS.get(token, ()):
            states[finding] = POSITIVE
    return states


def test_padchest_with_labels_of_its_own(tmp_path):
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    (tmp_path / name).symlink_to(packed(name))
    options = TableOptions(finding_columns=("Pseudonodule", "edema"))
    table = read_layout("padchest", tmp_path, options)
    assert table.findings == ("Edema", "Pseudonodule")
    assert counts(table, "Pseudonodule")[POSITIVE] == 2_241


@pytest.mark.parametrize(
    ("rule", "positive", "uncertain"),
    [("any", 186, 0), ("majority", 62, 0), ("all", 18, 0), ("soft", 18, 168)],
)
def test_vindr(tmp_path, rule, positive, uncertain):
    file = tmp_path / "train.csv"
    unpack("vinbigdata-train.csv.gz", file)
    assert len(file.read_text().splitlines()) - 1 == 67_914
    table = read_layout("vindr", tmp_path, TableOptions(votes=rule))
    assert table.images.num_rows == 15_000
    counted = counts(table, "Atelectasis")
    assert counted[POSITIVE] == positive
    assert counted.get(UNCERTAIN, 0) == uncertain

    votes = vindr_votes(file)
    assert {len(readers) for readers in votes.values()} == {3}
    rows = random.Random(0).sample(range(15_000), 1_000)
    for row in rows:
        image = table.images["patient_id"][row].as_py()
        for finding, state in zip(table.findings, table.states[row], strict=True):
            n = sum(
                any(VINDR_TOKENS[token] == finding for token in seen)
                for seen in votes[image].values()
            )
            expected = {
                "any": POSITIVE if n >= 1 else NEGATIVE,
                "majority": POSITIVE if n >= 2 else NEGATIVE,
                "all": POSITIVE if n == 3 else NEGATIVE,
                "soft": {0: NEGATIVE, 3: POSITIVE}.get(n, UNCERTAIN),
            }
            assert state == expected[rule]


def test_openi(tmp_path):
    with tarfile.open(packed("NLMCXR_reports.tgz")) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "ecgen-radiology"
    table = read_layout("openi", tmp_path, TableOptions())
    assert len(list(folder.glob("*.xml"))) == 3_955
    assert table.images.num_rows == 7_470
    oracle = openi_reports(folder)
    rows = random.Random(0).sample(range(7_470), 1_000)
    for row in rows:
        name = Path(table.images["path"][row].as_py()).stem
        uid, majors = oracle[name]
        assert table.images["patient_id"][row].as_py() == uid
        labels = dict(zip(table.findings, table.states[row].tolist(), strict=True))
        assert labels == openi_states(majors, table.findings)


def openi_states(majors: set[str], findings: tuple[str, ...]) -> dict[str, int]:
    silent = ("No Indexing", "Technical Quality of Image Unsatisfactory")
    if all(major.strip() in silent for major in majors):
        return dict.fromkeys(findings, ABSENT)
    states = dict.fromkeys(findings, NEGATIVE)
    for major in majors:
        parts = [part.strip() for part in major.split("/")]
        for heading, names in OPENI_HEADINGS.items():
            wanted, _, qualifier = heading.partition("/")
            if parts[0] == wanted and (not qualifier or qualifier in parts[1:]):
                states.update(dict.fromkeys(names, POSITIVE))
    return states
