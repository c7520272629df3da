"""Label tables of full size into a new store, against the seconds that users expect."""

import gzip
import importlib.util
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from measuring import Row, seconds

from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.findings import CHEXPERT_TOKENS, NO_FINDING
from retune.store import FeatureStore

MIMIC_IMAGES, MIMIC_STUDIES, MIMIC_PATIENTS = 377_110, 227_835, 65_379
_STATES = np.array(["1.0", "0.0", "-1.0", "", "", "", ""])


def ingest_rows(root: Path) -> list[Row]:
    """CheXpert's real table, and tables of MIMIC's shape and size."""
    rows = []
    chexpert = _chexpert(root / "chexpert")
    if chexpert is not None:
        rows.append(_timed(chexpert, root, 223_414, 5.0))
    rows.append(_timed(_mimic(root / "mimic"), root, MIMIC_IMAGES, 10.0))
    return rows


def _timed(folder: Path, root: Path, n_images: int, limit_seconds: float) -> Row:
    def ingest() -> None:
        shutil.rmtree(root / "ingested", ignore_errors=True)
        plan = read_dataset(folder)
        assert plan.images.num_rows == n_images
        store = FeatureStore.create(root / "ingested")
        with store.writer("benchmark") as writer:
            writer.replace_dataset(
                plan.images,
                plan.findings,
                plan.states,
                dataset=plan.dataset,
                layout=plan.layout,
                root=plan.root,
                split_seed=0,
            )

    took = seconds(ingest)
    title = f"ingest {folder.name}, {n_images:,} rows: the limit"
    return Row(title, took, limit_seconds, "s", limit_seconds / took, 1.0)


def _chexpert(folder: Path) -> Path | None:
    package = importlib.util.find_spec("torchxrayvision")
    if package is None or package.origin is None:
        return None
    packed = Path(package.origin).parent / "data" / "chexpert_train.csv.gz"
    folder.mkdir()
    (folder / "train.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    return folder


def _mimic(folder: Path) -> Path:
    """Three packed tables with as many rows as the real ones, and random labels."""
    chance = np.random.default_rng(0)
    folder.mkdir()
    study_of = np.sort(
        np.concatenate(
            [
                np.arange(MIMIC_STUDIES),
                chance.integers(0, MIMIC_STUDIES, MIMIC_IMAGES - MIMIC_STUDIES),
            ]
        )
    )
    patient_of = np.sort(chance.integers(0, MIMIC_PATIENTS, MIMIC_STUDIES)) + 10_000_000
    cells = _STATES[chance.integers(0, len(_STATES), (MIMIC_STUDIES, 14))]
    names = ",".join([NO_FINDING, *CHEXPERT_TOKENS])
    _write(
        folder / "mimic-cxr-2.0.0-chexpert.csv.gz",
        f"subject_id,study_id,{names}",
        (
            f"{patient_of[study]},{study + 50_000_000},{','.join(cells[study])}"
            for study in range(MIMIC_STUDIES)
        ),
    )
    images = [f"{chance.integers(0, 2**62):032x}-{n:08x}" for n in range(MIMIC_IMAGES)]
    views = np.array(["PA", "AP", "LATERAL", "LL", ""])[
        chance.integers(0, 5, MIMIC_IMAGES)
    ]
    _write(
        folder / "mimic-cxr-2.0.0-metadata.csv.gz",
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,"
        "Rows,Columns,StudyDate,StudyTime",
        (
            f"{image},{patient_of[study]},{study + 50_000_000},CHEST (PA AND LAT),"
            f"{view},3056,2544,21800506,213014.531"
            for image, study, view in zip(images, study_of, views, strict=True)
        ),
    )
    splits = np.array(["train"] * 18 + ["validate", "test"])
    _write(
        folder / "mimic-cxr-2.0.0-split.csv.gz",
        "dicom_id,study_id,subject_id,split",
        (
            f"{image},{study + 50_000_000},{patient_of[study]},"
            f"{splits[patient_of[study] % 20]}"
            for image, study in zip(images, study_of, strict=True)
        ),
    )
    return folder


def _write(file: Path, header: str, lines: Iterable[str]) -> None:
    with gzip.open(file, "wt", compresslevel=1) as stream:
        stream.write(header + "\n")
        stream.writelines(f"{line}\n" for line in lines)
