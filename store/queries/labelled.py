"""What training needs from a store, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import scalar
from ..errors import ConfigurationError, QueryError
from ..feature_store import FeatureStore
from ..label_states import STATE_NAMES, UNLABELLED
from ..plural import counted
from ..vectors.shards import Vectors
from .bulk import gather, room_in_file

__all__ = [
    "DescriptionVectors",
    "EncoderRow",
    "LabelledImages",
    "check_datasets",
    "checked_condition",
    "choose_encoder",
    "count_images",
    "read_descriptions",
    "read_labelled_images",
]

_CODES = {name: code for code, name in STATE_NAMES.items()}
#: Label cells that are looked at together.
_CELLS = 131_072
#: What DuckDB may hold where vectors stay in a file: at least, and for each image.
#: With less than this it gives up instead of going on in files.
_STREAMING_BYTES, _IMAGE_BYTES = 256 << 20, 256
_IMAGE_COLUMNS = """image_id, dataset, path, patient_id, study_id, view, sex, age,
    split, content_digest"""


@dataclass(frozen=True)
class EncoderRow:
    """An encoder of the store: `fingerprint`, `backbone`, `dim` (D) and counts.

    `image_only` encoders have no text tower, or vectors of theirs were imported without
    any of texts.
    """

    fingerprint: str
    backbone: str
    precision: str
    dim: int
    n_images: int
    n_descriptions: int
    image_only: bool = False
    #: JSON of its `EncoderSpec`.
    spec: str = field(default="", repr=False)


@dataclass(frozen=True)
class LabelledImages:
    """N images with their labels and vectors, ordered by image_id.

    Attributes:
        images: The catalog's columns of the images, N rows.
        findings: K canonical names.
        states: Label states, shape (N, K), int8; `UNLABELLED` where the image's
            dataset does not label the finding.
        embedding: As the backbone returned it, shape (N, D), float16 or float32.
    """

    images: pa.Table
    findings: tuple[str, ...]
    states: npt.NDArray[np.int8]
    embedding: Vectors


@dataclass(frozen=True)
class DescriptionVectors:
    """P descriptions with their vectors.

    Attributes:
        finding: Name for each description, length P.
        positive: Whether it asserts the finding, shape (P,), bool.
        embedding: Shape (P, D).
    """

    finding: tuple[str, ...]
    positive: npt.NDArray[np.bool_]
    embedding: Vectors


def choose_encoder(
    store: FeatureStore, *, backbone: str | None = None, fingerprint: str | None = None
) -> EncoderRow:
    """Find the one encoder that a command means.

    Args:
        store: Where to look.
        backbone: Name given at `embed`; None if it does not matter.
        fingerprint: The digest or the beginning of it; None if it does not matter.

    Raises:
        ConfigurationError: None fits, or more than one does.
    """
    with store.catalog.read() as connection:
        rows = connection.execute(
            """SELECT fingerprint, backbone, precision, dim,
                coalesce(n_images, 0), coalesce(n_texts, 0),
                coalesce(n_texts, 0) = 0 AND coalesce(
                    json_extract_string(spec, '$.tokenizer.kind')
                        IN ('none', 'external'), false), spec
            FROM encoders LEFT JOIN (
                SELECT fingerprint, count(*) FILTER (modality = 'image') AS n_images,
                    count(*) FILTER (modality = 'text') AS n_texts
                FROM features GROUP BY fingerprint) USING (fingerprint)
            ORDER BY added_at"""
        ).fetchall()
    encoders = [EncoderRow(*row) for row in rows]
    fitting = [
        row
        for row in encoders
        if (backbone is None or row.backbone == backbone)
        and (fingerprint is None or row.fingerprint.startswith(fingerprint))
    ]
    listed = "; ".join(
        f"{row.fingerprint} ({row.backbone}, {row.precision}, D={row.dim}, "
        f"{counted(row.n_images, 'image')})"
        for row in encoders
    )
    if not encoders:
        raise ConfigurationError(
            f"the store {store.path} holds no embeddings yet",
            "Run `retune-cli embed` first.",
        )
    if not fitting:
        raise ConfigurationError(
            f"no encoder of the store fits; it has: {listed}",
            "Name one of these with `backbone` or `fingerprint`."
            + (
                " `train` and `curve` put the vectors of A+B side by side first."
                if "+" in (backbone or "")
                else ""
            ),
        )
    if len(fitting) > 1:
        raise ConfigurationError(
            f"the store holds vectors of several encoders, which cannot be mixed: "
            f"{listed}",
            "Choose one with `fingerprint` (its first digits suffice).",
        )
    return fitting[0]


def read_labelled_images(
    store: FeatureStore,
    fingerprint: str,
    *,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
    image_ids: pa.StringArray | None = None,
    in_file: bool = False,
) -> LabelledImages:
    """Read every image that has a vector of this encoder, with its labels.

    Args:
        store: Where to read.
        fingerprint: Fingerprint of the encoder.
        datasets: Only these; None for all.
        where: A SQL condition over the columns of `images`; None for all.
        image_ids: Only these; None for all.
        in_file: Put the vectors into a nameless file in the store's folder instead of
            memory. It is gone when the array is, however the process ends.

    Raises:
        StoreWriteError: There is no room for that file.
        ConfigurationError: A dataset is unknown, or no image is left.
        QueryError: `where` is not a valid condition.
        StoreCorruptError: A shard is missing or damaged.
    """
    memory_bytes = _streaming_bytes(store) if in_file else None
    with store.catalog.read(memory_bytes=memory_bytes) as connection:
        check_datasets(connection, datasets)
        listed = ""
        if image_ids is not None:
            connection.register("listed", pa.table({"image_id": image_ids}))
            listed = "AND image_id IN (SELECT image_id FROM listed)"
        answer = connection.sql(
            f"""SELECT {_IMAGE_COLUMNS}, shard_id, "row"
            FROM (SELECT * FROM images WHERE {checked_condition(connection, where)})
            JOIN features ON item_id = content_digest
            WHERE modality = 'image' AND fingerprint = ?
            AND (?::VARCHAR[] IS NULL OR list_contains(?::VARCHAR[], dataset))
            {listed} ORDER BY image_id""",
            params=[fingerprint, datasets, datasets],
        )
        # In parts: as a whole it would be in DuckDB's memory, and in ours.
        table = answer.to_arrow_reader(_CELLS).read_all()
        if not len(table):
            raise ConfigurationError(
                f"no image of the store {store.path} fits: it must be encoded with "
                f"{fingerprint}"
                + (f", be in {', '.join(datasets)}" if datasets else "")
                + (f" and fulfil {where}" if where else ""),
                "`retune-cli status` shows datasets and what is encoded.",
            )
        findings, states = _read_states(connection, table)
        out = (
            room_in_file(store, connection, fingerprint, len(table))
            if in_file
            else None
        )
        embedding = gather(store, connection, table, out)
    images = table.drop_columns(["shard_id", "row"])
    return LabelledImages(images, findings, states, embedding)


def _streaming_bytes(store: FeatureStore) -> int:
    with store.catalog.read() as connection:
        n_images = scalar(connection, "SELECT count(*) FROM images")
    return max(_STREAMING_BYTES, _IMAGE_BYTES * n_images)


def count_images(
    store: FeatureStore,
    *,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
) -> tuple[int, int]:
    """How many images a selection has, encoded or not, and how many there are in all.

    Raises:
        ConfigurationError: A dataset is unknown.
        QueryError: `where` is not a valid condition.
    """
    with store.catalog.read() as connection:
        check_datasets(connection, datasets)
        chosen = scalar(
            connection,
            f"""SELECT count(*) FROM images WHERE {checked_condition(connection, where)}
            AND (?::VARCHAR[] IS NULL OR list_contains(?::VARCHAR[], dataset))""",
            [datasets and list(datasets)] * 2,
        )
        return chosen, scalar(connection, "SELECT count(*) FROM images")


def check_datasets(
    connection: duckdb.DuckDBPyConnection, datasets: Sequence[str] | None
) -> None:
    """Refuse names of datasets that the store does not have.

    Raises:
        ConfigurationError: It lacks one; the message names those that it has.
    """
    known = [
        name
        for (name,) in connection.execute("SELECT dataset FROM datasets").fetchall()
    ]
    unknown = sorted(set(datasets or []) - set(known))
    if unknown:
        raise ConfigurationError(
            f"the store has no dataset {', '.join(unknown)}; it has: "
            f"{', '.join(sorted(known)) or 'none'}",
            "Ingest it first, or choose one of these.",
        )


def checked_condition(connection: duckdb.DuckDBPyConnection, where: str | None) -> str:
    """The condition in brackets, after asking DuckDB whether it is one.

    Raises:
        QueryError: It is none over the columns of `images`, or fails on some of them.
    """
    if where is None:
        return "true"
    hint = "Example: `where` \"view IN ('PA', 'AP') AND age >= 18\"."
    # The line break ends a comment; inside CASE, brackets cannot be closed too early.
    condition = f"({where}\n)"
    whole = f"CASE WHEN true THEN {condition} END"
    try:
        condition_type = connection.execute(
            f"DESCRIBE SELECT {whole} FROM images"
        ).fetchall()[0][1]
        connection.execute(f"SELECT count(*) FROM images WHERE {whole}").fetchall()
    except duckdb.Error as error:
        raise QueryError(
            f"`where` {where!r} is not a condition over images: {error}", hint
        ) from error
    if condition_type != "BOOLEAN":
        raise QueryError(
            f"`where` {where!r} is not a condition over images: it gives "
            f"{condition_type}, not true or false",
            hint,
        )
    return condition


def _read_states(
    connection: duckdb.DuckDBPyConnection, images: pa.Table
) -> tuple[tuple[str, ...], npt.NDArray[np.int8]]:
    """Label states of some images, scattered into one matrix."""
    row_number = pa.array(np.arange(len(images), dtype=np.int32))
    chosen = images.select(["image_id", "dataset"]).append_column("place", row_number)
    connection.register("chosen", chosen)
    connection.execute(
        """CREATE TEMP TABLE chosen_findings AS
        SELECT finding, (row_number() OVER (ORDER BY first_place, finding) - 1)
            ::INTEGER AS column_place
        FROM (SELECT finding, min(position) AS first_place FROM dataset_findings
            WHERE dataset IN (SELECT DISTINCT dataset FROM chosen) GROUP BY finding)"""
    )
    findings = tuple(
        name
        for (name,) in connection.execute(
            "SELECT finding FROM chosen_findings ORDER BY column_place"
        ).fetchall()
    )
    cases = " ".join(f"WHEN '{name}' THEN {code}" for name, code in _CODES.items())
    cells = connection.sql(
        f"""SELECT place, column_place, (CASE state {cases} END)::TINYINT AS code
        FROM labels JOIN chosen USING (image_id) JOIN chosen_findings USING (finding)"""
    )
    states = np.full((len(images), len(findings)), UNLABELLED, dtype=np.int8)
    for part in cells.to_arrow_reader(_CELLS):
        rows, columns, codes = (column.to_numpy() for column in part.columns)
        states[rows, columns] = codes
    return findings, states


def read_descriptions(
    store: FeatureStore, fingerprint: str, set_name: str, findings: Sequence[str]
) -> DescriptionVectors:
    """Read the encoded descriptions of some findings.

    Raises:
        ConfigurationError: The set is unknown, or lacks an encoded description of a
            finding in either polarity.
    """
    with store.catalog.read() as connection:
        table = connection.sql(
            """SELECT finding, polarity, shard_id, "row"
            FROM descriptions JOIN features ON item_id = text_digest
            WHERE modality = 'text' AND fingerprint = ? AND set_name = ?
            AND list_contains(?::VARCHAR[], finding)
            ORDER BY finding, polarity, description_id""",
            params=[fingerprint, set_name, list(findings)],
        ).to_arrow_table()
        embedding = gather(store, connection, table)
    described = set(
        zip(table["finding"].to_pylist(), table["polarity"].to_pylist(), strict=True)
    )
    lacking = [
        f"{finding} ({polarity})"
        for finding in findings
        for polarity in ("positive", "negative")
        if (finding, polarity) not in described
    ]
    if lacking:
        raise ConfigurationError(
            f"the description set '{set_name}' has no encoded sentence for "
            + ", ".join(lacking),
            f"Run `retune-cli embed --descriptions {set_name}` with the same backbone.",
        )
    positive = np.asarray(pc.equal(table["polarity"], "positive"))
    return DescriptionVectors(
        tuple(table["finding"].to_pylist()), positive.astype(bool), embedding
    )
