"""The whole recipe of mini, small: pools, training, weights, measures and card."""

import sys
from pathlib import Path

import numpy as np
import pytest
from image_samples import write_images
from safetensors.torch import load_file

from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.source import source_of
from retune.pipeline.mini_recipe import __main__ as recipe
from retune.pipeline.mini_recipe import measures, pools
from retune.pipeline.mini_recipe.training import RecipeConfig
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError

pytestmark = pytest.mark.e2e

_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)


def _write_pool(folder: Path, n_images: int, seed: int) -> None:
    """A tiny ChestX-ray14 of noise; every second image shows an effusion."""
    names = [f"{number:08d}_000.png" for number in range(1, n_images + 1)]
    (folder / "images").mkdir(parents=True)
    write_images(folder / "images", names, seed=seed)
    lines = [
        f"{name},{'Effusion|Mass' if number % 2 else 'No Finding'},0,{number},50,F,PA,"
        "1024,1024,0.14,0.14\n"
        for number, name in enumerate(names)
    ]
    (folder / "Data_Entry_2017_v2020.csv").write_text(_HEADER + "".join(lines))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the recipe on tiny pools."""
    root = tmp_path_factory.mktemp("recipe")
    for seed, name in enumerate(pools.NIH_POOLS):
        _write_pool(root / "radiographs" / name, 40, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "_DEMOS", {"demo": (60, 0), "demo-trained": (40, 1)})
        patch.setattr(measures, "MIN_POSITIVE", 3)
        patch.setattr(measures, "_DRAWS", 20)
        patch.setattr(recipe, "RecipeConfig", lambda: RecipeConfig(steps=3))
        places = [str(root / part) for part in ("radiographs", "work", "out")]
        patch.setattr(sys, "argv", ["mini_recipe", *places])
        recipe.main()
    return root


def test_the_weights_load_as_a_backbone_folder(made: Path) -> None:
    name = f"local-dir:{made / 'work' / 'mini'}"
    source = source_of(name, precision="float32", output_dtype="float16")
    backbone = load_backbone(source, precision="float32", device="cpu")
    vectors = backbone.encode_texts(["A small effusion.", "No effusion."])
    assert vectors.shape == (2, 128)
    assert np.isfinite(vectors).all()
    saved = load_file(made / "out" / "mini.safetensors")
    assert saved["visual.head.proj.weight"].shape == (128, 1280)
    assert not [key for key in saved if "trunk" in key]


def test_only_training_patients_are_listed(made: Path) -> None:
    listed = (made / "out" / "mini-patients.txt").read_text(encoding="utf-8")
    sections = listed.strip().split("\n\n")
    assert [one.split(":")[0] for one in sections] == [
        "# nih-320", "# nih-64", "# demo-trained",
    ]  # fmt: skip
    for section in sections[:2]:
        patients = section.splitlines()[2:]
        assert section.splitlines()[1] == "# patients of nih"
        assert 0 < len(patients) < 40
        assert len(set(patients)) == len(patients)
    # The hash of a patient's id alone decides, in both pools alike.
    assert sections[0].splitlines()[1:] == sections[1].splitlines()[1:]


def test_the_card_says_what_was_measured_and_what_it_is_not_for(made: Path) -> None:
    card = (made / "out" / "mini-card.md").read_text(encoding="utf-8")
    assert "not a medical device" in card
    assert "steps 3" in card
    assert "| nih-320 | AUROC |" in card
    assert "| demo | AUROC |" in card
    assert card.count("`joint` after RE-tune") == 2


def test_a_missing_pool_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_DEMOS", {})
    monkeypatch.setattr(
        sys, "argv", ["mini_recipe", *[str(tmp_path / p) for p in "abc"]]
    )
    with pytest.raises(SystemExit, match="nih-320"):
        recipe.main()


def test_a_pool_that_is_left_out_leaves_no_patient_in_another(made: Path) -> None:
    store = FeatureStore(made / "work" / "store")
    known = {
        name: set(one.patients)
        for name, one in zip(
            pools.TRAINED_POOLS, pools.read_pools(store, ["Effusion"]), strict=True
        )
    }
    assert known["nih-64"] & known["nih-320"]
    left = pools.read_pools(store, ["Effusion"], without=["nih-320"])
    # Both tiny pools have the same patients, so that of the other nothing remains.
    assert [len(one.patients) for one in left] == [0, len(known["demo-trained"])]
    with pytest.raises(ConfigurationError, match="without nih-999"):
        pools.read_pools(store, ["Effusion"], without=["nih-999"])
    with pytest.raises(ConfigurationError, match="cannot train"):
        pools.read_pools(store, ["Effusion"], without=list(pools.TRAINED_POOLS))
