"""Which patients somebody means, and which of their images runs have listed."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.store import FeatureStore
from retune.store.erasure.tombstones import erased_among
from retune.store.errors import ConfigurationError
from retune.store.opening.kept_catalogs import opening_once
from retune.store.queries.labelled import checked_condition

from ...datasets.leakage import populations_query, read_populations
from ..queries.selection import check_datasets

__all__ = ["choose_patients", "listed_images", "read_patient_file"]

_FEW = 3
Patient = tuple[str, str]


def read_patient_file(path: Path) -> tuple[str, ...]:
    """Patient ids of a text file, one per line; empty lines are passed over.

    Raises:
        ConfigurationError: It cannot be read, or names nobody.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the list of patients {path} cannot be read: {error}",
            "Write one patient id a line, in UTF-8.",
        ) from error
    ids = tuple(line.strip() for line in lines if line.strip())
    if not ids:
        raise ConfigurationError(f"the list of patients {path} is empty")
    return ids


@opening_once
def choose_patients(
    store: FeatureStore,
    ids: Sequence[str],
    *,
    where: str | None = None,
    datasets: Sequence[str] | None = None,
) -> tuple[tuple[Patient, ...], tuple[Patient, ...]]:
    """The patients that ids or a condition mean, as population and id.

    Patients whom the label table no longer has are known from the runs that saw them.

    Args:
        store: Where to look.
        ids: Patient ids, or names of files with one id a line.
        where: A SQL condition over `images`: all patients with such an image.
        datasets: Only patients of these datasets.

    Returns:
        Those who are there, and those who were erased before.

    Raises:
        ConfigurationError: Nobody is meant, an id is unknown, or it is the id of
            several people.
        QueryError: `where` is no condition.
    """
    check_datasets(store, datasets)
    known = _known_patients(store, datasets)
    wanted: list[Patient] = []
    erased: list[Patient] = []
    for patient_id in _all_ids(ids, {one for _, one in known}):
        owners = sorted(one for one, name in known if name == patient_id)
        if len(owners) > 1:
            raise ConfigurationError(
                f"{len(owners)} different patients have the id {patient_id}, of "
                f"{', '.join(owners)}",
                "Name the dataset of the one you mean with `datasets`.",
            )
        wanted += [(owner, patient_id) for owner in owners]
        if not owners:
            erased += _erased_before(store, patient_id, datasets)
    if where is not None:
        chosen = _fulfilling(store, where, datasets)
        if not chosen:
            raise ConfigurationError(
                f"no image of the store {store.path} fulfils {where}",
                "`retune-cli status` shows what is there.",
            )
        wanted += chosen
    return tuple(sorted(set(wanted))), tuple(sorted(set(erased)))


def _all_ids(ids: Sequence[str], known: set[str]) -> list[str]:
    """Ids, with the content of files in the place of their names."""
    patient_ids: list[str] = []
    for one in ids:
        is_file = one not in known and Path(one).is_file()
        patient_ids += read_patient_file(Path(one)) if is_file else (one,)
    return list(dict.fromkeys(patient_ids))


def _erased_before(
    store: FeatureStore, patient_id: str, datasets: Sequence[str] | None
) -> set[Patient]:
    populations = read_populations(store)
    owners = {
        population
        for dataset, population in populations.items()
        if datasets is None or dataset in datasets
    }
    asked = [(owner, patient_id) for owner in owners]
    erased = erased_among(store.path, store.catalog, asked)
    if not erased:
        raise ConfigurationError(
            f"the store {store.path} has no patient {patient_id}",
            "Ids are those of the column patient_id of images; with pseudonyms it is "
            "the pseudonym. Nothing was erased.",
        )
    return erased


def _known_patients(
    store: FeatureStore, datasets: Sequence[str] | None
) -> set[Patient]:
    rows = store.rows(
        f"""SELECT DISTINCT population, patient_id FROM images
        JOIN ({populations_query(store)}) USING (dataset)
        WHERE $datasets::VARCHAR[] IS NULL OR list_contains($datasets, dataset)""",
        {"datasets": datasets and list(datasets)},
    )
    populations = read_populations(store)
    allowed = {
        populations[name] for name in (populations if datasets is None else datasets)
    }
    known = {(str(one), str(other)) for one, other in rows}
    for table in _lists(store):
        pairs = zip(
            table["population"].to_pylist(),
            table["patient_id"].to_pylist(),
            strict=True,
        )
        known |= {pair for pair in pairs if pair[0] in allowed}
    return known


def _fulfilling(
    store: FeatureStore, where: str, datasets: Sequence[str] | None
) -> list[Patient]:
    with store.catalog.read() as connection:
        condition = checked_condition(connection, where)
    rows = store.sql(
        f"""SELECT DISTINCT population, patient_id
        FROM (SELECT * FROM images WHERE {condition})
        JOIN ({populations_query(store)}) USING (dataset)
        WHERE $datasets::VARCHAR[] IS NULL OR list_contains($datasets, dataset)""",
        {"datasets": datasets and list(datasets)},
    ).fetchall()
    return [(str(one), str(other)) for one, other in rows]


def _lists(store: FeatureStore) -> Iterable[pa.Table]:
    """The lists of images of all runs; what is damaged is for `verify` to tell."""
    for path in sorted((store.path / "runs").glob("*/images.parquet")):
        try:
            columns = ["image_id", "population", "patient_id", "content_digest"]
            table = pq.read_table(path, columns=columns)
        except (OSError, pa.ArrowException, ValueError, KeyError):
            continue
        yield table.cast(pa.schema([(name, pa.string()) for name in columns]))


def listed_images(store: FeatureStore, patients: Sequence[Patient]) -> pa.Table:
    """Images of some patients that runs have listed, whether they are still there.

    Returns:
        Columns `image_id` and `content_digest`.
    """
    schema = pa.schema([("image_id", pa.string()), ("content_digest", pa.string())])
    ids = pa.array(sorted({one for _, one in patients}), pa.string())
    wanted = set(patients)
    parts = [schema.empty_table()]
    for table in _lists(store):
        table = table.filter(pc.is_in(table["patient_id"], value_set=ids))
        owners = zip(
            table["population"].to_pylist(),
            table["patient_id"].to_pylist(),
            strict=True,
        )
        mask = pa.array([owner in wanted for owner in owners], pa.bool_())
        parts.append(table.filter(mask).select(schema.names))
    with duckdb.connect() as connection:
        connection.register("listed", pa.concat_tables(parts))
        return connection.sql("SELECT DISTINCT * FROM listed").to_arrow_table()
