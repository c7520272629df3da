"""`embed` against clip-retrieval 2.45.0, with the same model, images and cores.

clip-retrieval wants other versions of nearly everything, so it lives in an environment
of its own: `make bench-peers` makes it, or RETUNE_CLIP_RETRIEVAL names its Python.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import open_clip
import torch
from encode_benchmark import repeated
from measuring import Row

from retune.pipeline.datasets.ingest import IngestPlan
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.source import source_of
from retune.pipeline.encode.embed import EmbedOptions, embed_with
from retune.pipeline.platform.memory import keep_freed_memory
from retune.pipeline.platform.processor import let_threads_sleep, usable_cores
from retune.store import FeatureStore

_MODEL = "ViT-B-32"
_N_IMAGES = 240
_ENVIRONMENT = Path(__file__).resolve().parents[2] / "build" / "clip-retrieval"


def peer_rows(root: Path, repeats: int) -> list[Row]:
    """Rates in images/s, each without loading the model."""
    default = _ENVIRONMENT / "bin" / "python"
    python = Path(os.environ.get("RETUNE_CLIP_RETRIEVAL", default))
    if not python.exists():
        sys.stderr.write("clip-retrieval is not there: `make bench-peers`\n")
        return []
    let_threads_sleep()
    keep_freed_memory()
    weights = _random_weights(root)
    plan = repeated(root, "nih-320", 1, most=_N_IMAGES)
    pairs = [
        (_theirs(python, plan.root, root, weights), *_ours(plan, root, weights, repeat))
        for repeat in range(repeats)
    ]
    theirs = statistics.median(pair[0] for pair in pairs)
    rows = []
    for row, (name, goal) in enumerate((("float32", 1.0), ("our defaults", 2.0)), 1):
        ours = statistics.median(pair[row] for pair in pairs)
        ratio = statistics.median(pair[row] / pair[0] for pair in pairs)
        title = f"embed, {_MODEL}, {name}: clip-retrieval 2.45.0"
        rows.append(Row(title, ours, theirs, "images/s", ratio, goal))
    return rows


def _random_weights(root: Path) -> Path:
    """Only the arithmetic matters."""
    torch.manual_seed(0)
    path = root / "weights.pt"
    torch.save(open_clip.create_model(_MODEL).state_dict(), path)
    return path


def _theirs(python: Path, images: Path, root: Path, weights: Path) -> float:
    output = root / "clip-retrieval"
    output.mkdir(exist_ok=True)
    script = Path(__file__).with_name("clip_retrieval_peer.py")
    done = subprocess.run(
        [
            str(python), str(script), str(images), str(output),
            f"open_clip:{_MODEL}/{weights}", "64", str(usable_cores()),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return float(done.stdout.split("rate ")[1].split()[0])


def _ours(
    plan: IngestPlan, root: Path, weights: Path, repeat: int
) -> tuple[float, float]:
    rates = []
    for precision in ("float32", "auto"):
        source = source_of(
            f"{_MODEL}:{weights}", precision=precision, output_dtype="float16"
        )
        backbone = load_backbone(source, precision=precision, device="cpu")
        for turn in ("warm", "timed"):
            store = FeatureStore.create(root / f"peer-{precision}-{turn}-{repeat}")
            with store.writer("benchmark") as writer:
                writer.replace_dataset(
                    plan.images, plan.findings, plan.states, dataset=plan.dataset,
                    layout=plan.layout, root=plan.root, split_seed=0,
                )  # fmt: skip
            summary = embed_with(store, backbone, EmbedOptions(description_sets=()))
            assert summary.images_encoded == plan.images.num_rows
        rates.append(summary.images_encoded / summary.image_seconds)
    return rates[0], rates[1]
