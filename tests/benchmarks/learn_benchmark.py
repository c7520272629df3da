"""Training at full scale against the matrix products, and against other ways.

Labels are CheXpert's own train table (223,414 images), from the development-only
package torchxrayvision. Embeddings are simulated: each finding moves the embedding of
its positive images along a direction of its own, in a narrow cone, seeded.
"""

import ctypes
import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
from measuring import Row
from torch import Tensor, nn

from retune.pipeline.learn.curves.curve import (
    LOGISTIC_REGRESSION,
    ZERO_SHOT,
    CurveConfig,
    measure_curve,
)
from retune.pipeline.learn.methods.analytic.method import Analytic
from retune.pipeline.learn.problem.config import preset
from retune.pipeline.learn.problem.contract import Problem
from retune.pipeline.learn.problem.features import Features, Prompts
from retune.pipeline.learn.problem.scenarios import plan_scenario
from retune.pipeline.learn.problem.targets import make_targets
from retune.pipeline.learn.runs.experiment import ExperimentConfig, run_experiment
from retune.pipeline.learn.stats.evaluation import EvaluatedRows
from retune.pipeline.learn.stats.incremental import summary_intervals
from retune.pipeline.learn.training.trainer import Trainer, build_model
from retune.pipeline.platform.memory import keep_freed_memory
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN

FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion",
)  # fmt: skip
_PROMPTS, _BATCH = 5, 6144
#: Images of the benchmarks at full scale; None: all that the table has.
N_IMAGES: int | None = None
#: Images of the run against a DataLoader, which takes minutes for all of them.
_LOADED = 20_000
#: Images on which two precisions are compared.
_COMPARED = 60_000


def simulate(
    dim: int,
    n_images: int | None = None,
    findings: tuple[str, ...] = FINDINGS,
) -> tuple[Features, Prompts]:
    """CheXpert's train labels with label-conditioned embeddings, float16."""
    package = importlib.util.find_spec("torchxrayvision")
    assert package is not None
    assert package.origin is not None

    path = Path(package.origin).parent / "data/chexpert_train.csv.gz"
    table = pd.read_csv(path, nrows=n_images or N_IMAGES)
    values = table[list(findings)].to_numpy(dtype=np.float64)
    states = np.select(
        [values == 1, values == 0, values == -1],
        [POSITIVE, NEGATIVE, UNCERTAIN],
        ABSENT,
    ).astype(np.int8)
    patients = table["Path"].str.extract(r"(patient\d+)")[0].to_numpy(dtype=object)
    random = np.random.default_rng(0)
    directions = random.standard_normal((len(findings), dim)) / np.sqrt(dim)
    cone = 3 * random.standard_normal(dim)
    x = np.empty((len(table), dim), dtype=np.float16)
    for start in range(0, len(x), 16_384):
        rows = slice(start, start + 16_384)
        noise = random.standard_normal((len(x[rows]), dim), dtype=np.float32)
        moved = (states[rows] == POSITIVE) @ directions * 4
        x[rows] = (cone + noise + moved).astype(np.float16)
    _, number = np.unique(patients.astype(str), return_inverse=True)
    of_patient = np.random.default_rng(1).random(number.max() + 1)[number]
    split = np.where(of_patient < 0.11, "test", "train").astype(object)
    split[(of_patient >= 0.11) & (of_patient < 0.16)] = "validation"
    near = [
        directions + 0.05 * random.standard_normal(directions.shape)
        for _ in range(_PROMPTS)
    ]
    prompts = np.concatenate(near + [-directions] * _PROMPTS)
    image_id = np.arange(len(x)).astype(str).astype(object)
    return (
        Features(image_id, patients, split, x, findings, states),
        Prompts(
            prompts.astype(np.float32),
            np.tile(np.arange(len(findings)), 2 * _PROMPTS),
            np.repeat([True, False], len(findings) * _PROMPTS),
        ),
    )


#: All that CheXpert labels.
_ALL_FINDINGS = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion",
    "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax",
    "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices", "No Finding",
)  # fmt: skip


