"""Several encoders side by side as one: `A+B` has their vectors one after the other.

Each part is brought to length 1 first, so that a cosine of the whole is the mean of the
cosines of the parts. A part that has no texts takes no part in it: its numbers are zero
in the texts of the whole, which then score images as those of the other parts do.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import EncoderRow, EncoderSpec, FeatureStore, choose_encoder
from retune.store.changes.writer import StoreWriter
from retune.store.errors import ConfigurationError
from retune.store.fingerprint import content_digest
from retune.store.queries.bulk import gather
from retune.store.queries.work import read_known_keys

from ..datasets.contamination import TrainedOn, read_trained_on
from ..progress import Progress, ProgressCallback, silent

__all__ = [
    "concatenated_encoder",
    "encoder_named",
    "extend_concatenations",
    "side_by_side",
]

_BLOCK_ROWS: Final = 16_384

Keys = npt.NDArray[np.bytes_]


def side_by_side(
    parts: Sequence[npt.NDArray[np.floating]],
) -> npt.NDArray[np.float32]:
    """Vectors of several encoders one after the other, each part of length 1.

    Args:
        parts: Shape (N, D_i) each; rows of zeros stay zero.

    Returns:
        Shape (N, ΣD_i).

    >>> side_by_side([np.array([[3.0, 4.0]]), np.array([[2.0]])]).round(1).tolist()
    [[0.6000000238418579, 0.800000011920929, 1.0]]
    """
    normalised = []
    for part in parts:
        floats = part.astype(np.float32)
        lengths = np.linalg.norm(floats, axis=1, keepdims=True)
        normalised.append(floats / np.maximum(lengths, 1e-12))
    return np.concatenate(normalised, axis=1)


def encoder_named(store: FeatureStore, name: str) -> EncoderRow:
    """The encoder of a backbone's name, or of the beginning of a fingerprint.

    Raises:
        ConfigurationError: None fits, or more than one does.
    """
    rows = store.rows("SELECT count(*) FROM encoders WHERE backbone = ?", [name])
    if rows[0][0]:
        return choose_encoder(store, backbone=name)
    return choose_encoder(store, fingerprint=name)


def concatenated_encoder(
    store: FeatureStore, backbone: str | None, progress: ProgressCallback = silent
) -> str | None:
    """The encoder ``A+B``, with vectors of all that each part has a vector of.

    What it lacks is put into the store first, from the vectors that are there.

    Args:
        store: With vectors of the parts.
        backbone: What a user named: backbones or fingerprints with ``+`` between them.
        progress: Told after each block.

    Returns:
        Its fingerprint; None if `backbone` names one encoder, or nothing.

    Raises:
        ConfigurationError: A part is unknown, or stands in it twice.
        StoreBusyError: Vectors have to be written and another process writes.
        StoreWriteError: The disk refused.
    """
    if backbone is None or "+" not in backbone:
        return None
    specs = store.rows("SELECT spec FROM encoders WHERE backbone = ?", [backbone])
    if any(not EncoderSpec.from_json(spec).parts for (spec,) in specs):
        return None  # somebody's name for one encoder
    parts = [encoder_named(store, name) for name in backbone.split("+")]
    spec = _spec(parts)
    if len(set(spec.parts)) < len(parts):
        raise ConfigurationError(
            f"{backbone} has an encoder twice",
            "Join vectors of different encoders; `retune-cli backbones` lists them.",
        )
    missing = _missing(store, spec)
    if any(len(keys) for keys in missing.values()):
        with store.writer("putting vectors side by side") as writer:
            _extend(store, writer, spec, missing, progress)
    return spec.fingerprint


def extend_concatenations(
    store: FeatureStore, writer: StoreWriter, fingerprint: str
) -> None:
    """Bring the encoders ``A+B`` up to date of which one encoder is a part.

    Raises:
        StoreWriteError: The disk refused.
    """
    rows = store.rows("SELECT spec FROM encoders WHERE spec LIKE '%\"parts\"%'")
    for (text,) in rows:
        spec = EncoderSpec.from_json(text)
        if fingerprint in spec.parts and _has_all(store, spec.parts):
            _extend(store, writer, spec, _missing(store, spec), silent)


def _has_all(store: FeatureStore, parts: Sequence[str]) -> bool:
    rows = store.rows("SELECT fingerprint FROM encoders")
    return set(parts) <= {name for (name,) in rows}


def _spec(parts: Sequence[EncoderRow]) -> EncoderSpec:
    """The same encoder, whether its parts were named by backbone or by fingerprint."""
    types = {EncoderSpec.from_json(one.spec).output_dtype for one in parts}
    return EncoderSpec(
        backbone="+".join(one.backbone for one in parts),
        weights_digest=content_digest(" ".join(p.fingerprint for p in parts).encode()),
        model_config={
            "class": "concatenated",
            "parts": [one.fingerprint for one in parts],
        },
        preprocess={},
        # As of imported vectors: whether it has texts is seen from its vectors.
        tokenizer={"kind": "external"},
        pooling="parts of length 1, one after the other",
        precision="concatenated",
        output_dtype="float32" if "float32" in types else "float16",
        dim=sum(one.dim for one in parts),
    )


def _missing(store: FeatureStore, spec: EncoderSpec) -> dict[str, Keys]:
    """Modality -> sorted digests of which the whole could have a vector and has none.

    Sentences count that every part with any texts has a vector of.
    """
    missing = {}
    for modality in ("image", "text"):
        of_parts = [read_known_keys(store, one, modality) for one in spec.parts]
        if modality == "text":
            of_parts = [keys for keys in of_parts if len(keys)]
        common = of_parts[0] if of_parts else np.empty(0, "S32")
        for keys in of_parts[1:]:
            common = np.intersect1d(common, keys, assume_unique=True)
        have = read_known_keys(store, spec.fingerprint, modality)
        missing[modality] = np.setdiff1d(common, have, assume_unique=True)
    return missing


def _extend(
    store: FeatureStore,
    writer: StoreWriter,
    spec: EncoderSpec,
    missing: dict[str, Keys],
    progress: ProgressCallback,
) -> None:
    writer.add_encoder(spec, f"concatenated:{spec.fingerprint}", "")
    writer.add_trained_on(spec.fingerprint, _trained_on(store, spec).to_table())
    for modality, keys in missing.items():
        for start in range(0, len(keys), _BLOCK_ROWS):
            some = keys[start : start + _BLOCK_ROWS]
            parts = [_vectors(store, one, modality, some) for one in spec.parts]
            writer.publish(spec, modality, some, side_by_side(parts))
            writer.commit()
            progress(Progress("side by side", start + len(some), len(keys)))


def _vectors(
    store: FeatureStore, fingerprint: str, modality: str, keys: Keys
) -> npt.NDArray[np.floating]:
    """Vectors of one part, shape (n, D); zeros if it has none of this modality."""
    names = pa.table({"item_id": keys.astype(str), "place": np.arange(len(keys))})
    with store.catalog.read() as connection:
        connection.register("wanted", names)
        places = connection.sql(
            """SELECT place, shard_id, "row" FROM wanted JOIN features USING (item_id)
            WHERE fingerprint = ? AND modality = ? ORDER BY place""",
            params=[fingerprint, modality],
        ).to_arrow_table()
        if not len(places):
            dim = connection.execute(
                "SELECT dim FROM encoders WHERE fingerprint = ?", [fingerprint]
            ).fetchall()[0][0]
            return np.zeros((len(keys), dim), dtype=np.float32)
        return gather(store, connection, places)


def _trained_on(store: FeatureStore, spec: EncoderSpec) -> TrainedOn:
    """Whoever one of the parts was trained on."""
    lists = [read_trained_on(store, one) for one in spec.parts]
    return TrainedOn(
        frozenset().union(*(one.patients for one in lists)),
        frozenset().union(*(one.images for one in lists)),
    )
