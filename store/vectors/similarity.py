"""`similarity('text')` in SQL: a table of images with their likeness to a sentence.

Vectors are compared where they are read; DuckDB sees one number per image. Who knows
how to encode a sentence is told to the store: it has no model of its own.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from duckdb.sqltypes import FLOAT, INTEGER, VARCHAR

from ..errors import ConfigurationError
from .cosine import cosines
from .reader import VectorReader, register_function

__all__ = ["EncodeSentence", "create_similarity"]

#: Gives the vector of a sentence, shape (D,), for an encoder's record (JSON).
EncodeSentence: TypeAlias = Callable[[str, str], npt.NDArray[np.float32]]

_SEVERAL = (
    "the store has vectors of several encoders: name one, as in "
    "similarity(''text'', encoder := ''mini'')"
)


def create_similarity(
    connection: duckdb.DuckDBPyConnection,
    reader: VectorReader,
    encode: EncodeSentence | None,
) -> None:
    """Define the table function ``similarity(sentence, encoder := NULL)``.

    It has a row per encoded image: `image_id`, `fingerprint` and `similarity`, the
    cosine of the image with the sentence. Only images that are left after a filter are
    compared where DuckDB can move the filter before it.

    Args:
        connection: With the stored tables and the view `image_places`.
        reader: Reader of the store's shards.
        encode: Encodes sentences; None: the function says that it cannot.
    """
    records = dict(
        connection.execute("SELECT fingerprint, spec FROM encoders").fetchall()
    )
    register_function(
        connection,
        "sentence_similarity",
        _row_function(reader, records, encode),
        [VARCHAR, VARCHAR, INTEGER, VARCHAR],
        FLOAT,
    )
    connection.execute(
        f"""CREATE TEMP MACRO similarity(sentence, encoder := NULL) AS TABLE
        SELECT image_id, fingerprint, sentence_similarity(
            fingerprint, shard_id, "row", sentence::VARCHAR) AS similarity
        FROM image_places WHERE fingerprint IN (
            SELECT fingerprint FROM encoders WHERE CASE
                WHEN encoder IS NOT NULL
                    THEN backbone = encoder OR starts_with(fingerprint, encoder)
                WHEN (SELECT count(DISTINCT fingerprint) FROM shards
                    WHERE modality = 'image') > 1 THEN error('{_SEVERAL}')
                ELSE true END)"""
    )


def _row_function(
    reader: VectorReader,
    records: Mapping[str, str],
    encode: EncodeSentence | None,
) -> Callable[..., Any]:
    known: dict[tuple[str, str], npt.NDArray[np.float32]] = {}

    def direction(fingerprint: str, sentence: str) -> npt.NDArray[np.float32]:
        if encode is None:
            raise ConfigurationError(
                "a sentence needs the backbone: use `retune-cli sql`, or the `sql` of "
                "retune.open(...)"
            )
        if (fingerprint, sentence) not in known:
            vector = encode(records[fingerprint], sentence)
            known[fingerprint, sentence] = vector / np.linalg.norm(vector)
        return known[fingerprint, sentence]

    def sentence_similarity(
        fingerprint: pa.Array, shard: pa.Array, row: pa.Array, sentence: pa.Array
    ) -> pa.Array:
        out = np.empty(len(row), dtype=np.float32)
        kinds, codes = _pairs(fingerprint, sentence)
        shards = _encoded(shard)
        shard_ids = shards.dictionary.to_pylist()
        shard_codes = shards.indices.to_numpy(zero_copy_only=False)
        rows = row.to_numpy(zero_copy_only=False)
        for code, pair in enumerate(kinds):
            chosen = np.flatnonzero(codes == code)
            vectors = reader.gather(shard_ids, shard_codes[chosen], rows[chosen])
            out[chosen] = cosines(vectors, direction(*pair))
        return pa.array(out)

    return sentence_similarity


def _encoded(column: pa.Array) -> pa.DictionaryArray:
    encoded = pc.dictionary_encode(column)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded


def _pairs(
    first: pa.Array, second: pa.Array
) -> tuple[list[tuple[str, str]], npt.NDArray[np.int64]]:
    """The distinct pairs of two columns, and which of them each row has."""
    a, b = _encoded(first), _encoded(second)
    names_a, names_b = a.dictionary.to_pylist(), b.dictionary.to_pylist()
    codes = a.indices.to_numpy(zero_copy_only=False).astype(np.int64) * len(names_b)
    codes = codes + b.indices.to_numpy(zero_copy_only=False)
    distinct, inverse = np.unique(codes, return_inverse=True)
    pairs = [(names_a[c // len(names_b)], names_b[c % len(names_b)]) for c in distinct]
    return pairs, inverse
