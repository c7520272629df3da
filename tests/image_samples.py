"""Small label tables with small images, and a small local backbone."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = "path,patient_id,view,Edema,Mass"


def write_images(
    folder: Path, names: Sequence[str], seed: int = 0, size: int = 40
) -> None:
    """Random grey PNG files, each different."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = random.integers(0, 256, (size, size), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)


def write_table(folder: Path, names: Sequence[str]) -> None:
    """A label table for these images: two per patient, labels in a pattern."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{name},{index // 2},PA,{index % 2},{(index // 2) % 2}"
        for index, name in enumerate(names)
    ]
    (folder / "labels.csv").write_text("\n".join([COLUMNS, *lines]) + "\n")


def write_dataset(folder: Path, n_images: int, seed: int = 0) -> list[str]:
    """A dataset in the layout `table`; gives the file names."""
    names = [f"{index:03d}.png" for index in range(n_images)]
    write_images(folder, names, seed)
    write_table(folder, names)
    return names


TINY_CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {
            "image_size": 32, "patch_size": 16, "width": 32, "layers": 1,
            "head_width": 16,
        },
        "text_cfg": {
            "context_length": 24, "vocab_size": 49408, "width": 32, "heads": 2,
            "layers": 1,
        },
    },
    "preprocess_cfg": {
        "mean": [0.4, 0.4, 0.4], "std": [0.3, 0.3, 0.3],
        "interpolation": "bicubic", "resize_mode": "shortest",
    },
}  # fmt: skip


def write_tiny_backbone(folder: Path, seed: int = 0) -> str:
    """A folder as open_clip publishes it, with random weights; gives its name."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(TINY_CONFIG))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.CLIP(**TINY_CONFIG["model_cfg"])  # type: ignore[arg-type]
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"
