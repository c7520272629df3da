"""Patients that a backbone was trained on: figures on their images are too good.

A backbone carries them as a text file beside its weights, ``trained-on.txt``. A line
``# patients of POPULATION`` or ``# images`` begins a section, other lines that begin
with # are remarks, and each further line is a patient's id, the content digest of an
image file as in the catalog, or ``sha256:`` and the digest of the patient's id in hex.
"""

import hashlib
import importlib.resources
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store.errors import BackboneError
from retune.store.feature_store import FeatureStore
from retune.store.opening.kept_catalogs import opening_once
from retune.store.queries.tables import table_names

from .leakage import populations_query

__all__ = [
    "LIST_FILE",
    "Contaminated",
    "TrainedOn",
    "count_contaminated",
    "parse_trained_on",
    "read_trained_on",
    "trained_on_of_mini",
]

LIST_FILE = "trained-on.txt"
_PATIENTS, _IMAGES, _SHA256 = "# patients of ", "# images", "sha256:"


@dataclass(frozen=True)
class TrainedOn:
    """What a backbone was trained on.

    Attributes:
        patients: Population and id; an id may be a digest (``sha256:...``).
        images: Content digests of files.
    """

    patients: frozenset[tuple[str, str]] = frozenset()
    images: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.patients or self.images)

    def knows(
        self,
        population: Iterable[str],
        patient_id: Iterable[str],
        digest: Iterable[str],
    ) -> npt.NDArray[np.bool_]:
        """Which of N images, or images of whose patients, the backbone has seen.

        Args:
            population: Whose patients they are, length N.
            patient_id: Length N.
            digest: Content digest of each file, length N.

        Returns:
            Shape (N,).

        >>> TrainedOn(frozenset({("nih", "7")})).knows(["nih", "x"], ["7", "7"], "ab")
        array([ True, False])
        """
        seen: dict[tuple[str, str], bool] = {}

        def patient_is_known(patient: tuple[str, str]) -> bool:
            if patient not in seen:
                hidden = (patient[0], _digest(patient[1]))
                seen[patient] = patient in self.patients or hidden in self.patients
            return seen[patient]

        pairs = zip(population, patient_id, strict=True)
        return np.array(
            [
                patient_is_known(patient) or content in self.images
                for patient, content in zip(pairs, digest, strict=True)
            ],
            dtype=bool,
        )

    def to_table(self) -> pa.Table:
        """Columns `kind`, `population` and `name`, as in the catalog's `trained_on`."""
        rows = [("patient", *patient) for patient in sorted(self.patients)]
        rows += [("image", "", image) for image in sorted(self.images)]
        columns = zip(*rows, strict=True) if rows else ([], [], [])
        names = ("kind", "population", "name")
        return pa.table(
            {
                name: pa.array(list(column), pa.string())
                for name, column in zip(names, columns, strict=True)
            }
        )


@dataclass(frozen=True)
class Contaminated:
    """Images of a dataset whose patients an encoder's backbone was trained on.

    Attributes:
        fingerprint: Fingerprint of the encoder.
        backbone: Its name.
        dataset: The dataset.
        images: Such images in all.
        held: Those of them in validation and test, which no metric counts.
    """

    fingerprint: str
    backbone: str
    dataset: str
    images: int
    held: int


def _digest(patient_id: str) -> str:
    return _SHA256 + hashlib.sha256(patient_id.encode()).hexdigest()


def parse_trained_on(text: str, name: str) -> TrainedOn:
    r"""Read a backbone's list.

    Args:
        text: Text of the file.
        name: Name of the file, for messages.

    Raises:
        BackboneError: A line stands in no section.

    >>> parse_trained_on("# patients of nih\n17\n", "list").patients
    frozenset({('nih', '17')})
    """
    patients: set[tuple[str, str]] = set()
    images: set[str] = set()
    section: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.strip()
        if entry.startswith(_PATIENTS):
            section = entry.removeprefix(_PATIENTS).strip()
        elif entry == _IMAGES:
            section = ""
        elif entry and not entry.startswith("#"):
            if section is None:
                raise BackboneError(
                    f"{name}, line {number}: '{entry[:40]}' stands in no section",
                    f"Begin with '{_PATIENTS}POPULATION' or '{_IMAGES}'.",
                )
            if section:
                patients.add((section, entry))
            else:
                images.add(entry)
    return TrainedOn(frozenset(patients), frozenset(images))


def trained_on_of_mini() -> TrainedOn:
    """The list of the embedded backbone `mini`."""
    # The file lies beside mini's weights; a name instead of an import keeps learning
    # free of backbones.
    folder = importlib.resources.files("retune.pipeline.encode.backbones")
    name = "mini-patients.txt"
    return parse_trained_on(folder.joinpath(name).read_text(encoding="utf-8"), name)


@opening_once
def read_trained_on(store: FeatureStore, fingerprint: str) -> TrainedOn:
    """What an encoder of a store was trained on, as far as its backbone says.

    Stores in which `mini` encoded before lists were kept know it all the same.
    """
    rows: list[tuple[str, str, str]] = []
    if "trained_on" in table_names(store):
        rows = store.rows(
            "SELECT kind, population, name FROM trained_on WHERE fingerprint = ?",
            [fingerprint],
        )
    if not rows:
        backbones = store.rows(
            "SELECT backbone FROM encoders WHERE fingerprint = ?", [fingerprint]
        )
        return trained_on_of_mini() if backbones == [("mini",)] else TrainedOn()
    return TrainedOn(
        frozenset(
            (where, name) for id_type, where, name in rows if id_type == "patient"
        ),
        frozenset(name for id_type, _, name in rows if id_type == "image"),
    )


@opening_once
def count_contaminated(store: FeatureStore) -> list[Contaminated]:
    """How many images each encoder's backbone knows, by dataset; none: no row."""
    counts = []
    for fingerprint, backbone in store.rows(
        "SELECT fingerprint, backbone FROM encoders ORDER BY added_at"
    ):
        trained_on = read_trained_on(store, fingerprint)
        if trained_on:
            rows = _count(store, trained_on)
            counts += [Contaminated(fingerprint, backbone, *row) for row in rows]
    return counts


def _count(store: FeatureStore, trained_on: TrainedOn) -> list[tuple[str, int, int]]:
    query = f"""WITH known AS (FROM trained)
        SELECT dataset, count(*), count(*) FILTER (split != 'train')
        FROM images JOIN ({populations_query(store)}) USING (dataset)
        WHERE content_digest IN (SELECT name FROM known WHERE kind = 'image')
        OR (population, patient_id) IN (
            SELECT (population, name) FROM known WHERE kind = 'patient')
        OR (population, '{_SHA256}' || sha256(patient_id)) IN (
            SELECT (population, name) FROM known WHERE kind = 'patient')
        GROUP BY dataset ORDER BY dataset"""
    with store.catalog.read() as connection:
        connection.register("trained", trained_on.to_table())
        rows = connection.execute(query).fetchall()
    return [(str(name), int(images), int(held)) for name, images, held in rows]
