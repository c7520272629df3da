"""The store's own key: digests that only this store can recompute.

An id has few possible values, so that a plain digest of it could be found by trying
them all. Receipts and tombstones therefore hold digests under a key that never leaves
the store's folder.
"""

import hmac
import secrets
from pathlib import Path

from ..atomic_files import write_atomically
from ..errors import StoreCorruptError

__all__ = ["KEY_NAME", "keyed_digest", "make_key", "read_key"]

KEY_NAME = "erasure.key"
_KEY_BYTES = 32
_DIGEST_BYTES = 16


def read_key(root: Path) -> bytes | None:
    """The key of a store; None if nothing was ever erased from it.

    Raises:
        StoreCorruptError: The file cannot be read, or is no key.
    """
    path = root / KEY_NAME
    try:
        text = path.read_text(encoding="ascii").strip()
        key = bytes.fromhex(text)
        if len(key) != _KEY_BYTES:
            raise ValueError(f"it has {len(key)} bytes")  # noqa: TRY301 - below
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreCorruptError(
            f"{path} cannot be read: {error}",
            "Put the file back from a backup: without it erased patients are not "
            "recognised when they are ingested again.",
        ) from error
    return key


def make_key(root: Path) -> bytes:
    """The key of a store, which is drawn if it has none.

    Raises:
        StoreWriteError: The disk refused.
        StoreCorruptError: There is a file that is no key.
    """
    known = read_key(root)
    if known is not None:
        return known
    key = secrets.token_bytes(_KEY_BYTES)
    write_atomically(root / KEY_NAME, key.hex().encode())
    return key


def keyed_digest(key: bytes, id_type: str, *parts: str) -> str:
    """HMAC-SHA-256 of a kind and its parts, cut to 128 bits, as 32 hex digits.

    >>> keyed_digest(b"k" * 32, "patient", "hospital", "17")[:8]
    '99264d36'
    """
    text = "\0".join([id_type, *parts]).encode()
    return hmac.digest(key, text, "sha256")[:_DIGEST_BYTES].hex()
