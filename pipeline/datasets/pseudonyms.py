"""Ids become keyed digests: who has no key can neither read nor recompute them.

HMAC-SHA-256 (RFC 2104) of the kind of id, a NUL and the id, cut to 128 bits. The same
key gives the same ids later, on any machine. The key stays outside the store.
"""

import hmac
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import ConfigurationError

__all__ = ["key_check", "pseudonym", "pseudonyms", "read_key"]

_LEAST_BYTES: Final = 16
_MOST_BYTES: Final = 1 << 16
_DIGEST_BYTES: Final = 16


def read_key(file: Path) -> bytes:
    """The bytes of a key file, without white space around them.

    Raises:
        ConfigurationError: It cannot be read, or is too short or long to be a key.
    """
    hint = "Make one with: head -c 32 /dev/urandom | base64 > KEYFILE; keep it safe."
    try:
        with file.open("rb") as stream:
            key = stream.read(_MOST_BYTES + 1).strip()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(
            f"cannot read the key {file}: {reason}", hint
        ) from error
    if not _LEAST_BYTES <= len(key) <= _MOST_BYTES:
        raise ConfigurationError(
            f"the key {file} has {len(key):,} bytes; a key has {_LEAST_BYTES} to "
            f"{_MOST_BYTES:,}",
            hint,
        )
    return key


def pseudonym(key: bytes, id_type: str, name: str) -> str:
    """32 hex digits that stand for an id.

    >>> pseudonym(b"0123456789abcdef", "patient", "17")
    '80b94fd0286694e84fec73180fad2185'
    """
    text = f"{id_type}\0{name}".encode()
    return hmac.digest(key, text, "sha256")[:_DIGEST_BYTES].hex()


def pseudonyms(key: bytes, id_type: str, names: pa.StringArray) -> pa.StringArray:
    """The pseudonyms of N ids; each distinct one is computed once, null stays null."""
    encoded = pc.dictionary_encode(names)
    digests = [pseudonym(key, id_type, name) for name in encoded.dictionary.to_pylist()]
    return pa.array(digests, pa.string()).take(encoded.indices)


def key_check(key: bytes) -> str:
    """16 hex digits that tell keys apart and tell nothing of the key."""
    return pseudonym(key, "key", "check")[:16]
