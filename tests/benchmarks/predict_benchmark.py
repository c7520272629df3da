"""`predict`: its start against the bare imports, its rate against that of `embed`."""

import subprocess
import sys
import time
from pathlib import Path

from encode_benchmark import radiographs
from measuring import Row, in_turns

from retune.cli.main import run_arguments
from retune.pipeline.app.predicting.image_sources import find_images
from retune.pipeline.app.predicting.model import RunModel
from retune.pipeline.datasets.ingest import IngestPlan, read_dataset
from retune.pipeline.encode.embed import EmbedOptions, embed_with
from retune.store import FeatureStore

_COMMAND = "from retune.cli.main import main; main()"
_IMPORTS = "import torch, open_clip"
_N_IMAGES = 200
#: One image takes at most 1.6 times as long as the imports.
_START_GOAL, _RATE_GOAL = 1 / 1.6, 0.8


def predict_rows(root: Path, repeats: int) -> list[Row]:
    """One image as a whole process, and many at the rate of `embed`."""
    plan = _pictures(root)
    store = root / "predict-store"
    for command in (
        ("ingest", plan.root, "--layout", "table", "--follow-links"),
        ("embed",),
        ("train", "--scenario", "joint", "--method", "analytic"),
    ):
        assert (
            run_arguments([*map(str, command), "--store", str(store), "--quiet"]) == 0
        )
    first = Path(plan.root, plan.images["path"][0].as_py())
    one, bare, ratio = in_turns(
        lambda: _run("predict", "latest", first, "--store", store),
        lambda: subprocess.run([sys.executable, "-c", _IMPORTS], check=True),
        repeats,
    )
    start = Row(
        "predict one image, process: import torch, open_clip",
        one, bare, "s", ratio, _START_GOAL,
    )  # fmt: skip
    return [start, _rate_row(root, store, plan, repeats)]


def _rate_row(root: Path, store: Path, plan: IngestPlan, repeats: int) -> Row:
    model = RunModel.open(FeatureStore(store), "latest", device="cpu")
    rates = []
    for repeat in range(repeats):
        started = time.perf_counter()
        predictions = list(model.stream(find_images([plan.root])))
        ours = sum(map(len, predictions)) / (time.perf_counter() - started)
        fresh = FeatureStore.create(root / f"predict-peer-{repeat}")
        with fresh.writer("benchmark") as writer:
            writer.replace_dataset(
                plan.images, plan.findings, plan.states, dataset=plan.dataset,
                layout=plan.layout, root=plan.root, split_seed=0,
            )  # fmt: skip
        summary = embed_with(fresh, model.backbone, EmbedOptions(description_sets=()))
        theirs = summary.images_encoded / summary.image_seconds
        rates.append((ours / theirs, ours, theirs))
    ratio, ours, theirs = sorted(rates)[len(rates) // 2]
    title = f"predict a folder of {len(plan.images)}: embed"
    return Row(title, ours, theirs, "images/s", ratio, _RATE_GOAL)


def _pictures(root: Path) -> IngestPlan:
    """Links to radiographs with a label table."""
    images = find_images([radiographs(root, "nih-320")])[:_N_IMAGES]
    folder = root / "predict-images"
    folder.mkdir()
    lines = ["path,patient_id,Edema"]
    for index, item in enumerate(images):
        name = f"{index:03d}{Path(item.path).suffix}"
        (folder / name).symlink_to(item.path)
        lines.append(f"{name},{index},{index // 2 % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return read_dataset(folder, "table", dataset="links", follow_links=True)


def _run(*arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-c", _COMMAND, *map(str, arguments), "--quiet"],
        check=True, capture_output=True,
    )  # fmt: skip
