"""The shipped mini: what its files are, what its words mean, what damage does."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from retune.pipeline.descriptions import load_descriptions
from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.mini import (
    UNKNOWN_TOKEN,
    build_mini,
    save_trained,
)
from retune.pipeline.encode.backbones.source import mini_files, source_of
from retune.pipeline.findings import FINDINGS
from retune.store.errors import BackboneError

_PARAPHRASES = yaml.safe_load(
    Path(__file__).with_name("paraphrases.yaml").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def mini() -> Backbone:
    source = source_of("mini", precision="float32", output_dtype="float16")
    return load_backbone(source, precision="float32", device="cpu")


def _unit(vectors: np.ndarray) -> np.ndarray:
    normalised: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return normalised


@pytest.fixture(scope="module")
def statements(mini: Backbone) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each finding's denials and of its assertions; both (20, 128)."""
    shipped = load_descriptions("default", FINDINGS)
    negative, positive = (
        np.stack(
            [
                mini.encode_texts(
                    [d.text for d in shipped if (d.finding, d.polarity) == (name, pole)]
                ).mean(axis=0)
                for name in FINDINGS
            ]
        )
        for pole in ("negative", "positive")
    )
    return _unit(negative), _unit(positive)


def test_the_weights_are_small_and_come_with_a_card_and_their_patients() -> None:
    trained = mini_files()[2]
    assert trained.stat().st_size <= 4_000_000
    folder = files("retune.pipeline.encode.backbones")
    card = folder.joinpath("mini-card.md").read_text(encoding="utf-8")
    for words in ("not a medical device", "NIH Clinical Center", "CVPR 2017", "seed"):
        assert words in card
    patients = folder.joinpath("mini-patients.txt").read_text(encoding="utf-8")
    assert len(patients.splitlines()) > 400


def test_assertions_are_closer_to_each_other_than_to_denials(mini: Backbone) -> None:
    shipped = load_descriptions("default", FINDINGS)
    for name in FINDINGS:
        positive, negative = (
            _unit(
                mini.encode_texts(
                    [d.text for d in shipped if (d.finding, d.polarity) == (name, pole)]
                )
            )
            for pole in ("positive", "negative")
        )
        pairs = (positive @ positive.T)[np.triu_indices(len(positive), 1)]
        assert pairs.mean() > (positive @ negative.T).mean() + 0.2, name


def test_paraphrases_never_trained_on_pick_their_finding(
    mini: Backbone, statements: tuple[np.ndarray, np.ndarray]
) -> None:
    negative, positive = statements
    n_right = n_asked = n_denials_right = n_denials = 0
    for finding, said in _PARAPHRASES.items():
        column = FINDINGS.index(finding)
        vectors = _unit(mini.encode_texts(said["positive"]))
        n_right += int(((vectors @ positive.T).argmax(axis=1) == column).sum())
        n_asked += len(vectors)
        denied = _unit(mini.encode_texts(said["negative"]))
        closer = denied @ negative[column] > denied @ positive[column]
        n_denials_right += int(closer.sum())
        n_denials += len(denied)
    assert n_asked >= 60
    assert n_right / n_asked >= 0.8
    assert n_denials_right / n_denials >= 0.8


@pytest.mark.parametrize(
    ("said", "finding"),
    [
        ("fluid in the pleural space", "Pleural Effusion"),
        ("enlarged heart", "Cardiomegaly"),
        ("Cardiomegaly", "Cardiomegaly"),
        ("broken rib", "Fracture"),
    ],
)
def test_synonyms_are_near_their_finding(
    mini: Backbone,
    statements: tuple[np.ndarray, np.ndarray],
    said: str,
    finding: str,
) -> None:
    negative, positive = statements
    vector, denial = _unit(mini.encode_texts([said, f"No {said}."]))
    assert FINDINGS[int((positive @ vector).argmax())] == finding
    column = FINDINGS.index(finding)
    assert vector @ positive[column] > max(vector @ negative[column], vector @ denial)
    assert denial @ negative[column] > denial @ positive[column]


def test_words_never_seen_share_a_vector_and_do_not_dominate(mini: Backbone) -> None:
    strange = ["zyzzyva", "qwghlm", "高血圧", "🫁", "x" * 400, ""]
    vectors = mini.encode_texts(strange)
    assert np.isfinite(vectors).all()
    known, mixed, opposite = _unit(
        mini.encode_texts(
            [
                "There is a pleural effusion.",
                "There is a zyzzyva pleural effusion.",
                "There is no pleural effusion.",
            ]
        )
    )
    assert known @ mixed > 0.7
    assert known @ mixed > known @ opposite
    words = mini.model.text.token_embedding.weight
    saved = load_file(mini_files()[2])
    unseen = torch.ones(len(words), dtype=torch.bool)
    unseen[saved["token_ids"].long()] = False
    assert unseen.sum() > 40_000
    assert (words[unseen] == words[UNKNOWN_TOKEN]).all()


def test_saving_and_loading_gives_the_same_vectors(
    mini: Backbone, tmp_path: Path
) -> None:
    config, image_weights, trained = mini_files()
    ids = load_file(trained)["token_ids"].long()
    save_trained(mini.model, ids, tmp_path / "again.safetensors")
    model, _, tokenizer, _ = build_mini(
        config, image_weights, tmp_path / "again.safetensors"
    )
    tokens = tokenizer(["A small nodule.", "no zyzzyva"])
    with torch.inference_mode():
        again = model.eval().encode_text(tokens).numpy()
    np.testing.assert_allclose(
        again,
        mini.encode_texts(["A small nodule.", "no zyzzyva"]),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize("damage", ["gone", "cut", "noise", "lacking", "shape"])
def test_damaged_weights_give_a_named_error(tmp_path: Path, damage: str) -> None:
    config, image_weights, trained = mini_files()
    path = tmp_path / "mini.safetensors"
    content = trained.read_bytes()
    tensors = load_file(trained)
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "noise":
        path.write_bytes(b"not weights at all")
    elif damage == "lacking":
        del tensors["text.text_projection"]
        save_file(tensors, path)
    elif damage == "shape":
        tensors["text.text_projection"] = tensors["text.text_projection"][:5].clone()
        save_file(tensors, path)
    with pytest.raises(BackboneError, match=r"mini") as caught:
        build_mini(config, image_weights, path)
    assert "make mini" in caught.value.hint
