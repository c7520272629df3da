"""Backbones of transformers and timm, from folders of the true architectures.

No published weights can be had in a test: these folders have the architectures of the
published models, small and with random weights.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.source import source_of
from retune.store.errors import BackboneError, ConfigurationError

_VISION = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
}  # fmt: skip
_TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "vocab_size": 300, "max_position_embeddings": 16,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "projection_size": 32,
}  # fmt: skip
#: Kind -> (configuration, image processor), as published models of it have them.
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "siglip": (  # MedSigLIP-448: squashed to a square, mean and deviation of 0.5
        {"model_type": "siglip", "vision_config": _VISION, "text_config": _TEXT},
        {
            "image_processor_type": "SiglipImageProcessor", "do_resize": True,
            "size": {"height": 32, "width": 32}, "resample": 2,
            "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        },
    ),
    "clip": (
        {
            "model_type": "clip", "projection_dim": 24,
            "vision_config": _VISION, "text_config": _TEXT,
        },
        {
            "image_processor_type": "CLIPImageProcessor", "do_resize": True,
            "size": {"shortest_edge": 32}, "resample": 3, "do_center_crop": True,
            "crop_size": {"height": 32, "width": 32}, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True, "do_convert_rgb": True,
            "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28],
        },
    ),
    "dinov2": (  # RAD-DINO: 518 pixels, grey mean and deviation
        {"model_type": "dinov2", "mlp_ratio": 2, **_VISION},
        {
            "image_processor_type": "BitImageProcessor", "do_resize": True,
            "size": {"shortest_edge": 32}, "resample": 3, "do_center_crop": True,
            "crop_size": {"height": 32, "width": 32}, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True,
            "image_mean": [0.53] * 3, "image_std": [0.25] * 3,
        },
    ),
    "vit": (
        {"model_type": "vit", **_VISION},
        {
            "image_processor_type": "ViTImageProcessor", "do_resize": True,
            "size": {"height": 32, "width": 32}, "resample": 2, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        },
    ),
    "convnext": (
        {
            "model_type": "convnext", "hidden_sizes": [8, 16], "depths": [1, 1],
            "num_stages": 2, "patch_size": 4, "image_size": 32,
        },
        {
            "image_processor_type": "ConvNextImageProcessor", "do_resize": True,
            "size": {"shortest_edge": 384}, "resample": 2, "do_rescale": True,
            "rescale_factor": 1 / 255, "do_normalize": True,
            "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        },
    ),
}  # fmt: skip


def write_model(folder: Path, family: str) -> Path:
    """A folder as `save_pretrained` makes it, with random weights."""
    import transformers

    config, processor = MODELS[family]
    torch.manual_seed(3)
    made = transformers.CONFIG_MAPPING[family].from_dict(config)
    model = transformers.AutoModel.from_config(made)
    with torch.no_grad():
        for parameter in model.parameters():  # some begin at zero
            parameter.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    if family in ("siglip", "clip"):
        words = ["<s>", "</s>", "[UNK]", "the", "heart", "is", "large", "lung"]
        content = {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "<s>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "</s>", "type_id": 0}},
                ],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {
                    name: {"id": name, "ids": [at], "tokens": [name]}
                    for at, name in enumerate(words[:2])
                },
            },
            "model": {
                "type": "WordLevel",
                "vocab": {word: at for at, word in enumerate(words)},
                "unk_token": "[UNK]",
            },
        }
        (folder / "tokenizer.json").write_text(json.dumps(content))
        told = {
            "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "</s>",
            "eos_token": "</s>", "bos_token": "<s>", "unk_token": "[UNK]",
        }  # fmt: skip
        (folder / "tokenizer_config.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {family: write_model(root / family, family) for family in MODELS}


def load(name: str, **options: Any) -> Backbone:
    source = source_of(name, precision="float32", output_dtype="float32", **options)
    return load_backbone(
        source, precision="float32", output_dtype="float32", device="cpu"
    )


def picture(width: int = 50, height: int = 40) -> Image.Image:
    shades = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    return Image.fromarray(shades)


@pytest.mark.parametrize("family", MODELS)
def test_pixels_are_those_of_the_models_own_processor(
    folders: dict[str, Path], family: str
) -> None:
    import transformers

    backbone = load(f"hf:{folders[family]}")
    processor = transformers.AutoImageProcessor.from_pretrained(folders[family])
    theirs = processor(picture().convert("RGB"), return_tensors="pt")["pixel_values"]
    pixels = backbone.preprocess.to_pixels(picture())
    ours = backbone.preprocess.normalise(pixels[np.newaxis], torch.device("cpu"))
    assert pixels.dtype == np.uint8
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", MODELS)
def test_vectors_are_those_of_the_model(folders: dict[str, Path], family: str) -> None:
    import transformers

    backbone = load(f"hf:{folders[family]}")
    model = transformers.AutoModel.from_pretrained(folders[family]).eval()
    pixels = backbone.preprocess.to_pixels(picture())[np.newaxis]
    batch = backbone.preprocess.normalise(pixels, torch.device("cpu"))
    with torch.inference_mode():
        if family in ("siglip", "clip"):
            output = model.get_image_features(pixel_values=batch)
            theirs = (
                output if isinstance(output, torch.Tensor) else output.pooler_output
            )
        else:
            theirs = model(pixel_values=batch).pooler_output.flatten(1)
    ours = backbone.encode_images(pixels)
    assert ours.shape == (1, backbone.spec.dim)
    assert np.allclose(ours, theirs.numpy(), atol=1e-5)
    assert backbone.spec.image_only == (family not in ("siglip", "clip"))


@pytest.mark.parametrize("family", ["siglip", "clip"])
def test_sentences_are_encoded_where_there_is_a_text_tower(
    folders: dict[str, Path], family: str
) -> None:
    backbone = load(f"hf:{folders[family]}")
    vectors = backbone.encode_texts(["the heart is large", "the lung"])
    assert vectors.shape == (2, backbone.spec.dim)
    alone = backbone.encode_texts(["the lung"])
    assert np.allclose(vectors[1], alone[0], atol=1e-5)
    assert not np.allclose(vectors[0], vectors[1])


def test_images_before_the_projection_have_no_sentences(
    folders: dict[str, Path],
) -> None:
    backbone = load(f"hf:{folders['clip']}", layer="pooled")
    assert (backbone.spec.dim, backbone.spec.image_only) == (32, True)
    with pytest.raises(BackboneError, match="knows images only"):
        backbone.encode_texts(["the lung"])
    assert backbone.spec.fingerprint != load(f"hf:{folders['clip']}").spec.fingerprint


def test_poolings_differ_and_are_part_of_the_fingerprint(
    folders: dict[str, Path],
) -> None:
    name = f"hf:{folders['dinov2']}"
    pixels = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    made = {way: load(name, pooling=way) for way in ("cls", "mean", "pooler")}
    vectors = {way: one.encode_images(pixels) for way, one in made.items()}
    assert len({one.spec.fingerprint for one in made.values()}) == 3
    assert not np.allclose(vectors["cls"], vectors["mean"])
    assert np.allclose(vectors["pooler"], load(name).encode_images(pixels))
    with pytest.raises(BackboneError, match="no class token"):
        load(f"hf:{folders['convnext']}", pooling="cls")


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config.json", {"auto_map": {"AutoModel": "evil.Model"}}, "key 'auto_map'"),
        ("config.json", {"model_type": "evil"}, "no model of type 'evil'"),
        ("config.json", {"hidden_size": 100_000}, "describes at least"),
        ("config.json", {"attn_implementation": "org/k"}, "not allowed"),
        ("config.json", {"a b": 1}, "not allowed"),
        ("config.json", {"vocab_file": "/etc/passwd"}, "not allowed"),
        ("preprocessor_config.json", {"auto_map": {}}, "auto_map"),
        ("preprocessor_config.json", {"size": {"height": 10**6}}, "whole number"),
        ("preprocessor_config.json", {"image_std": [0, 0, 0]}, "no three numbers"),
        ("preprocessor_config.json", {"rescale_factor": 0.5}, "does not scale"),
    ],
)
def test_hostile_folders_are_refused(
    folders: dict[str, Path],
    tmp_path: Path,
    file: str,
    changes: dict[str, Any],
    message: str,
) -> None:
    for path in folders["vit"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = json.loads((tmp_path / file).read_text()) | changes
    (tmp_path / file).write_text(json.dumps(content))
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    with pytest.raises(BackboneError, match=message):
        load(f"hf:{tmp_path}")


def test_pickled_weights_are_refused_unless_allowed(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    for path in folders["vit"].glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folders["vit"] / "model.safetensors")
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    with pytest.raises(BackboneError, match="is a pickled file") as caught:
        load(f"hf:{tmp_path}")
    assert "weights_only=True" in caught.value.hint
    allowed = load(f"hf:{tmp_path}", allow_pickle=True)
    assert allowed.spec.fingerprint == load(f"hf:{folders['vit']}").spec.fingerprint


def test_weights_that_lack_tensors_are_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    for path in folders["vit"].glob("*.json"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(folders["vit"] / "model.safetensors")
    kept = {
        n: t
        for n, t in tensors.items()
        if ".layer.1." not in n and "layers.1." not in n
    }
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"lack \d+ tensors"):
        load(f"hf:{tmp_path}")


def test_timm_gives_image_towers(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("resnet10t", num_classes=5)
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    backbone = load(f"timm:resnet10t:{tmp_path / 'a.safetensors'}")
    assert (backbone.spec.dim, backbone.spec.image_only) == (512, True)
    pixels = backbone.preprocess.to_pixels(picture())[np.newaxis]
    batch = backbone.preprocess.normalise(pixels, torch.device("cpu"))
    with torch.inference_mode():
        theirs = model.eval().forward_features(batch).mean(dim=(2, 3)).numpy()
    assert np.allclose(backbone.encode_images(pixels), theirs, atol=1e-4)
    torch.save({}, tmp_path / "a.pt")
    with pytest.raises(BackboneError, match="is a pickled file"):
        load(f"timm:resnet10t:{tmp_path / 'a.pt'}")
    save_file({"conv1.0.weight": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(BackboneError, match="does not fit"):
        load(f"timm:resnet10t:{tmp_path / 'b.safetensors'}")


def test_timms_imagenet_tower_needs_no_download() -> None:
    backbone = load("timm:tf_efficientnet_lite0")
    assert (backbone.spec.dim, backbone.spec.image_only) == (1280, True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mini", {"pooling": "mean"}, "for models of transformers"),
        ("mini", {"layer": "pooled"}, "no layer before"),
        ("mini", {"layer": "last"}, "unknown `layer` last"),
        ("mini", {"pooling": "max"}, "unknown `pooling` max"),
    ],
)
def test_what_has_no_effect_is_refused(
    name: str, options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        source_of(name, precision="float32", output_dtype="float16", **options)


def test_unknown_models_of_timm_are_named() -> None:
    with pytest.raises(BackboneError, match="timm has no model 'nobody'"):
        load("timm:nobody")
