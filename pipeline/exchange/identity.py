"""What makes vectors from elsewhere comparable: an encoder known by name only."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from retune.store import EncoderSpec
from retune.store.checksums import crc32
from retune.store.errors import DatasetError
from retune.store.fingerprint import DIGEST_BYTES

__all__ = ["EXTERNAL", "external_spec", "source_digest"]

EXTERNAL: Final = "external"
_PIECE_BYTES = 1 << 20


def external_spec(
    name: str,
    version: str,
    source: str,
    preprocessing: str,
    *,
    output_dtype: str,
    dim: int,
) -> EncoderSpec:
    """The specification of an encoder whose vectors were computed elsewhere.

    Args:
        name: Name of the backbone, as its users call it.
        version: Version of the backbone or of the release of its vectors.
        source: Digest of the files that the vectors came in.
        preprocessing: How the pictures were prepared, in words.
        output_dtype: ``float16`` or ``float32``.
        dim: D.

    >>> external_spec("medsiglip", "1", "ab", "", output_dtype="float32", dim=4).dim
    4
    """
    return EncoderSpec(
        backbone=name,
        weights_digest=source,
        model_config={"class": EXTERNAL, "name": name, "version": version},
        preprocess={"text": preprocessing},
        tokenizer={"kind": EXTERNAL},
        pooling=EXTERNAL,
        precision=EXTERNAL,
        output_dtype=output_dtype,
        dim=dim,
    )


def source_digest(paths: Iterable[Path]) -> str:
    """Digest of files: of their names, sizes, and the CRC-32 of each of their MiB.

    It tells files apart that are not the same; it is no protection against somebody
    who makes files to deceive. It reads at the speed of memory, where hashing all bytes
    would take longer than importing them.

    Raises:
        DatasetError: A file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    buffer = bytearray(_PIECE_BYTES)
    for path in sorted(_files(paths)):
        digest.update(f"{path.name}|".encode())
        try:
            with path.open("rb", buffering=0) as file:
                while n_read := file.readinto(buffer):
                    check = crc32(memoryview(buffer)[:n_read])
                    digest.update(f"{n_read}:{check}|".encode())
        except OSError as error:
            raise DatasetError(f"cannot read {path}: {error}") from error
    return digest.hexdigest()


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in path.rglob("*") if file.is_file())
        else:
            yield path
