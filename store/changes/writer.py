"""Everything that changes a store, in one place and under one lock."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..catalog import Catalog, scalar, utc_now
from ..errors import ConfigurationError, StoreBusyError, StoreError
from ..fingerprint import EncoderSpec
from ..schema import CREATE_TABLES, create_table
from ..vectors.shard_verification import verify_shard
from ..vectors.shards import KEY_DTYPE, Keys, ShardHeader, Vectors, publish_shard
from .appending import with_earlier_rows
from .dropping import DroppedEncoder, drop_encoder_rows, remove_shards
from .entering import (
    DatasetChange,
    FileState,
    ItemFailure,
    add_image_columns,
    check_key,
    enter_stand_ins,
    insert_failures,
    refuse_other_sentences,
    replace_images,
    replace_labels,
    update_files,
)
from .label_versions import labels_digest, open_version
from .reconcile import ReconcileReport
from .rows import insert_encoder, insert_shards

__all__ = ["StoreWriter"]


@dataclass
class _Pending:
    """Work that is safe on the disk or in memory and waits for a commit."""

    shards: list[ShardHeader] = field(default_factory=list)
    files: list[FileState] = field(default_factory=list)
    failures: list[ItemFailure] = field(default_factory=list)
    stand_ins: list[pa.Table] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.shards or self.files or self.failures or self.stand_ins)

    def followed_by(self, later: "_Pending") -> "_Pending":
        return _Pending(
            self.shards + later.shards,
            self.files + later.files,
            self.failures + later.failures,
            self.stand_ins + later.stand_ins,
        )


class StoreWriter:
    """The only thing that writes datasets, descriptions and features.

    Made by `FeatureStore.writer()`, which holds the writer lock and has reconciled.

    Attributes:
        reconciled: What a crash had left behind and was healed on opening.
    """

    def __init__(
        self, root: Path, catalog: Catalog, reconciled: ReconcileReport
    ) -> None:
        self.reconciled = reconciled
        self._root = root
        self._catalog = catalog
        self._pending = _Pending()
        self._lock = Lock()  # of what is pending: shards may come from several threads

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
        population: str | None = None,
        reading: str | None = None,
        append: bool = False,
        follow_links: bool | None = None,
    ) -> DatasetChange:
        """Make a dataset's rows equal to its label table; features stay.

        Labels that are other than before get a new version; those that they replace
        stay in `old_labels`.

        Args:
            images: Columns of the catalog's `images` but for the three that say what
                the file's content is; N rows. Columns that `images` does not have are
                added to it as text.
            findings: K canonical names.
            states: Label states, shape (N, K), int8; an `UNLABELLED` cell has no row.
            dataset: Name of the dataset.
            layout: The reader that made the table.
            root: Folder that the images' paths are relative to.
            split_seed: Seed of the patient hash that made the splits.
            warnings: What the reader noticed.
            moved: Accept that the same dataset now lies in another folder.
            key_check: Tells which key made the ids; None if they are no pseudonyms.
            population: Whose patients these are: equal ids of two datasets of one
                population are one patient. None: not known here.
            reading: JSON of how the table was understood, so that the next ingest
                understands it the same; None: nothing is to be remembered.
            append: Keep the dataset's other rows: the table has only new ones.
            follow_links: Whether files may lie behind links that lead out of `root`;
                None: not known, and not asked when images are read.

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
                    "Give this one another name (`dataset`), or say that it is "
                    "the same one in a new place (`moved`).",
                )
            for statement in CREATE_TABLES:  # those that an older store lacks
                connection.execute(statement)
            check_key(connection, dataset, key_check, is_known=bool(known))
            add_image_columns(connection, images.column_names)
            if append:
                images, findings, states = with_earlier_rows(
                    connection, dataset, images, findings, states
                )
            digest = labels_digest(images["image_id"], findings, states)
            version, is_new = open_version(connection, dataset, digest, len(images))
            change = replace_images(connection, dataset, images)
            if is_new:
                replace_labels(connection, dataset, images, findings, states)
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
            connection.execute(
                "DELETE FROM table_readings WHERE dataset = ?", [dataset]
            )
            if reading is not None:
                connection.execute(
                    "INSERT INTO table_readings VALUES (?, ?)", [dataset, reading]
                )
            connection.execute(
                "DELETE FROM dataset_populations WHERE dataset = ?", [dataset]
            )
            if population is not None:
                connection.execute(
                    "INSERT INTO dataset_populations VALUES (?, ?)",
                    [dataset, population],
                )
            connection.execute("DELETE FROM dataset_links WHERE dataset = ?", [dataset])
            if follow_links is not None:
                connection.execute(
                    "INSERT INTO dataset_links VALUES (?, ?)", [dataset, follow_links]
                )
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
            refuse_other_sentences(connection)
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
            fingerprint: Fingerprint of the encoder.
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

    def identify_images(self, digests: pa.Table) -> None:
        """Remember stand-ins for the content digests of images that have no file.

        The next commit enters them; what an image has already stays.

        Args:
            digests: Columns `image_id` and `content_digest`.
        """
        with self._lock:
            self._pending.stand_ins.append(digests)

    def add_trained_on(self, fingerprint: str, names: pa.Table) -> None:
        """Enter whom an encoder's backbone was trained on, instead of what was known.

        Args:
            fingerprint: Fingerprint of the encoder.
            names: Columns `kind` (``patient`` or ``image``), `population` and `name`.
        """
        with self._catalog.write() as connection:
            connection.execute(create_table("trained_on"))  # older stores lack it
            connection.execute(
                "DELETE FROM trained_on WHERE fingerprint = ?", [fingerprint]
            )
            connection.register("incoming_names", names)
            connection.execute(
                """INSERT INTO trained_on
                SELECT ? AS fingerprint, kind, population, name FROM incoming_names""",
                [fingerprint],
            )

    def add_encoding(
        self, fingerprint: str, images: int, seconds: float, device: str
    ) -> None:
        """Enter how long an encoder took for some images.

        Args:
            fingerprint: Fingerprint of the encoder.
            images: How many went through it.
            seconds: From files to vectors, without loading the backbone.
            device: Where it ran, such as ``cuda:0``.
        """
        with self._catalog.write() as connection:
            connection.execute(create_table("encodings"))  # older stores lack it
            connection.execute(
                "INSERT INTO encodings VALUES (?, ?, ?, ?, ?)",
                [fingerprint, images, seconds, device, utc_now()],
            )

    def drop_encoder(self, fingerprint: str) -> DroppedEncoder:
        """Take an encoder and all its vectors out of the store; its runs are tagged.

        Raises:
            StoreBusyError: Another process holds the catalog.
            StoreWriteError: The disk refused.
        """
        with self._catalog.write() as connection:
            dropped = drop_encoder_rows(connection, fingerprint)
        remove_shards(self._root, fingerprint)
        return dropped

    def publish(
        self,
        spec: EncoderSpec,
        modality: str,
        keys: Keys,
        vectors: Vectors,
    ) -> None:
        """Put vectors safely on the disk; `commit` makes them visible.

        Raises:
            StoreError: A vector must not be stored (not finite, zero, overflow).
            StoreWriteError: The disk refused.
        """
        header = publish_shard(
            self._root, spec, modality, np.asarray(keys, dtype=KEY_DTYPE), vectors
        )
        with self._lock:
            self._pending.shards.append(header)

    def add_published(self, path: str) -> None:
        """Take a shard that another process published, for the next commit.

        Args:
            path: Relative to the store.

        Raises:
            StoreCorruptError: The shard cannot be read here or is damaged.
        """
        header = verify_shard(self._root / path)
        with self._lock:
            self._pending.shards.append(header)

    def note(self, files: Sequence[FileState], failures: Sequence[ItemFailure]) -> None:
        """Remember what files looked like and which failed, for the next commit."""
        with self._lock:
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
        with self._lock:
            pending, self._pending = self._pending, _Pending()
        if not pending:
            return True
        try:
            with self._catalog.write(patience_seconds) as connection:
                if pending.stand_ins:
                    enter_stand_ins(connection, pa.concat_tables(pending.stand_ins))
                insert_shards(connection, self._root, pending.shards)
                update_files(connection, pending.files)
                insert_failures(connection, pending.failures)
        except BaseException as error:
            with self._lock:
                self._pending = pending.followed_by(self._pending)
            if isinstance(error, StoreBusyError) and patience_seconds is not None:
                return False
            raise
        return True
