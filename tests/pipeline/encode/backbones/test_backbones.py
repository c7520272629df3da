"""Backbones load offline, keep their own preprocessing, and are told apart."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from image_samples import TINY_CONFIG, write_tiny_backbone
from PIL import Image

from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.source import source_of
from retune.pipeline.encode.images.decode import decode_image
from retune.pipeline.encode.images.preprocess import Preprocess
from retune.store.errors import BackboneError, ConfigurationError


def _source(name: str, **changes: str) -> Any:
    return source_of(
        name, **{"precision": "float32", "output_dtype": "float16"} | changes
    )


def _load(name: str, **options: str) -> Backbone:
    chosen = {"precision": "float32", "device": "cpu"} | options
    return load_backbone(_source(name), **chosen)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_backbone(tmp_path_factory.mktemp("backbones") / "tiny")


@pytest.fixture(scope="module")
def mini() -> Backbone:
    return _load("mini")


@pytest.fixture(params=["mini", "tiny"])
def backbone(request: pytest.FixtureRequest, mini: Backbone, tiny: str) -> Backbone:
    return mini if request.param == "mini" else _load(tiny)


def _picture(seed: int = 0, mode: str = "L") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (300, 280), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_contract_shapes_types_and_finiteness(backbone: Backbone) -> None:
    pixels = np.stack([backbone.preprocess.to_pixels(_picture(i)) for i in range(3)])
    images = backbone.encode_images(pixels)
    texts = backbone.encode_texts(["Large left pleural effusion.", "Clear lungs."])
    assert images.shape == (3, backbone.spec.dim)
    assert texts.shape == (2, backbone.spec.dim)
    assert images.dtype == texts.dtype == np.float32
    assert np.isfinite(images).all()
    assert np.isfinite(texts).all()


def test_contract_a_batch_gives_what_its_images_give_alone(backbone: Backbone) -> None:
    pixels = np.stack([backbone.preprocess.to_pixels(_picture(i)) for i in range(4)])
    together = backbone.encode_images(pixels)
    alone = np.concatenate([backbone.encode_images(one[None]) for one in pixels])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)


def test_contract_any_sentence_can_be_encoded(backbone: Backbone) -> None:
    texts = ["", "word " * 500, "häufig 肺 🩻", "a\nb"]
    assert np.isfinite(backbone.encode_texts(texts)).all()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_preprocessing_is_exactly_open_clips(tiny: str, mode: str) -> None:
    backbone = _load(tiny)
    _, transform = open_clip.create_model_from_pretrained(tiny)
    image = _picture(mode=mode)
    ours = backbone.preprocess.normalise(
        backbone.preprocess.to_pixels(image)[None], torch.device("cpu")
    )
    assert torch.equal(ours[0], transform(image))


def test_a_local_folder_keeps_its_own_preprocessing(tiny: str) -> None:
    preprocess = _load(tiny).preprocess
    assert preprocess.mean.flatten().tolist() == pytest.approx([0.4] * 3)
    assert preprocess.to_pixels(_picture()).shape == (32, 32, 3)


def test_mini_is_the_same_every_time(mini: Backbone) -> None:
    assert _load("mini").spec == mini.spec


def test_mini_tells_sentences_apart(mini: Backbone) -> None:
    vectors = mini.encode_texts(["The heart is enlarged.", "No pleural effusion."])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert float(unit[0] @ unit[1]) < 0.99


def test_a_renamed_folder_is_the_same_encoder(tmp_path: Path, tiny: str) -> None:
    again = write_tiny_backbone(tmp_path / "elsewhere")
    assert _source(again).digest == _source(tiny).digest
    assert _load(again).spec.fingerprint == _load(tiny).spec.fingerprint


def test_other_weights_are_another_encoder(tmp_path: Path, tiny: str) -> None:
    other = write_tiny_backbone(tmp_path / "other", seed=1)
    assert _source(other).digest != _source(tiny).digest
    assert _load(other).spec.fingerprint != _load(tiny).spec.fingerprint


def test_precision_and_type_are_part_of_the_source(tiny: str) -> None:
    digests = {
        _source(tiny).digest,
        _source(tiny, precision="bfloat16").digest,
        _source(tiny, output_dtype="float32").digest,
    }
    assert len(digests) == 3


def test_lower_precision_stays_close(tiny: str) -> None:
    full, half = _load(tiny), _load(tiny, precision="bfloat16")
    pixels = np.stack([full.preprocess.to_pixels(_picture(i)) for i in range(4)])
    one, other = full.encode_images(pixels), half.encode_images(pixels)
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1)
    assert (cosine / np.linalg.norm(other, axis=1) > 0.99).all()
    assert full.spec.fingerprint != half.spec.fingerprint


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("nonsense", ConfigurationError, "unknown backbone 'nonsense'"),
        ("local-dir:/nowhere/at/all", BackboneError, "no folder /nowhere/at/all"),
        ("NoSuchModel:openai", BackboneError, "no model 'NoSuchModel'"),
    ],
)
def test_wrong_names(name: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        _load(name)


def test_a_missing_hub_names_the_offline_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise RuntimeError("Failed initial config/weights load from HF Hub")

    monkeypatch.setattr(open_clip, "create_model_from_pretrained", unreachable)
    with pytest.raises(
        BackboneError, match="cannot load the backbone 'biomedclip'"
    ) as e:
        _load("biomedclip")
    assert "local-dir:PATH" in e.value.hint
    assert "mini" in e.value.hint


def test_a_folder_without_weights_or_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    with pytest.raises(BackboneError, match=r"no open_clip_config\.json"):
        _load(f"local-dir:{folder}")
    (folder / "open_clip_config.json").write_text("{}")
    with pytest.raises(BackboneError, match="not usable"):
        _load(f"local-dir:{folder}")
    (folder / "open_clip_config.json").write_text(json.dumps(TINY_CONFIG))
    with pytest.raises(BackboneError, match="weights"):
        _load(f"local-dir:{folder}")


def test_damaged_weights(tmp_path: Path) -> None:
    name = write_tiny_backbone(tmp_path / "b")
    (tmp_path / "b" / "open_clip_model.safetensors").write_bytes(b"garbage")
    with pytest.raises(BackboneError, match="cannot load"):
        _load(name)


def test_an_unknown_device_or_precision(tiny: str) -> None:
    with pytest.raises(ConfigurationError, match="device 'abacus'"):
        load_backbone(_source(tiny), device="abacus")
    with pytest.raises(ConfigurationError, match="precision 'int4'"):
        _load(tiny, precision="int4")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="no device 'cuda'"):
            load_backbone(_source(tiny), device="cuda")


@pytest.mark.parametrize("output_dtype", ["float16", "float32"])
def test_narrowing_gives_the_numbers_that_numpy_gives(
    tiny: str, output_dtype: str
) -> None:
    source = _source(tiny, output_dtype=output_dtype)
    backbone = load_backbone(
        source, precision="float32", output_dtype=output_dtype, device="cpu"
    )
    random = np.random.default_rng(0)
    scales = 10.0 ** random.integers(-9, 6, (50, 1))
    vectors = (random.standard_normal((50, 16)) * scales).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = vectors.astype(output_dtype)
    np.testing.assert_array_equal(backbone.narrow(vectors), expected)


def test_decoding_at_a_smaller_scale_is_another_encoder(tiny: str) -> None:
    full, scaled = (
        load_backbone(_source(tiny, decode=decode), precision="float32", device="cpu")
        for decode in ("full", "scaled")
    )
    assert "decode" not in full.spec.preprocess  # as before there was a choice
    assert scaled.spec.preprocess == {**full.spec.preprocess, "decode": "scaled"}
    assert scaled.spec.fingerprint != full.spec.fingerprint
    assert _source(tiny, decode="scaled").digest != _source(tiny).digest
    assert full.preprocess.decode_at_least == 0
    assert scaled.preprocess.decode_at_least == 64


def test_preprocessing_that_does_not_resize_cannot_decode_at_a_smaller_scale() -> None:
    class MaybeToTensor: ...

    class Normalize:
        mean = std = (0.5, 0.5, 0.5)

    class Crop: ...

    transform = SimpleNamespace(transforms=[Crop(), MaybeToTensor(), Normalize()])
    assert Preprocess.from_transform(transform).decode_at_least == 0
    with pytest.raises(BackboneError, match="does not begin by resizing") as caught:
        Preprocess.from_transform(transform, scaled=True)
    assert "`decode` full" in caught.value.hint


@pytest.mark.real
def test_large_radiographs_decoded_at_a_smaller_scale_agree(real_data: Path) -> None:
    """CheXpert's originals are JPEG files of 2,300×2,800 pixels."""
    whole, scaled = (
        load_backbone(_source("mini", decode=decode), precision="float32", device="cpu")
        for decode in ("full", "scaled")
    )
    cosines = []
    for path in sorted((real_data / "nih-1024" / "images").glob("*.png"))[:8]:
        buffer = io.BytesIO()
        with Image.open(path) as image:
            image.convert("L").resize((2300, 2800)).save(buffer, "JPEG", quality=90)
        one, other = (
            backbone.encode_images(
                backbone.preprocess.to_pixels(
                    decode_image(buffer.getvalue(), backbone.preprocess.decode_at_least)
                )[None]
            )[0]
            for backbone in (whole, scaled)
        )
        norms = np.linalg.norm(one) * np.linalg.norm(other)
        cosines.append(float(one @ other / norms))
    assert np.mean(cosines) > 0.99
    assert min(cosines) > 0.98