def curve_rows() -> list[Row]:
    """Six points, five seeds, 14 findings, of three methods: 60 s in all."""
    features, prompts = simulate(512, findings=_ALL_FINDINGS)
    rows, total = [], 0.0
    for method in (ZERO_SHOT, "analytic", LOGISTIC_REGRESSION):
        config = CurveConfig(methods=(method,))
        taken = _seconds(partial(measure_curve, features, prompts, config))
        total += taken
        name = f"curve of {len(features.image_id):,} x 512, 14 findings: {method}"
        rows.append(Row(name, taken, 60, "s", 60 / taken))
    return [*rows, Row("curve, all three: 60 s", total, 60, "s", 60 / total, 1.0)]


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _row(
    name: str, pairs: list[tuple[float, float]], goal: float | None, unit: str = "s"
) -> Row:
    """Median of pairs timed in turns, as ours, peer and peer/ours."""
    ratios = [theirs / ours for ours, theirs in pairs]
    ours, theirs = np.median(np.array(pairs), axis=0)
    return Row(name, float(ours), float(theirs), unit, float(np.median(ratios)), goal)


@dataclass(frozen=True)
class _Epoch:
    """One pass of the reference preset over n rows, each with one observed finding."""

    trainer: Trainer
    rows: Tensor
    mask: Tensor

    def run(self) -> None:
        self.trainer._pass_over(self.rows, self.mask)


def _epoch(
    features: Features, prompts: Prompts, precision: str, shuffle: str = "rows"
) -> _Epoch:
    config = preset("reference", precision=precision, shuffle=shuffle)
    targets = make_targets(features.states)
    model = build_model(config, prompts, len(FINDINGS), features.embedding.shape[1])
    problem = Problem(features, prompts, targets, config, torch.device("cpu"))
    rows = torch.arange(len(features.image_id))
    mask = torch.zeros((len(rows), len(FINDINGS)), dtype=torch.bool)
    mask[torch.arange(len(rows)), torch.arange(len(rows)) % len(FINDINGS)] = True
    return _Epoch(Trainer(model, problem), rows, mask)


def _products(dim: int, n_rows: int, precision: str) -> Callable[[], None]:
    """Nothing but the matrix products that an epoch cannot do without."""
    dtype = getattr(torch, precision)
    x, h, o = (torch.randn(_BATCH, width).to(dtype) for width in (dim, 2 * dim, dim))
    w1, w2 = torch.randn(2 * dim, dim).to(dtype), torch.randn(dim, 2 * dim).to(dtype)
    text, slope = torch.randn(5, dim).to(dtype), torch.randn(_BATCH, 5).to(dtype)

    def run() -> None:
        for _ in range(round(n_rows / _BATCH)):
            x @ w1.T, h @ w2.T, o.T @ h, o @ w2, h.T @ x
            o @ text.T, slope.T @ o, slope @ text

    return run


def epoch_rows(
    repeats: int, precisions: tuple[str, ...] = ("bfloat16", "float32")
) -> list[Row]:
    """An epoch of `label` with the reference preset against its matrix products."""
    rows = []
    for dim, goal in ((512, 0.85), (128, 0.5)):
        features, prompts = simulate(dim)
        for precision in precisions:
            epoch = _epoch(features, prompts, precision)
            products = _products(dim, len(epoch.rows), precision)
            _products(dim, 4 * _BATCH, precision)()
            pairs = [(_seconds(epoch.run), _seconds(products)) for _ in range(repeats)]
            name = f"epoch of {len(epoch.rows):,} x {dim} {precision}: matrix products"
            rows.append(_row(name, pairs, goal))
    return rows


def stream_rows(root: Path, repeats: int) -> list[Row]:
    """Vectors in a file against vectors in memory: an epoch, and all of `analytic`."""
    features, prompts = simulate(512)
    shape = features.embedding.shape
    stored = np.memmap(root / "vectors", features.embedding.dtype, "w+", shape=shape)
    stored[:] = features.embedding
    streamed = replace(features, embedding=stored)
    epochs = [
        _epoch(one, prompts, "bfloat16", shuffle=shuffle)
        for one, shuffle in ((streamed, "blocks"), (features, "rows"))
    ]
    pairs = [tuple(_seconds(one.run) for one in epochs) for _ in range(repeats)]
    config = ExperimentConfig("label", method="analytic", with_bounds=False)
    whole = [
        tuple(
            _seconds(partial(run_experiment, one, prompts, config))
            for one in (streamed, features)
        )
        for _ in range(repeats)
    ]
    return [
        _row("epoch, vectors in a file: in memory", pairs, 0.7),  # type: ignore[arg-type]  # pairs
        _row("analytic, vectors in a file: in memory", whole, 0.7),  # type: ignore[arg-type]  # pairs
    ]


