"""Runs as a report has them, made up: one small, and many that differ in everything."""

import hashlib
import io

import numpy as np
from PIL import Image

from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.runs.record import ExperimentConfig, RunRecord
from retune.pipeline.learn.runs.selection import Provenance, Selection, SplitImages
from retune.pipeline.report.charts.reliability import reliability_bins
from retune.pipeline.report.efficiency import ReportedCurve
from retune.pipeline.report.page import ExampleImage, PageExtras, Reliability
from retune.pipeline.report.records import Figure, ReportedRun

CHEXPERT = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion",
    "Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax",
    "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices", "Hernia",
)  # fmt: skip
#: What a folder, a label table or a colleague may call something.
HOSTILE = (
    "<script>alert(1)</script>", "\"><img src=x onerror='alert(2)'>",
    "quo\"tes' & more", "{{ 7*7 }}",
    "line\nbreak", "\x1b[31mred\x1b[0m", "\u202eright-to-left שלום مرحبا",
    "Pneumonoultramicroscopicsilicovolcanoconiosis" * 3, "胸水と肺炎の所見",
)  # fmt: skip


def sample_run(
    number: int,
    findings: tuple[str, ...] = CHEXPERT,
    *,
    scenario: str = "label",
    method: str = "finetune",
    preset: str = "default",
    seed: int = 0,
    split_seed: int | None = None,
    where: str | None = None,
    datasets: tuple[str, ...] = ("nih",),
    n_test: int = 400,
    backbone: str = "mini",
    epochs: int = 50,
    spread: float = 0.0,
) -> ReportedRun:
    """A run with all figures of a real one; the same number gives the same figures."""
    rng = np.random.default_rng(number)
    tasks = {"label": len(findings), "class": len(findings), "data": 10, "joint": 1}
    n_tasks = tasks.get(scenario, 0)
    base = np.random.default_rng(len(findings)).uniform(0.45, 0.8, len(findings))
    joint = np.clip(base + 0.15, 0, 0.99)
    cells: dict[tuple[int, str, str, str], Figure] = {}

    def enter(task: int, finding: str, metric: str, value: float, half: float) -> None:
        ends = max(0.0, value - half), min(1.0, value + half)
        key = (task, "test", finding, metric)
        cells[key] = Figure(value, *ends) if half else Figure(value)

    each = scenario in ("label", "class")
    area = base.copy()
    for task in range(n_tasks + 1):
        if task:
            area = np.clip(area + rng.normal(0.01 + spread, 0.02, len(area)), 0, 0.99)
        for index, name in enumerate(findings):
            enter(task, name, "auroc", float(area[index]), 0.08)
    for index, name in enumerate(findings):
        enter(n_tasks, name, "task_introduced", index + 1.0 if each else 1.0, 0)
        enter(n_tasks, name, "n_positive", float(rng.integers(3, 90)), 0)
        enter(n_tasks, name, "n_observed", float(n_test), 0)
        enter(n_tasks, name, "auroc_joint", float(joint[index]), 0.06)
        for metric in (
            "average_precision", "f1", "sensitivity_at_90_specificity", "brier",
            "calibration_error", "auroc_positive",
        ):  # fmt: skip
            enter(n_tasks, name, metric, float(rng.uniform(0, 1)), 0)
    for metric, value in (
        ("final_auroc", area.mean()), ("final_auroc_all", area.mean()),
        ("zero_shot_auroc", base.mean()), ("forgetting", rng.normal(0.02, 0.02)),
        ("backward_transfer", rng.normal(0, 0.02)), ("sequence_gap", 0.03),
        ("joint_gap", joint.mean() - area.mean()), ("macro_auroc", area.mean()),
        ("macro_auroc_joint", joint.mean()),
        ("macro_auroc_joint_observed", joint.mean() - 0.02),
        ("macro_auroc_logistic_regression", joint.mean() - 0.01),
    ):  # fmt: skip
        enter(n_tasks, "", metric, float(value), 0.04)
    for group in ("sex=F", "sex=M", "age=20-39", "age=80+", "view=AP"):
        cells[n_tasks, f"test/{group}", "", "macro_auroc"] = Figure(0.7, 0.6, 0.8)
        cells[n_tasks, f"test/{group}", "", "n_images"] = Figure(80)
    config = ExperimentConfig(
        scenario, TrainConfig(seed=seed, epochs=epochs), preset, method
    )
    selection = Selection(datasets, where, split_seed)
    key = repr((datasets, where, split_seed, n_test)).encode()
    split = SplitImages(n_test, hashlib.blake2b(key, digest_size=8).hexdigest())
    introduced = np.arange(1, len(findings) + 1) if each else np.ones(len(findings))
    return ReportedRun(
        f"20261126-1200{number:02d}-abcdef", "feature-store", backbone,
        f"finger-{backbone}", scenario, method, 2.5,
        RunRecord(config, Provenance(selection, splits={"test": split})),
        findings, introduced.astype(np.int64), n_tasks, cells,
    )  # fmt: skip


