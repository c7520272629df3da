"""The pools that mini learns from: their images' features, labels and splits.

They go through a feature store, as users' data do: labels and splits come from the
project's own readers, and the locked image tower's features are vectors of an encoder
of their own. So a second run of the recipe reads them instead of decoding again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from retune.store import EncoderSpec, FeatureStore, LabelledImages, read_labelled_images
from retune.store.errors import ConfigurationError
from retune.store.label_states import POSITIVE, UNCERTAIN, UNLABELLED

from ..datasets.ingest import read_dataset
from ..demo import write_demo
from ..encode.backbones.contract import Backbone, weights_digest
from ..encode.backbones.mini import build_mini
from ..encode.backbones.source import mini_files
from ..encode.embed import EmbedOptions, embed_with
from ..encode.images.preprocess import Preprocess
from ..platform.memory import keep_freed_memory
from ..progress import ProgressCallback, silent
from .training import Pool

__all__ = [
    "DEMO_EVALUATED",
    "NIH_POOLS",
    "TRAINED_POOLS",
    "TrainedPool",
    "image_tower",
    "ingest_pools",
    "read_pools",
]

NIH_POOLS = ("nih-320", "nih-64")
#: The demo that `make embed` draws. Training uses drawings of another seed.
DEMO_EVALUATED = "demo"
_DEMO_TRAINED = "demo-trained"
_DEMOS = {DEMO_EVALUATED: (600, 0), _DEMO_TRAINED: (3000, 1)}
#: Pool -> share of training steps.
TRAINED_POOLS = {"nih-320": 0.45, "nih-64": 0.15, _DEMO_TRAINED: 0.4}


@dataclass(frozen=True)
class TrainedPool:
    """A pool's training images, and the patients on them."""

    pool: Pool
    patients: tuple[str, ...]


class _ImageTower(torch.nn.Module):
    """The locked tower without a projection, spoken to like an open_clip model."""

    def __init__(self, trunk: torch.nn.Module) -> None:
        super().__init__()
        self.trunk = trunk

    def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.trunk(batch)
        return features


def image_tower() -> Backbone:
    """Mini's locked image tower as a backbone whose vectors are its features."""
    keep_freed_memory()
    config, image_weights, _ = mini_files()
    model, transform, _, described = build_mini(config, image_weights, None)
    tower = _ImageTower(model.visual.trunk).eval().requires_grad_(requires_grad=False)
    spec = EncoderSpec(
        backbone="mini's image tower",
        weights_digest=weights_digest(tower),
        model_config=dict(described["vision_cfg"]),
        preprocess={"steps": [repr(step) for step in transform.transforms]},
        tokenizer={},
        pooling="avg",
        precision="float32",
        output_dtype="float16",
        dim=int(model.visual.trunk.num_features),
    )
    tower.to(memory_format=torch.channels_last)
    preprocess = Preprocess.from_transform(transform)
    return Backbone(tower, preprocess, None, spec, torch.device("cpu"))


def ingest_pools(
    store: FeatureStore, radiographs: Path, drawings: Path, *, split_seed: int
) -> None:
    """Enter the real pools and the drawn ones into a store.

    Args:
        store: Where to.
        radiographs: Folder of the real pools, `NIH_POOLS` by name.
        drawings: Folder to draw the demo radiographs into.
        split_seed: Split seed of the patient hash.

    Raises:
        DatasetError: A pool is not there or not what it should be.
    """
    folders = {name: (radiographs / name, "nih") for name in NIH_POOLS}
    for name, (n_images, seed) in _DEMOS.items():
        write_demo(drawings / name, n_images, seed)
        folders[name] = (drawings / name, "chexpert")
    with store.writer("mini") as writer:
        for name, (folder, layout) in folders.items():
            plan = read_dataset(folder, layout, dataset=name, split_seed=split_seed)
            writer.replace_dataset(
                plan.images,
                plan.findings,
                plan.states,
                dataset=name,
                layout=plan.layout,
                root=plan.root,
                split_seed=split_seed,
                warnings=plan.warnings,
            )


def read_pools(
    store: FeatureStore,
    findings: Sequence[str],
    progress: ProgressCallback = silent,
    *,
    without: Sequence[str] = (),
) -> list[TrainedPool]:
    """Features and labels of the training patients of each pool.

    A patient's side is a hash of the patient's id alone, so a patient who is in two
    pools is on the same side in both.

    Args:
        store: After `ingest_pools`.
        findings: K canonical names; columns of the result.
        progress: Told how far encoding is.
        without: Pools to leave out, with all their patients wherever else they are:
            no image of theirs has then been trained on.

    Raises:
        ConfigurationError: A pool to leave out does not exist, or none is left.
    """
    unknown = sorted(set(without) - set(TRAINED_POOLS))
    kept = {name: one for name, one in TRAINED_POOLS.items() if name not in without}
    if unknown or not kept:
        raise ConfigurationError(
            f"cannot train without {', '.join(unknown or without)}",
            f"The pools are {', '.join(TRAINED_POOLS)}; at least one must stay.",
        )
    held_out = _patients_of(store, without)
    options = EmbedOptions(description_sets=(), datasets=tuple(kept))
    fingerprint = embed_with(store, image_tower(), options, progress).fingerprint
    pools = []
    for name, share in kept.items():
        images = read_labelled_images(store, fingerprint, datasets=[name])
        pools.append(_training_part(name, share, images, findings, held_out))
    return pools


def _patients_of(store: FeatureStore, datasets: Sequence[str]) -> set[str]:
    """All patients of some datasets, of whichever split."""
    patient_rows = store.rows("SELECT DISTINCT dataset, patient_id FROM images")
    return {patient for dataset, patient in patient_rows if dataset in datasets}


def _training_part(
    name: str,
    share: float,
    images: LabelledImages,
    findings: Sequence[str],
    held_out: Collection[str],
) -> TrainedPool:
    splits = np.array(images.images["split"].to_pylist())
    patients = np.array(images.images["patient_id"].to_pylist())
    free = ~np.isin(patients, sorted(held_out))
    rows = np.flatnonzero((splits == "train") & free)
    states = np.full((len(rows), len(findings)), UNLABELLED, dtype=np.int8)
    for column, finding in enumerate(findings):
        if finding in images.findings:
            states[:, column] = images.states[rows, images.findings.index(finding)]
    pool = Pool(
        name=name,
        features=images.embedding[rows].astype(np.float32),
        value=(states == POSITIVE).astype(np.float32),
        # What a report does not mention counts as absent, what is uncertain not at all.
        observed=(states != UNLABELLED) & (states != UNCERTAIN),
        share=share,
    )
    return TrainedPool(pool, tuple(sorted(set(patients[rows].tolist()))))
