"""What a GPU is worth: forward passes against its peak, `embed` against its limits.

Prints a table, with the card's name. On a processor (``--device cpu``, few images) it
only shows that the benchmark runs.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from samples import load, shades, write_vit

from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.encode.backbones.compilation import compile_images
from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.embed import EmbedOptions, embed_with
from retune.pipeline.encode.images.decode import decode_image
from retune.pipeline.encode.images.fast.kernels import load_kernels
from retune.pipeline.platform.processor import usable_cores
from retune.store import FeatureStore

#: Multiplications and additions of a ViT-B/16 for one image of 224 pixels.
_FLOPS = 35.1e9
_GOAL_FORWARD, _GOAL_EMBED = 0.6, 0.9
#: Dense bfloat16 of cards, from their data sheets, by a part of their name.
_PEAKS = {
    "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12,
    "L40S": 362e12, "L4": 121e12, "RTX 4090": 165e12, "A10": 125e12,
}  # fmt: skip


def main() -> int:
    """Measure and print; 0 also where a goal is missed, which is said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=400.0, help="end before that")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    on_card = arguments.device != "cpu"
    card = torch.cuda.get_device_name() if on_card else "no card"
    print(f"{card}, {usable_cores()} cores, torch {torch.__version__}")
    load_kernels()
    with tempfile.TemporaryDirectory() as folder:
        vit = write_vit(Path(folder) / "vit", arguments.device)
        precision = "bfloat16" if on_card else "float32"
        backbone = load(vit, arguments.device, precision)
        sizes = [32, 64, 128, 256, 512] if on_card else [2, 4]
        rate, best = forward_table(backbone, sizes, card)
        compiled = compile_images(load(vit, arguments.device, precision), best)
        faster, _ = forward_table(compiled, [best], card, "compiled")
        for compiling, chosen, limit in (
            (False, backbone, rate), (True, compiled, faster),
        ):  # fmt: skip
            for file_format in ("PNG", "JPEG") if not compiling else ("PNG",):
                left = deadline - time.monotonic()
                if left < 30 and on_card:
                    print(f"... {file_format}: no time is left")
                    continue
                name = f"{file_format}{', compiled' if compiling else ''}"
                target_folder = Path(folder) / name.replace(", ", "-")
                n_images = arguments.images // (1 if file_format == "PNG" else 2)
                small = not on_card
                seconds = left / 3
                embed_row(
                    chosen,
                    target_folder,
                    file_format,
                    n_images,
                    limit,
                    best,
                    small,
                    seconds,
                )
    return 0


def forward_table(
    backbone: Backbone, sizes: list[int], card: str, name: str = "plain"
) -> tuple[float, int]:
    """Rates of forward passes alone; gives the best and its batch size."""
    side = 224 if backbone.spec.dim == 512 else 32
    peak = next((value for key, value in _PEAKS.items() if key in card), None)
    measured = matrix_rate(backbone.device)
    rates = {}
    for size in sizes:
        staged = backbone.preprocess.normalise(shades(size, side), backbone.device)

        def forward(staged: torch.Tensor = staged) -> None:
            with torch.inference_mode(), backbone._arithmetic():
                backbone.model.encode_image(staged)

        rates[size] = size / seconds_of(forward, backbone.device)
        flops = rates[size] * _FLOPS if side == 224 else 0.0
        told = f"{flops / measured:.2f} of large matrix products here"
        if peak:
            told += f", {flops / peak:.2f} of the card's peak (goal {_GOAL_FORWARD})"
        print(f"forward, {name}, batch {size:4}: {rates[size]:9.0f} images/s, {told}")
    best = max(rates, key=lambda one: rates[one])
    return rates[best], best


def matrix_rate(device: torch.device) -> float:
    """FLOP/s of a large product in bfloat16 on this device."""
    size = 8192 if device.type != "cpu" else 256
    a = torch.ones(size, size, dtype=torch.bfloat16, device=device)
    return 2 * size**3 / seconds_of(lambda: a @ a, device)


