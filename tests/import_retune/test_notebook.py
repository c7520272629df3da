"""A notebook on real radiographs: the whole face in one short script."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import retune

pytestmark = [pytest.mark.real, pytest.mark.e2e]


def test_a_notebook_on_real_radiographs(real_data: Path, tmp_path: Path) -> None:
    store = retune.open(tmp_path / "feature-store", create=True)
    store.ingest(real_data / "nih-320", layout="nih")
    store.embed("mini", device="cpu")
    df = store.frame(split="test", labels=True, vectors=True)
    X, Y, images = store.arrays(split="train")
    dataset = store.torch_dataset(split="validation")
    tables = store.datasets, store.findings, store.encoders, store.runs
    classifier = retune.AnalyticClassifier().fit(X, Y)
    chances = classifier.predict_proba(np.stack(list(df["embedding"])))
    counted = store.sql("SELECT count(*) AS n FROM images").df()
    other = store.train("zero-shot", findings=["Edema", "Infiltration"])
    run = store.train("label", method="analytic", findings=["Edema", "Infiltration"])
    matrix, summary, config = run.matrix, run.summary, run.config
    by_sex, figure = run.metrics(by="sex"), run.plot()
    model = run.model(device="cpu")
    picture = Image.open(real_data / "nih-320" / "images" / images["path"][0][-16:])
    predicted = model.predict([picture, np.asarray(picture), picture.filename])
    compared = retune.compare(run, store.runs[1])
    evaluated = store.evaluate(run, dataset="nih", split="validation")

    (row,) = store.datasets
    assert (len(X), len(dataset), len(df)) == (row.train, row.validation, row.test)
    assert counted["n"].tolist() == [row.images]
    assert chances.shape == (len(df), Y.shape[1])
    assert images["split"].unique().tolist() == ["train"]
    assert set(np.unique(df["Pneumothorax"])) <= {0, 1}
    assert not store.status().missing
    assert all(len(repr(table).splitlines()) <= 32 for table in tables)
    assert len(repr(store).splitlines()) == 4
    assert matrix.shape == (3, 2)
    assert [run, other] == [store.runs[0], store.runs[1]]
    assert {"forgetting", "final_auroc"} <= set(summary.index)
    assert config["experiment"]["method"] == "analytic"
    assert {"F", "M"} <= set(by_sex["group"])
    assert figure.axes
    assert len(predicted) == 6
    assert predicted["probability"].between(0, 1).all()
    assert set(predicted["decision"]) <= {"positive", "negative"}
    assert len(compared.findings) == 2
    assert evaluated.n_images == row.validation - evaluated.n_contaminated
    assert len(repr(run).splitlines()) < 40
