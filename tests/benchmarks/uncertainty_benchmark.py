"""Is an image unlike those seen? AUROC of the flag against pictures of other kinds.

    python tests/benchmarks/uncertainty_benchmark.py STORE [--splits 20]

STORE holds real radiographs (`--dataset`) and drawings of `retune-cli demo`
(`--drawings`), encoded by `--backbone`; `make mini-benchmark` makes such a store. For
each split of the patients `analytic` learns from training images, takes the limit from
validation images, and is asked about test images and others: drawings, noise, clouds of
noise, photographs (crops of those that come with scikit-image), the same radiographs
turned, upside down and inverted. It prints the AUROC of the distance, the share beyond
the limit, and the share of test images beyond it, beside what is expected; then the
calibration of probabilities and the coverage of answer sets on test patients.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import skimage.data
import torch
from PIL import Image
from results import Split, splits

from retune.pipeline.app.predicting.image_sources import find_images
from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.reopened import reopen_backbone
from retune.pipeline.encode.vector_stream import stream_vectors
from retune.pipeline.learn.methods.registry import method_named
from retune.pipeline.learn.problem.scenarios import plan_scenario
from retune.pipeline.learn.runs.learning_set import load_images, load_learning_set
from retune.pipeline.learn.runs.saved_model import predict
from retune.pipeline.learn.runs.selection import Selection
from retune.pipeline.learn.stats.conformal import conformal_rule
from retune.pipeline.learn.stats.metrics import (
    auroc,
    brier_score,
    calibration_error,
)
from retune.store import FeatureStore

Floats = npt.NDArray[np.float64]
_SIZE = 320
_COVERAGE = 0.9


def clouds(random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Noise whose spectrum falls as that of photographs does."""
    spectrum = np.fft.rfft2(random.standard_normal((_SIZE, _SIZE)))
    rows, columns = np.fft.fftfreq(_SIZE)[:, None], np.fft.rfftfreq(_SIZE)[None]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = 1
    image = np.fft.irfft2(spectrum / frequency**1.5, s=(_SIZE, _SIZE))
    image = (image - image.min()) / np.ptp(image)
    return (255 * image).astype(np.uint8)


def photographs(random: np.random.Generator) -> Iterator[Image.Image]:
    """Crops of the pictures that scikit-image brings along."""
    folder = Path(skimage.data.__file__).parent
    for path in sorted([*folder.glob("*.png"), *folder.glob("*.jpg")]):
        with Image.open(path) as opened:
            whole = opened.convert("L")
        for _ in range(12):
            side = int(min(whole.size) * random.uniform(0.5, 1))
            left = random.integers(0, whole.size[0] - side + 1)
            upper = random.integers(0, whole.size[1] - side + 1)
            box = (left, upper, left + side, upper + side)
            yield whole.crop(box).resize((_SIZE, _SIZE))


def turned(paths: list[Path]) -> dict[str, list[Image.Image]]:
    """Radiographs as no upright one looks."""
    plain = [Image.open(path).convert("L") for path in paths]
    return {
        "turned by 90°": [one.rotate(90) for one in plain],
        "turned by 180°": [one.rotate(180) for one in plain],
        "upside down": [
            one.transpose(Image.Transpose.FLIP_TOP_BOTTOM) for one in plain
        ],
        "inverted": [Image.eval(one, lambda value: 255 - value) for one in plain],
    }


def embed(backbone: Backbone, images: list[object]) -> npt.NDArray[np.float32]:
    """Their vectors, in order."""
    sources = find_images(images)  # type: ignore[arg-type]  # pictures and arrays

    def read(item: object) -> object:
        return sources.read(item, backbone.preprocess)  # type: ignore[arg-type]  # of these

    vectors = stream_vectors(backbone, sources, read)  # type: ignore[arg-type]  # as above
    return np.concatenate([batch.vectors for batch in vectors]).astype(np.float32)


