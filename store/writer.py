"""Everything that changes a store, in one place and under one lock."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .catalog import Catalog, scalar
from .errors import ConfigurationError, StoreBusyError, StoreError
from .fingerprint import EncoderSpec
from .label_states import STATE_NAMES
from .label_versions import labels_digest, open_version
from .reconcile import insert_encoder, insert_shards, utc_now
from .schema import CREATE_TABLES, create_table, label_matrix_sql
from .shards import ShardHeader, Vectors, publish_shard, verify_shard

__all__ = ["DatasetChange", "FileState", "ItemFailure", "StoreWriter"]


@dataclass(frozen=True)
class DatasetChange:
    """What an ingest changed: numbers of images."""

    n_images: int
    added: int
    removed: int
    n_findings: int
    label_version: int = 1
    labels_changed: bool = True


@dataclass(frozen=True)
class FileState:
    """What a file looked like when it was read."""

    image_id: str
    content_digest: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class ItemFailure:
    """One image that could not be used.

    Attributes:
        image_id: Which image.
        path: The file that was tried.
        stage: ``read`` or ``decode`` or ``encode``.
        error: What went wrong, for a person.
        content_digest: Of the bytes that failed; None if they could not be read.
    """

    image_id: str
    path: str
    stage: str
    error: str
    content_digest: str | None


@dataclass
class _Pending:
    """Work that is safe on the disk or in memory and waits for a commit."""

    shards: list[ShardHeader] = field(default_factory=list)
    files: list[FileState] = field(default_factory=list)
    failures: list[ItemFailure] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.shards or self.files or self.failures)


class StoreWriter:
    """The only thing that writes datasets, descriptions and features.

    Made by `FeatureStore.writer()`, which holds the writer lock and has reconciled.
    """

    def __init__(self, root: Path, catalog: Catalog) -> None:
        self._root = root
        self._catalog = catalog
        self._pending = _Pending()

    def replace_dataset(
        self,
        images: pa.Table,
        findings: Sequence[str],
        states: npt.NDArray[np.int8],
        *,
        dataset: str,
        layout: str,
        root: Path,
        split_seed: int,
        warnings: Sequence[str] = (),
        moved: bool = False,
        key_check: str | None = None,
    ) -> DatasetChange:
        """Make a dataset's rows equal to its label table; features stay.

        Labels that are other than before get a new version; those that they replace
        stay in `old_labels`.

        Args:
            images: Columns of the catalog's `images` but for the three that say what
                the file's content is; N rows.
            findings: K canonical names.
            states: Label states, shape (N, K), int8.
            dataset: Name of the dataset.
            layout: The reader that made the table.
            root: Folder that the images' paths are relative to.
            split_seed: Seed of the patient hash that made the splits.
            warnings: What the reader noticed.
            moved: Accept that the same dataset now lies in another folder.
            key_check: Tells which key made the ids; None if they are no pseudonyms.

        Raises:
            ConfigurationError: The name belongs to a dataset in another folder, or its
                ids were made with another key.
            StoreError: An image is of another dataset.
        """
        if set(images["dataset"].unique().to_pylist()) - {dataset}:
            raise StoreError(f"some of the images are not of the dataset '{dataset}'")
        with self._catalog.write() as connection:
            known = connection.execute(
                "SELECT root FROM datasets WHERE dataset = ?", [dataset]
            ).fetchall()
            if known and known[0][0] != str(root) and not moved:
                raise ConfigurationError(
                    f"the store already has a dataset '{dataset}' from {known[0][0]}",
                    "Give this one another name (--dataset NAME), or say that it is "
                    "the same one in a new place (--moved).",
                )
            for statement in CREATE_TABLES:  # those that an older store lacks
                connection.execute(statement)
            _check_key(connection, dataset, key_check, is_known=bool(known))
            digest = labels_digest(images["image_id"], findings, states)
            version, is_new = open_version(connection, dataset, digest, len(images))
            change = _replace_images(connection, dataset, images)
            if is_new:
                _replace_labels(connection, dataset, images, findings, states)
            change = replace(
                change,
                n_findings=len(findings),
                label_version=version,
                labels_changed=is_new,
            )
            connection.execute("DELETE FROM datasets WHERE dataset = ?", [dataset])
            connection.execute(
                "INSERT INTO datasets VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    dataset, layout, str(root), utc_now(), split_seed, len(images),
                    list(warnings),
                ],
            )  # fmt: skip
        return change

    def add_descriptions(self, descriptions: pa.Table) -> int:
        """Enter descriptions that the catalog does not have; gives how many.

        A set may grow by findings, but what it says of a finding stays: figures of a
        set would else be of sentences old and new.

        Raises:
            ConfigurationError: The catalog has other sentences of the same set for the
                same finding; nothing was entered.
        """
        with self._catalog.write() as connection:
            connection.register("incoming_descriptions", descriptions)
            _refuse_other_sentences(connection)
            columns = ", ".join(descriptions.column_names)
            return scalar(
                connection,
                f"""INSERT INTO descriptions BY NAME SELECT {columns}
                FROM incoming_descriptions
                ANTI JOIN descriptions USING (description_id)""",
            )

    def add_text_lengths(self, fingerprint: str, lengths: pa.Table) -> None:
        """Enter how long sentences are for an encoder.

        Args:
            fingerprint: Of the encoder.
            lengths: Columns `item_id`, `n_tokens` and `truncated`.
        """
        with self._catalog.write() as connection:
            connection.execute(create_table("text_lengths"))  # older stores lack it
            connection.register("incoming_lengths", lengths)
            connection.execute(
                """INSERT INTO text_lengths
                SELECT ? AS fingerprint, item_id, n_tokens, truncated
                FROM incoming_lengths WHERE item_id NOT IN
                    (SELECT item_id FROM text_lengths WHERE fingerprint = ?)""",
                [fingerprint, fingerprint],
            )

    def add_encoder(self, spec: EncoderSpec, source_digest: str, device: str) -> None:
        """Enter an encoder, and that this source of weights leads to it."""
        with self._catalog.write() as connection:
            insert_encoder(connection, spec, device)
            connection.execute(
                "DELETE FROM encoder_sources WHERE source_digest = ?", [source_digest]
            )
            connection.execute(
                "INSERT INTO encoder_sources VALUES (?, ?)",
                [source_digest, spec.fingerprint],
            )

    def publish(
        self,
        spec: EncoderSpec,
        modality: str,
        keys: Sequence[str],
        vectors: Vectors,
    ) -> None:
        """Put vectors safely on the disk; `commit` makes them visible.

        Raises:
            StoreError: A vector must not be stored (not finite, zero, overflow).
            StoreWriteError: The disk refused.
        """
        header = publish_shard(
            self._root, spec, modality, np.array(keys, dtype="S32"), vectors
        )
        self._pending.shards.append(header)

    def add_published(self, path: str) -> None:
        """Take a shard that another process published, for the next commit.

        Args:
            path: Relative to the store.

        Raises:
            StoreCorruptError: The shard cannot be read here or is damaged.
        """
        self._pending.shards.append(verify_shard(self._root / path))

    def note(self, files: Sequence[FileState], failures: Sequence[ItemFailure]) -> None:
        """Remember what files looked like and which failed, for the next commit."""
        self._pending.files.extend(files)
        self._pending.failures.extend(failures)

    def commit(self, patience_seconds: float | None = None) -> bool:
        """Make everything published and noted visible, in one transaction.

        Args:
            patience_seconds: How long to wait for readers to let go. None: as long as
                the catalog waits anywhere, and then raise.

        Returns:
            False if readers held the catalog for all of `patience_seconds`; the work
            stays pending and nothing is lost.

        Raises:
            StoreBusyError: As above, if `patience_seconds` is None.
            StoreWriteError: The disk refused; nothing was committed.
        """
        if not self._pending:
            return True
        try:
            with self._catalog.write(patience_seconds) as connection:
                insert_shards(connection, self._root, self._pending.shards)
                _update_files(connection, self._pending.files)
                _insert_failures(connection, self._pending.failures)
        except StoreBusyError:
            if patience_seconds is None:
                raise
            return False
        self._pending = _Pending()
        return True


def _check_key(
    connection: duckdb.DuckDBPyConnection,
    dataset: str,
    key_check: str | None,
    *,
    is_known: bool,
) -> None:
    """Enter which key made a dataset's ids; another one would make other patients."""
    rows = connection.execute(
        "SELECT key_check FROM pseudonym_keys WHERE dataset = ?", [dataset]
    ).fetchall()
    before = rows[0][0] if rows else None
    if is_known and before != key_check:
        raise ConfigurationError(
            f"the ids of the dataset '{dataset}' were made "
            + ("without a key" if before is None else "with another key"),
            "Ingest it as before, or under another name (--dataset NAME).",
        )
    if key_check is not None and before is None:
        connection.execute(
            "INSERT INTO pseudonym_keys VALUES (?, ?)", [dataset, key_check]
        )


