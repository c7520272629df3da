"""Encoders of a store: listed and dropped."""

from dataclasses import dataclass

from retune.store import FeatureStore
from retune.store.changes.dropping import DroppedEncoder
from retune.store.queries.tables import table_names

from ...encode.concatenation import encoder_named

__all__ = ["BackboneRow", "drop_backbone", "list_backbones"]


@dataclass(frozen=True)
class BackboneRow:
    """An encoder of a store.

    Attributes:
        fingerprint: Fingerprint of the encoder.
        backbone: Its name.
        dim: D.
        precision: Arithmetic of the forward pass; ``external``: imported.
        dtype: Type of the stored numbers.
        images: Images that have a vector.
        images_per_second: Images ÷ seconds of every `embed` with it, from files to
            vectors; None: imported, or encoded before this was kept.
        texts: Sentences that have one.
        megabytes: Size in megabytes of its shards.
        trained_on: Patients and images that its backbone says it was trained on; None:
            it does not say.
        runs: Runs that were made of its vectors.
    """

    fingerprint: str
    backbone: str
    dim: int
    precision: str
    dtype: str
    images: int
    images_per_second: float | None
    texts: int
    megabytes: float
    trained_on: int | None
    runs: int


def list_backbones(store: FeatureStore) -> list[BackboneRow]:
    """The encoders of a store, oldest first."""
    tables = table_names(store)
    trained = (
        """(SELECT nullif(count(*), 0) FROM trained_on
            WHERE trained_on.fingerprint = encoders.fingerprint)"""
        if "trained_on" in tables
        else "NULL"
    )
    rate = (
        """(SELECT sum(images) / sum(seconds) FROM encodings
            WHERE encodings.fingerprint = encoders.fingerprint)"""
        if "encodings" in tables
        else "NULL"
    )
    rows = store.rows(
        f"""SELECT fingerprint, backbone, dim, precision, dtype,
            (SELECT count(*) FROM features WHERE modality = 'image'
                AND features.fingerprint = encoders.fingerprint),
            {rate},
            (SELECT count(*) FROM features WHERE modality = 'text'
                AND features.fingerprint = encoders.fingerprint),
            (SELECT coalesce(sum(bytes), 0) / 1e6 FROM shards
                WHERE shards.fingerprint = encoders.fingerprint)::DOUBLE,
            {trained},
            (SELECT count(*) FROM runs
                WHERE runs.fingerprint = encoders.fingerprint)
        FROM encoders ORDER BY added_at"""
    )
    return [BackboneRow(*row) for row in rows]


def drop_backbone(store: FeatureStore, name: str) -> DroppedEncoder:
    """Take an encoder and its vectors out of a store; its runs are tagged.

    Args:
        store: The store.
        name: The backbone's name, the fingerprint or its beginning.

    Raises:
        ConfigurationError: No encoder, or more than one, is meant.
        StoreBusyError: Another process writes to the store.
    """
    fingerprint = encoder_named(store, name).fingerprint
    with store.writer("backbones drop") as writer:
        return writer.drop_encoder(fingerprint)