def evaluation_row(repeats: int) -> Row:
    """R with DeLong: 5 tasks and zero-shot, 14 findings, 25,000 test images."""
    random = np.random.default_rng(0)
    shape = (25_000, 14)
    value = (random.random(shape) < 0.1).astype(np.float32)
    images = EvaluatedRows(
        np.arange(len(value)),
        value,
        np.ones(shape, dtype=bool),
        random.integers(0, 20_000, len(value)),
    )
    tables = [random.standard_normal(shape, dtype=np.float32) for _ in range(6)]

    def evaluate() -> None:
        tasks = [images.influence(one) for one in tables]
        summary_intervals(tasks, np.arange(14) % 5 + 1)

    taken = float(np.median([_seconds(evaluate) for _ in range(repeats)]))
    name = "R with DeLong, 5 tasks x 14 findings x 25,000 images: 1 s"
    return Row(name, taken, 1.0, "s", 1 / taken, 1.0)


def precision_row(dim: int = 128) -> Row:
    """Validation AUROC of bfloat16 beside float32, after `label` with the preset."""
    from retune.pipeline.learn.methods.registry import method_named
    from retune.pipeline.learn.problem.scenarios import plan_scenario
    from retune.pipeline.learn.runs.saved_model import predict
    from retune.pipeline.learn.stats.metrics import auroc

    features, prompts = simulate(dim, _COMPARED)
    targets = make_targets(features.states)
    held = features.rows("validation")
    plan = plan_scenario(
        "label", targets, features.patient_id, features.rows("train"), FINDINGS
    )
    means = []
    for precision in ("bfloat16", "float32"):
        config = preset("reference", precision=precision, learning_rate=1e-3)
        problem = Problem(features, prompts, targets, config, torch.device("cpu"))
        method = method_named("finetune")(problem)
        for task in plan.tasks:
            method.learn(task)
        scores = predict(method.model, features.embedding[held]).difference
        values = auroc(scores, targets.value[held], targets.observed[held])
        means.append(float(values.mean()))
    ours, theirs = means
    name = "validation AUROC, bfloat16: float32"
    return Row(name, ours, theirs, "", ours / theirs, 0.998)


def analytic_rows(repeats: int) -> list[Row]:
    """Five tasks of `label`, against the Gram matrices alone.

    Once what the method does (sums, weights, calibration, its state), and once the run:
    with predictions and figures after each task, intervals and a bootstrap.
    """
    rows = []
    for dim, goal in ((512, 1 / 3), (128, 1 / 4)):
        features, prompts = simulate(dim)
        config = ExperimentConfig("label", method="analytic", with_bounds=False)
        whole = partial(run_experiment, features, prompts, config)
        grams = partial(_grams, features)
        method = partial(_learn_alone, features, prompts, config)
        for name, call in (("learning of 5 tasks", method), ("run of 5 tasks", whole)):
            pairs = [(_seconds(call), _seconds(grams)) for _ in range(repeats)]
            rows.append(_row(f"analytic, {name}, D={dim}: Gram matrices", pairs, goal))
        short = replace(config, method="finetune", train=preset("reference", epochs=1))
        for name, call in (
            ("analytic", whole),
            ("finetune", partial(run_experiment, features, prompts, short)),
        ):
            grown = _megabytes_beside(call)
            title = f"{name}, 5 tasks, D={dim}: memory beyond the features"
            rows.append(Row(title, grown, 500, "MB", 500 / grown, 1.0))
    return rows


def _learn_alone(
    features: Features, prompts: Prompts, config: ExperimentConfig
) -> None:
    """The method's part of a run, from images to the state that is stored."""
    targets = make_targets(features.states)
    train = features.rows("train")
    plan = plan_scenario(
        config.scenario, targets, features.patient, train, features.findings
    )
    device = torch.device("cpu")
    method = Analytic(Problem(features, prompts, targets, config.train, device))
    for task in plan.tasks:
        method.learn(task)
    method.state()


def _grams(features: Features) -> None:
    """The products alone, in the precision of the method."""
    train = features.rows("train")
    total = np.zeros((features.embedding.shape[1],) * 2)
    for start in range(0, len(train), 8192):
        x = features.embedding[train[start : start + 8192]].astype(np.float64)
        total += x.T @ x