def _replace_images(
    connection: duckdb.DuckDBPyConnection, dataset: str, images: pa.Table
) -> DatasetChange:
    """Swap a dataset's image rows, carrying over what is known of each file."""
    connection.register("incoming_images", images)
    connection.execute(
        """CREATE TEMP TABLE merged_images AS
        SELECT new.image_id, new.dataset, new.path, new.patient_id, new.study_id,
            new.view, new.sex, new.age, new.split,
            old.content_digest, old.size_bytes, old.mtime_ns
        FROM incoming_images AS new
        LEFT JOIN images AS old ON old.image_id = new.image_id"""
    )
    added = scalar(
        connection,
        "SELECT count(*) FROM incoming_images ANTI JOIN images USING (image_id)",
    )
    removed = scalar(
        connection,
        """SELECT count(*) FROM images ANTI JOIN incoming_images USING (image_id)
        WHERE dataset = ?""",
        [dataset],
    )
    connection.execute("DELETE FROM images WHERE dataset = ?", [dataset])
    connection.execute("INSERT INTO images SELECT * FROM merged_images")
    connection.execute("DROP TABLE merged_images")
    return DatasetChange(len(images), added, removed, 0)


def _replace_labels(
    connection: duckdb.DuckDBPyConnection,
    dataset: str,
    images: pa.Table,
    findings: Sequence[str],
    states: npt.NDArray[np.int8],
) -> None:
    """Enter one row per image and finding, without a Python loop over rows."""
    n_images, n_findings = states.shape
    codes = sorted(STATE_NAMES)
    labels = {
        "image_id": pa.DictionaryArray.from_arrays(
            np.repeat(np.arange(n_images, dtype=np.int32), n_findings),
            images["image_id"].combine_chunks(),
        ),
        "finding": pa.DictionaryArray.from_arrays(
            np.tile(np.arange(n_findings, dtype=np.int32), n_images),
            pa.array(list(findings), pa.string()),
        ),
        "state": pa.DictionaryArray.from_arrays(
            np.searchsorted(codes, states.reshape(-1)).astype(np.int32),
            pa.array([STATE_NAMES[code] for code in codes]),
        ),
    }
    connection.register("incoming_labels", pa.table(labels))
    connection.execute("INSERT INTO labels SELECT * FROM incoming_labels")
    connection.execute("DELETE FROM dataset_findings WHERE dataset = ?", [dataset])
    connection.executemany(
        "INSERT INTO dataset_findings VALUES (?, ?, ?)",
        [[dataset, finding, place] for place, finding in enumerate(findings)],
    )
    names = connection.execute(
        """SELECT finding FROM dataset_findings
        GROUP BY finding ORDER BY min(position), finding"""
    ).fetchall()
    connection.execute(label_matrix_sql(name for (name,) in names))