def varied_runs() -> list[ReportedRun]:
    """22 runs: methods, scenarios, seeds, findings, images, encoders, hostile names."""
    run = sample_run
    return [
        *(run(seed, method="analytic", seed=seed, spread=0.01) for seed in range(3)),
        *(run(3 + seed, seed=seed) for seed in range(3)),
        *(
            run(6 + seed, method=method)
            for seed, method in enumerate(("replay", "lwf", "ewc", "mask"))
        ),
        run(10, preset="reference", epochs=10, spread=-0.02),
        run(11, scenario="class", method="analytic"),
        run(12, scenario="data", method="analytic"),
        run(13, scenario="joint"),
        run(14, scenario="zero-shot"),
        *(run(15 + seed, split_seed=seed) for seed in range(3)),
        run(18, CHEXPERT[:4]),
        run(19, where="age < 3 AND '<script>' <> ''", n_test=57, method="ewc"),
        run(20, backbone="hf-hub:someone/a-backbone-with-a-rather-long-name"),
        run(
            21, HOSTILE, datasets=HOSTILE[:6],
            method="a-method-of-a-plugin-whose-name-nobody-wanted-to-shorten",
        ),
    ]  # fmt: skip


def sample_extras(runs: list[ReportedRun]) -> PageExtras:
    """Reliability of all runs, and images of the first."""
    rng = np.random.default_rng(0)
    reliability, images = {}, {}
    for run in runs:
        probability = rng.uniform(0, 1, (len(run.findings), 200))
        bins = {
            name: reliability_bins(one, rng.uniform(0, 1, 200) < one**1.5)
            for name, one in zip(run.findings, probability, strict=True)
        }
        reliability[run.store, run.run_id] = Reliability(bins, "labels <b>changed</b>")
        images[run.store, run.run_id] = [
            ExampleImage(f"{name}: labelled positive", _film(column))
            for column, name in enumerate(run.findings)
        ]
    points = [(8, Figure(0.6, 0.5, 0.7)), (64, Figure(0.7, 0.65, 0.75))]
    points.append((1024, Figure(0.8, 0.78, 0.82)))
    lines = {
        "zero-shot": [(0, Figure(0.62, 0.6, 0.64))],
        "analytic": points,
        "finetune": [(n, Figure(one.value - 0.03)) for n, one in points],
        "logistic-regression": [(n, Figure(one.value - 0.01)) for n, one in points],
        HOSTILE[0]: points[:1],
    }
    curve = ReportedCurve("20261126-curve", f"mini {HOSTILE[1]}", "seeds=5", lines)
    return PageExtras(reliability, images, [curve])


def _film(number: int) -> bytes:
    rng = np.random.default_rng(number)
    pixels = np.linspace(20, 200, 64)[:, None] + rng.normal(0, 9, (64, 64))
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()