def _megabytes_beside(call: Callable[[], object]) -> float:
    """By how much the peak of resident memory exceeds what is resident before."""

    def read(name: str) -> float:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        (line,) = [line for line in lines if line.startswith(f"{name}:")]
        return float(line.split()[1]) / 1024

    ctypes.CDLL(None).malloc_trim(0)  # what was freed before is not to be had again
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak
    before = read("VmRSS")
    call()
    return max(1.0, read("VmHWM") - before)


class _TextEncoder(nn.Module):
    """Twelve layers as wide as BERT's, from token numbers to one vector."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True)
        self.embed = nn.Embedding(30_522, 768)
        self.layers = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)
        self.out = nn.Linear(768, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.out(self.layers(self.embed(tokens))[:, 0])
        return output


def reference_step_row(repeats: int) -> Row:
    """A step of ours against one that encodes the texts of each class and polarity."""
    features, prompts = simulate(128, 4 * _BATCH)
    epoch = _epoch(features, prompts, "float32")
    rows, mask = epoch.rows[:_BATCH], epoch.mask[:_BATCH]
    encoder = _TextEncoder(128).eval()
    image, text = (nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 128))
                   for _ in range(2))  # fmt: skip
    optimiser = torch.optim.Adam([*image.parameters(), *text.parameters()], lr=1e-4)
    tokens = torch.randint(0, 30_522, (_PROMPTS, 64))
    x = torch.from_numpy(features.embedding[:_BATCH]).float()
    target = (torch.rand(_BATCH, len(FINDINGS)) < 0.3).float()

    def twin() -> None:
        adapted = nn.functional.normalize(image(x), dim=-1)
        columns = []
        for _ in FINDINGS:
            sides = []
            for _ in range(2):
                with torch.no_grad():
                    encoded = encoder(tokens)
                mean = text(encoded).mean(dim=0)
                sides.append(adapted @ nn.functional.normalize(mean, dim=-1))
            columns.append(sides[0] - sides[1])
        loss = nn.functional.binary_cross_entropy_with_logits(
            torch.stack(columns, dim=1), target
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def ours() -> None:
        epoch.trainer._pass_over(rows, mask)

    ours(), twin()
    pairs = [(_seconds(ours), _seconds(twin)) for _ in range(repeats)]
    return _row("step with cached texts: texts encoded in every step", pairs, 100)


class _Hdf5Images(torch.utils.data.Dataset[tuple[Tensor, Tensor, Tensor]]):
    """What one writes first: a row of an HDF5 file at a time."""

    def __init__(self, path: Path, rows: np.ndarray) -> None:
        self._file, self._rows = h5py.File(path), rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        row = self._rows[index]
        return tuple(  # type: ignore[return-value]  # three of them
            torch.from_numpy(np.asarray(self._file[name][row], dtype=np.float32))
            for name in ("x", "y", "m")
        )


def loader_row(root: Path, n_images: int) -> Row:
    """A whole `data` run of ours against the plain Dataset and DataLoader loop."""
    features, prompts = simulate(128, n_images)
    targets = make_targets(features.states)
    config = preset("reference", epochs=2)
    train = features.rows("train")
    with h5py.File(root / "plain.h5", "w") as file:
        file["x"], file["y"] = features.embedding, targets.value
        file["m"] = targets.observed.astype(np.uint8)

    def plain() -> None:
        model = build_model(config, prompts, len(FINDINGS), 128)
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
        for part in np.array_split(train, 5):
            loader = torch.utils.data.DataLoader(
                _Hdf5Images(root / "plain.h5", part), batch_size=_BATCH, shuffle=True
            )
            for _ in range(config.epochs):
                for x, y, m in loader:
                    cells = nn.functional.binary_cross_entropy_with_logits(
                        model.logits(x), y, reduction="none"
                    )
                    optimiser.zero_grad()
                    ((cells * m).sum() / m.sum()).backward()
                    optimiser.step()

    ours = ExperimentConfig("data", train=config, with_bounds=False)
    whole = partial(run_experiment, features, prompts, ours)
    name = f"whole data run of {n_images:,}: HDF5 Dataset and DataLoader"
    return _row(name, [(_seconds(whole), _seconds(plain))], 5)


def learn_rows(root: Path, repeats: int) -> list[Row]:
    """All of the above; memory is kept, as a run keeps it, for ours and peers alike."""
    keep_freed_memory()
    return [
        *epoch_rows(repeats),
        *stream_rows(root, repeats),
        precision_row(),
        evaluation_row(repeats),
        *analytic_rows(repeats),
        reference_step_row((repeats + 1) // 2),
        loader_row(root, _LOADED),
    ]