def others(
    backbone: Backbone, paths: list[Path], drawings: npt.NDArray[np.float32]
) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors of pictures of other kinds, by name."""
    random = np.random.default_rng(0)
    noise = [
        random.integers(0, 256, (_SIZE, _SIZE), dtype=np.uint8) for _ in range(200)
    ]
    kinds: dict[str, list[object]] = {
        "noise": list(noise),
        "clouds of noise": [clouds(random) for _ in range(200)],
        "photographs": list(photographs(random)),
        **{name: list(pictures) for name, pictures in turned(paths).items()},
    }
    vectors_of = {name: embed(backbone, images) for name, images in kinds.items()}
    return {"drawings": drawings, **vectors_of}


def above(inside: Floats, outside: Floats) -> float:
    """How often an outside image is further away than an inside one."""
    scores = np.concatenate([inside, outside])[:, None]
    labels = np.repeat([0.0, 1.0], [len(inside), len(outside)])[:, None]
    return float(auroc(scores, labels, np.ones(labels.shape, dtype=bool))[0])


def measure(
    split: Split, kinds: dict[str, npt.NDArray[np.float32]], methods: tuple[str, ...]
) -> dict[str, Floats]:
    """Rows of figures of one split; probabilities by some methods."""
    rates: dict[str, Floats] = {}
    rows = split.features.rows("train")
    plan = plan_scenario(
        "joint", split.targets, split.features.patient, rows, split.features.findings
    )
    learner = method_named("analytic")(split.problem())
    learner.learn(plan.tasks[0])
    x = split.features.embedding
    test = predict(learner.model, x[split.test], detailed=True)
    assert test.distance is not None
    assert test.out_of_distribution is not None
    inside = test.distance.astype(np.float64)
    for name, vectors in kinds.items():
        outside = predict(learner.model, vectors, detailed=True)
        assert outside.distance is not None
        assert outside.out_of_distribution is not None
        rates[name] = np.array(
            [above(inside, outside.distance), outside.out_of_distribution.mean()]
        )
    rate = float(learner.model.state_dict()["alarm_rate"])
    rates["test images (expected)"] = np.array([rate, test.out_of_distribution.mean()])
    return rates | _probabilities(split, methods)


def _probabilities(split: Split, methods: tuple[str, ...]) -> dict[str, Floats]:
    """Calibration and coverage of methods on test patients."""
    rates: dict[str, Floats] = {}
    rows, counted = split.features.rows("train"), split.counted
    cells = np.ix_(split.test, counted)
    value, observed = split.targets.value[cells], split.targets.observed[cells]
    labels = np.isin(split.features.split.astype(str), ("train", "validation"))
    constant = split.targets.value[labels][:, counted].mean(axis=0)
    plain = np.broadcast_to(constant, value.shape)
    held = np.ix_(split.features.rows("validation"), counted)
    for name in methods:
        for scenario in ("joint", "label"):
            plan = plan_scenario(
                scenario, split.targets, split.features.patient, rows,
                split.features.findings, seed=split.seed,
            )  # fmt: skip
            learner = method_named(name)(split.problem())
            for task in plan.tasks:
                learner.learn(task)
            p = predict(learner.model, split.features.embedding).probability
            sets = conformal_rule(
                p[held], split.targets.value[held], split.targets.observed[held],
                _COVERAGE,
            )  # fmt: skip
            chance = np.random.default_rng(split.seed).random((50, *value.shape))
            drawn = [
                calibration_error(p[cells], one < p[cells], observed) for one in chance
            ]
            rates[f"{name}, {scenario}"] = np.array(
                [
                    np.nanmean(calibration_error(p[cells], value, observed)),
                    np.nanmean(drawn),
                    np.nanmean(brier_score(p[cells], value, observed)),
                    np.nanmean(brier_score(plain, value, observed)),
                    np.nanmean(sets.covered(p[cells], value, observed)),
                    np.nanmean(sets.single(p[cells], observed)),
                ]
            )
    return rates


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--dataset", default="nih-320")
    parser.add_argument("--drawings", default="demo")
    parser.add_argument("--backbone", default="local-dir:build/mini-benchmark/mini")
    parser.add_argument("--moved", help="where the backbone lies now")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--trained-splits", type=int, default=20, help="of finetune")
    parser.add_argument("--turned", type=int, default=300, help="radiographs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    store = FeatureStore(given.store)
    read = load_learning_set(
        store,
        Selection((given.dataset,), allow_contaminated=True),
        backbone=given.backbone,
    )
    drawn = load_images(
        store,
        Selection((given.drawings,), allow_contaminated=True),
        fingerprint=read.encoder.fingerprint,
    )
    rows = store.rows(
        """SELECT root, path FROM images JOIN datasets USING (dataset)
        WHERE dataset = ? ORDER BY image_id""",
        [given.dataset],
    )
    paths = [Path(root) / path for root, path in rows[: given.turned]]
    backbone = reopen_backbone(
        store,
        read.encoder.fingerprint,
        backbone=given.moved or given.backbone,
        device="cpu",
    )
    kinds = others(backbone, paths, drawn.features.embedding.astype(np.float32))
    table: dict[str, list[Floats]] = {}
    for split in splits(read.features, read.prompts, given.splits):
        trained = ("finetune",) if split.seed < given.trained_splits else ()
        for name, figures in measure(split, kinds, ("analytic", *trained)).items():
            table.setdefault(name, []).append(figures)
        sys.stderr.write(f"split {split.seed}\n")
    out = sys.stdout.write
    out(f"{'distance':<26} AUROC  beyond the limit\n")
    for name, figures in table.items():
        mean = np.mean(figures, axis=0)
        if len(mean) == 2:
            out(f"{name:<26} {mean[0]:.3f}  {mean[1]:.3f}\n")
    titles = ("ECE", "of chance", "Brier", "constant", "covered", "single")
    out(f"\n{'probabilities':<26} {'  '.join(titles)}\n")
    for name, figures in table.items():
        mean = np.mean(figures, axis=0)
        if len(mean) > 2:
            out(f"{name:<26} " + "  ".join(f"{one:.3f}" for one in mean) + "\n")


if __name__ == "__main__":
    main()
