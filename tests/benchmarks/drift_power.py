"""How often `drift` alarms where nothing changed, and from which change on it does.

    python tests/benchmarks/drift_power.py ../shared/data [REPEATS]

Prints the tables of docs/drift.md. Exposure is changed by a power of grey values: the
film of another device, or of another setting of it.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from retune.pipeline.app.measuring.drift import DriftRequest, drift
from retune.pipeline.learn.drift.report import GroupImages, compare_groups
from retune.store import FeatureStore, choose_encoder, read_labelled_images

_STRENGTHS = (1.05, 1.1, 1.2, 1.4)
_SIZES = (10, 20, 40, 80)
_REFERENCE = 200


def _command(*arguments: object) -> None:
    subprocess.run(["retune-cli", *map(str, arguments), "--quiet"], check=True)


def changed_copy(source: Path, target: Path, strength: float) -> None:
    """A copy of a dataset whose grey values are raised to a power."""
    (target / "images").mkdir(parents=True)
    for path in source.glob("*.csv"):
        shutil.copy(path, target / path.name)
    for path in (source / "images").iterdir():
        grey = np.asarray(Image.open(path).convert("L"), dtype=np.float64) / 255
        darker = np.round(255 * grey**strength).astype(np.uint8)
        Image.fromarray(darker).save(target / "images" / path.name)


def read(
    store: FeatureStore, dataset: str
) -> tuple[npt.NDArray[np.float64], list[str]]:
    """Embeddings of length 1, and patients."""
    fingerprint = choose_encoder(store).fingerprint
    images = read_labelled_images(store, fingerprint, datasets=[dataset])
    x = images.embedding.astype(np.float64)
    normalise(x)
    return x, images.images["patient_id"].to_pylist()


def normalise(x: npt.NDArray[np.float64]) -> None:
    """Make each row's length 1, in place."""
    x /= np.linalg.norm(x, axis=1, keepdims=True)


def share_of_alarms(
    plain: tuple[npt.NDArray[np.float64], list[str]],
    changed: tuple[npt.NDArray[np.float64], list[str]],
    n_patients: int,
    repeats: int,
) -> float:
    """How often a group of so many patients is called changed."""
    patients = np.array(sorted(set(plain[1])), dtype=object)
    alarms = 0
    for repeat in range(repeats):
        random = np.random.default_rng(repeat)
        order = random.permutation(patients)
        group = set(order[:n_patients].tolist())
        others = set(order[n_patients : n_patients + _REFERENCE].tolist())
        parts = [
            (x[rows], [who[k] for k in rows], np.full(len(rows), side))
            for (x, who), wanted, side in (
                (changed, group, True),
                (plain, others, False),
            )
            for rows in [[k for k, one in enumerate(who) if one in wanted]]
        ]
        images = GroupImages(
            np.concatenate([part[0] for part in parts]),
            np.array([one for part in parts for one in part[1]], dtype=object),
            {},
        )
        side = np.concatenate([part[2] for part in parts])
        rows, _ = compare_groups(images, ~side, {"g": side}, seed=repeat)
        alarms += any(row.p_corrected < 0.05 for row in rows)
    return alarms / repeats


def main() -> None:
    """Print the tables."""
    data = Path(sys.argv[1])
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store_options = ("--store", root / "store")
        sources = {"plain": data / "nih-320", "nih-64": data / "nih-64"}
        for strength in _STRENGTHS:
            sources[f"{strength}"] = root / f"{strength}"
            changed_copy(sources["plain"], sources[f"{strength}"], strength)
        for name, source in sources.items():
            _command(
                "ingest", source, "--layout", "nih", "--dataset", name, *store_options
            )
        _command("demo", root / "drawings")
        _command(
            "ingest", root / "drawings", "--layout", "chexpert", "--dataset",
            "drawings", *store_options,
        )  # fmt: skip
        _command("embed", "--backbone", "mini", *store_options)
        store = FeatureStore(root / "store")
        plain = read(store, "plain")
        print("| exposure (power of grey values) | " + " | ".join(
            f"{size} patients" for size in _SIZES) + " |")  # fmt: skip
        print("|---" * (1 + len(_SIZES)) + "|")
        for name in ("plain", *map(str, _STRENGTHS)):
            changed = read(store, name)
            cells = [
                f"{share_of_alarms(plain, changed, size, repeats):.2f}"
                for size in _SIZES
            ]
            shown = "1 (no change)" if name == "plain" else name
            print(f"| {shown} | " + " | ".join(cells) + " |", flush=True)
        print()
        for other in ("nih-64", "drawings"):
            summary = drift(
                store,
                DriftRequest("dataset", "dataset = 'plain'", datasets=("plain", other)),
            )
            for row in summary.rows:
                if row.metric == "c2st_auroc":
                    print(
                        f"nih-320 against {other}: AUROC {row.value:.3f} "
                        f"({row.low:.3f} to {row.high:.3f}), corrected p "
                        f"{row.p_corrected:.4f}"
                    )


if __name__ == "__main__":
    main()