def seconds_of(action: Callable[[], object], device: torch.device) -> float:
    """Of one call, after a warm-up."""
    times = 20 if device.type != "cpu" else 2
    for _ in range(2):
        action()
    _wait(device)
    started = time.perf_counter()
    for _ in range(times):
        action()
    _wait(device)
    return (time.perf_counter() - started) / times


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.cuda.synchronize(device)


def contents(file_format: str, small: bool) -> list[bytes]:
    """A few files; others are made of them by what follows a picture's end."""
    files_made = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        size = (
            (96, 96)
            if small
            else (1024, 1024)
            if file_format == "PNG"
            else (2300, 2800)
        )
        grey = Image.fromarray(shades(1, 128, seed)[0, :, :, 0]).resize(size)
        noise = random.normal(0, 3, (size[1], size[0]))
        picture = (np.asarray(grey) + noise).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        options = {} if file_format == "PNG" else {"quality": 90}
        Image.fromarray(picture).save(file, file_format, **options)
        files_made.append(file.getvalue())
    return files_made


def write_files(folder: Path, file_format: str, n_images: int, small: bool) -> None:
    """Files of different content, and a label table."""
    folder.mkdir(parents=True)
    originals, ending = contents(file_format, small), file_format.lower()

    def write(n: int) -> None:
        content = originals[n % len(originals)] + n.to_bytes(4, "big")
        (folder / f"{n}.{ending}").write_bytes(content)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(write, range(n_images)))
    lines = [f"{n}.{ending},{n},1" for n in range(n_images)]
    (folder / "labels.csv").write_text("\n".join(["path,patient_id,Edema", *lines]))


def decode_rate(backbone: Backbone, files: list[Path], seconds: float) -> float:
    """Images/s of all cores that only read, decode and resize."""
    ended = time.monotonic() + seconds

    def decode(paths: Iterator[Path]) -> int:
        done = 0
        for path in paths:
            if time.monotonic() > ended:
                break
            backbone.preprocess.to_pixels(decode_image(path.read_bytes()))
            done += 1
        return done

    workers = usable_cores()
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        parts = [iter(files[start::workers]) for start in range(workers)]
        done = sum(pool.map(decode, parts))
    return done / (time.perf_counter() - started)


def embed_row(
    backbone: Backbone,
    folder: Path,
    file_format: str,
    n_images: int,
    forward: float,
    batch_size: int,
    small: bool,
    seconds: float,
) -> None:
    """`embed` of many files against the lower of its two limits."""
    write_files(folder / "data", file_format, min(n_images, 64), small)
    some = sorted((folder / "data").glob(f"*.{file_format.lower()}"))
    decode = decode_rate(backbone, some * 50, 0.2 if small else 5.0)
    limit = min(decode, forward)
    # As many as the time allows: files have to be written, too.
    n_images = max(64, min(n_images, int(limit * seconds / 2)))
    write_files(folder / "all", file_format, n_images, small)
    store = FeatureStore.create(folder / "store")
    plan = read_dataset(folder / "all", "table", dataset="generated")
    with store.writer("benchmark") as writer:
        writer.replace_dataset(
            plan.images, plan.findings, plan.states, dataset="generated",
            layout=plan.layout, root=plan.root, split_seed=0,
        )  # fmt: skip
    options = EmbedOptions(description_sets=(), batch_size=batch_size)
    summary = embed_with(store, backbone, options)
    rate = summary.images_encoded / summary.image_seconds
    print(
        f"embed {n_images} {folder.name}: {rate:.0f} images/s; cores decode "
        f"{decode:.0f}, the card encodes {forward:.0f}: {rate / limit:.2f} of the "
        f"limit (goal {_GOAL_EMBED})"
    )


if __name__ == "__main__":
    sys.exit(main())
