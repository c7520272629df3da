"""Receipts of erasures: what was removed, in a chain that nobody can change unseen."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ..catalog import has_table
from ..errors import StoreCorruptError
from .needles import Needle

__all__ = [
    "RECEIPTS_FOLDER",
    "Receipt",
    "check_chain",
    "last_link",
    "load_receipt",
    "receipt_rows",
]

RECEIPTS_FOLDER = "receipts"
_FORMAT = "retune erasure receipt"
_VERSION = 1


@dataclass(frozen=True)
class Receipt:
    """What an erasure did. It names nobody.

    Attributes:
        erasure_id: A random id.
        at: When, in UTC, ISO 8601.
        requested_by: Who asked for it.
        patients: A keyed digest for each patient.
        rows: Table -> rows removed.
        files: Kind of file -> how many were rewritten or destroyed.
        runs: Run id -> what became of it.
        notes: What a reader must know.
        needles: What `verify` looks for.
        values_only: Kind -> names that are too short to be looked for in bytes.
        previous: Link of the receipt before it; empty for the first.
        link: Digest of all of this.
        signature: Signature of the link, under the store's key.
    """

    erasure_id: str
    at: str
    requested_by: str
    patients: tuple[str, ...]
    rows: Mapping[str, int]
    files: Mapping[str, int]
    runs: Mapping[str, str]
    notes: tuple[str, ...]
    needles: tuple[Needle, ...] = field(repr=False)
    values_only: Mapping[str, int]
    previous: str
    link: str = ""
    signature: str = ""

    def signed(self, key: bytes) -> "Receipt":
        """The same with its link and signature."""
        link = hashlib.blake2b(self._body(), digest_size=32).hexdigest()
        signature = hmac.digest(key, f"receipt {link}".encode(), "sha256").hex()
        return Receipt(**(vars(self) | {"link": link, "signature": signature}))

    def is_genuine(self, key: bytes) -> bool:
        """Whether nothing of it was changed since this store signed it."""
        wanted = self.signed(key)
        return hmac.compare_digest(
            wanted.link + wanted.signature, self.link + self.signature
        )

    def _body(self) -> bytes:
        content = asdict(self)
        del content["link"], content["signature"]
        return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()

    def to_json(self) -> str:
        """JSON text of the receipt."""
        content = {"format": _FORMAT, "version": _VERSION, **asdict(self)}
        return json.dumps(content, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Receipt":
        """Read what `to_json` wrote.

        Raises:
            ValueError: The text is no receipt.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            if content.pop("format") != _FORMAT or content.pop("version") != _VERSION:
                raise ValueError("it is of another format")
            needles = tuple(Needle(**one) for one in content.pop("needles"))
            for name in ("patients", "notes"):
                content[name] = tuple(content[name])
            return cls(needles=needles, **content)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__} {error}") from error


def load_receipt(path: Path) -> Receipt:
    """Read a receipt's file.

    Raises:
        StoreCorruptError: It cannot be read or is no receipt.
    """
    try:
        return Receipt.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreCorruptError(
            f"{path} is no receipt of an erasure: {error}",
            f"`retune-cli forget` writes them to {RECEIPTS_FOLDER}/ in the store.",
        ) from error


def receipt_rows(receipt: Receipt) -> pa.Table:
    """The receipt's row of `erasures`."""
    return pa.table(
        {
            "erasure_id": [receipt.erasure_id],
            "at": [receipt.at],
            "requested_by": [receipt.requested_by],
            "n_patients": pa.array([len(receipt.patients)], pa.int64()),
            "previous": [receipt.previous],
            "link": [receipt.link],
            "signature": [receipt.signature],
        }
    )


def last_link(connection: duckdb.DuckDBPyConnection) -> str:
    """The link of the newest receipt; empty if nothing was erased yet."""
    links = _links(connection)
    return links[-1][1] if links else ""


def check_chain(
    connection: duckdb.DuckDBPyConnection, key: bytes, receipt: Receipt
) -> list[str]:
    """Compare a receipt with the catalog's chain; a sentence per difference."""
    problems = []
    if not receipt.is_genuine(key):
        problems.append("the receipt was changed, or is another store's")
    links = _links(connection)
    if receipt.link not in [link for _, link, _ in links]:
        problems.append("the catalog does not know of this receipt")
    before = ""
    for previous, link, signature in links:
        wanted = hmac.digest(key, f"receipt {link}".encode(), "sha256").hex()
        if previous != before or signature != wanted:
            problems.append("the catalog's chain of erasures was changed")
            break
        before = link
    return problems


def _links(connection: duckdb.DuckDBPyConnection) -> Sequence[tuple[str, str, str]]:
    if not has_table(connection, "erasures"):
        return []
    rows = connection.execute(
        "SELECT previous, link, signature FROM erasures"
    ).fetchall()
    # In the order of the chain; rows themselves have none.
    after = {str(row[0]): (str(row[0]), str(row[1]), str(row[2])) for row in rows}
    chain: list[tuple[str, str, str]] = []
    before = ""
    while before in after and len(chain) < len(rows):
        chain.append(after[before])
        before = after[before][1]
    return chain + [row for row in after.values() if row not in chain]
