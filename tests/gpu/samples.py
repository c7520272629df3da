"""What the checks on a GPU encode, and with what."""

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

# As pytest's `pythonpath`, for the benchmark; first the face, because tests has a
# folder retune, too.
import retune  # noqa: F401

sys.path.append(str(Path(__file__).resolve().parents[1]))

from image_samples import TINY_CONFIG, write_tiny_backbone

from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.source import source_of
from retune.store import FeatureStore

VIT_CONFIG = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
        "text_cfg": {
            "context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": TINY_CONFIG["preprocess_cfg"],
}  # fmt: skip


def write_vit(folder: Path, device: str) -> str:
    """A ViT-B/16 with random weights and a small text tower; on a processor a tiny one.

    Returns:
        Its name.
    """
    if device == "cpu":
        return write_tiny_backbone(folder)
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(VIT_CONFIG))
    torch.manual_seed(0)
    model = open_clip.CLIP(**VIT_CONFIG["model_cfg"])  # type: ignore[arg-type]
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def load(name: str, device: str, precision: str = "float32") -> Backbone:
    """A backbone on a device, with vectors in float32."""
    source = source_of(name, precision=precision, output_dtype="float32")
    return load_backbone(
        source, precision=precision, output_dtype="float32", device=device
    )


def shades(n_images: int, side: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Soft random pictures, shape (n, side, side, 3)."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (n_images, 9, 9), dtype=np.uint8)
    size = (side, side)
    grey = [
        Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one in coarse
    ]
    return np.stack([np.asarray(one.convert("RGB")) for one in grey])


def cosines(
    one: npt.NDArray[np.floating], other: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Of each row with the same row of the other, shape (n,)."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    similarities: npt.NDArray[np.float64] = (a * b).sum(axis=1) / norms
    return similarities


def vectors_in(store: FeatureStore) -> npt.NDArray[np.float32]:
    """Image vectors of a store with one encoder, in the order of image ids."""
    rows = store.sql(
        "SELECT embedding FROM image_features ORDER BY image_id"
    ).fetchall()
    return np.array([row[0] for row in rows], np.float32)
