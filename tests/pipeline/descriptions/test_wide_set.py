"""The set `wide`: every finding of four data sets, without changing `default`."""

import ast
import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest
import yaml

from retune.pipeline import descriptions
from retune.pipeline.descriptions import load_descriptions
from retune.pipeline.findings import CHEXPERT_TOKENS, NIH_TOKENS, spelling_key

_FILE = Path(descriptions.__file__).parent / "wide.yaml"

#: Labels of PadChest's table by frequency, without "normal", "unchanged" and
#: "suboptimal study", which are no findings.
_PADCHEST = (
    "COPD signs", "cardiomegaly", "aortic elongation", "pleural effusion", "scoliosis",
    "pneumonia", "interstitial pattern", "chronic changes", "infiltrates",
    "costophrenic angle blunting", "air trapping", "alveolar pattern", "NSG tube",
    "kyphosis", "laminar atelectasis", "vertebral degenerative changes",
    "vascular hilar enlargement", "nodule", "fibrotic band",
    "apical pleural thickening", "pacemaker",
    "central venous catheter via jugular vein", "calcified granuloma",
    "callus rib fracture", "atelectasis", "sternotomy", "volume loss",
    "bronchiectasis", "aortic atheromatosis", "consolidation", "increased density",
    "hemidiaphragm elevation", "heart insufficiency", "endotracheal tube",
    "hiatal hernia", "pseudonodule", "suture material",
    "vertebral anterior compression", "tracheostomy tube",
    "central venous catheter via subclavian vein",
)  # fmt: skip
_VINDR = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly",
    "Clavicle fracture", "Consolidation", "Edema", "Emphysema", "Enlarged PA", "ILD",
    "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst", "Mediastinal shift",
    "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax",
    "Pulmonary fibrosis", "Rib fracture", "Other lesion", "COPD", "Lung tumor",
    "Pneumonia", "Tuberculosis", "Other disease",
)  # fmt: skip
#: What two labels are called in retune.
_CALLED = {"infiltrates": "Infiltration", "Pulmonary fibrosis": "Fibrosis"}


@pytest.mark.parametrize(
    "label",
    sorted({*CHEXPERT_TOKENS.values(), *NIH_TOKENS.values(), *_PADCHEST, *_VINDR}),
)
def test_every_finding_has_eight_sentences_of_each_polarity(label: str) -> None:
    rows = load_descriptions("wide", [_CALLED.get(label, label)])
    for polarity in ("positive", "negative"):
        texts = {row.text for row in rows if row.polarity == polarity}
        assert len(texts) >= 8
    assert {row.generator for row in rows} == {"large language model"}


def test_these_are_the_most_frequent_labels_of_the_real_table() -> None:
    """The packaged table is the release's own, which counts each label."""
    package = pytest.importorskip("torchxrayvision")
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    path = Path(package.__file__).parent / "data" / name
    counts: Counter[str] = Counter()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            labels = ast.literal_eval(row["Labels"]) if row["Labels"][:1] == "[" else []
            counts.update({str(label).strip() for label in labels} - {""})
    no_finding = {"normal", "unchanged", "suboptimal study"}
    frequent = [label for label, _ in counts.most_common(43) if label not in no_finding]
    assert set(frequent) == set(_PADCHEST)


def test_those_of_default_are_the_same_and_say_where_they_stand() -> None:
    default, wide = load_descriptions("default"), load_descriptions("wide")
    shared = [row for row in wide if row.source == "shipped:default.yaml"]
    assert [row.text for row in shared] == [row.text for row in default]
    assert [row.text_digest for row in shared] == [row.text_digest for row in default]
    assert {row.instruction_digest for row in shared} == {
        row.instruction_digest for row in default
    }
    assert {row.set_name for row in wide} == {"wide"}
    assert {row.source for row in wide} == {
        "shipped:default.yaml",
        "shipped:wide.yaml",
    }


def test_it_says_what_made_it_and_that_nobody_reviewed_it() -> None:
    raw = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    assert raw["generator"] == "large language model"
    assert "not through `describe`" in raw["note"]
    assert "reviewed by no radiologist" in raw["note"]
    rows = load_descriptions("wide")
    assert not any(row.reviewed or row.edited for row in rows)
    assert all(row.instruction_digest for row in rows)


def test_names_are_distinct_and_sentences_belong_to_one_polarity() -> None:
    rows = load_descriptions("wide")
    names = list(dict.fromkeys(row.finding for row in rows))
    assert len({spelling_key(name) for name in names}) == len(names)
    positive = {row.text for row in rows if row.polarity == "positive"}
    assert not positive & {row.text for row in rows if row.polarity == "negative"}