def _update_files(
    connection: duckdb.DuckDBPyConnection, files: Sequence[FileState]
) -> None:
    if not files:
        return
    table = pa.Table.from_pylist([vars(file) for file in files])
    connection.register("incoming_files", table)
    connection.execute(
        """UPDATE images SET content_digest = new.content_digest,
            size_bytes = new.size_bytes, mtime_ns = new.mtime_ns
        FROM incoming_files AS new WHERE images.image_id = new.image_id"""
    )


def _insert_failures(
    connection: duckdb.DuckDBPyConnection, failures: Sequence[ItemFailure]
) -> None:
    if not failures:
        return
    schema = pa.schema(
        [(name, pa.string()) for name in ItemFailure.__dataclass_fields__]
    )
    table = pa.Table.from_pylist([vars(item) for item in failures], schema)
    connection.register("incoming_failures", table)
    connection.execute(
        """INSERT INTO failures
        SELECT image_id, path, stage, error,
            1 + (SELECT count(*) FROM failures AS old
                 WHERE old.image_id = new.image_id)::INTEGER,
            ?, content_digest
        FROM incoming_failures AS new""",
        [utc_now()],
    )


def _refuse_other_sentences(connection: duckdb.DuckDBPyConnection) -> None:
    """Compare the registered `incoming_descriptions` with those of the same sets."""
    changed = connection.execute(
        """WITH known AS (
            SELECT set_name, finding, list_sort(list(description_id)) AS ids
            FROM descriptions GROUP BY ALL
        ), incoming AS (
            SELECT set_name, finding, list_sort(list(description_id)) AS ids
            FROM incoming_descriptions GROUP BY ALL
        )
        SELECT set_name, finding FROM known JOIN incoming USING (set_name, finding)
        WHERE known.ids <> incoming.ids ORDER BY ALL"""
    ).fetchall()
    if changed:
        set_name = changed[0][0]
        names = ", ".join(finding for _, finding in changed)
        raise ConfigurationError(
            f"the store has other sentences of the description set '{set_name}' for "
            f"{names}, and sets never change",
            "Give the changed sentences a set name of their own (`set:` in the file).",
        )
