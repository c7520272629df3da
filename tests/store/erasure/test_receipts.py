"""Receipts stay readable: their names are those of the first version."""

import json

import pytest

from retune.store.erasure.needles import Needle, make_needles
from retune.store.erasure.receipts import Receipt

_KEY = bytes(32)
#: What version 1 writes, without its signature.
_WRITTEN = {
    "format": "retune erasure receipt",
    "version": 1,
    "erasure_id": "e1",
    "at": "2026-11-01T10:00:00Z",
    "requested_by": "the patient",
    "patients": ["0f"],
    "rows": {"images": 2},
    "files": {"shard": 1},
    "runs": {"r1": "subtracted"},
    "notes": [],
    "needles": [{"kind": "path", "n_bytes": 19, "mark": 7, "digest": "ab"}],
    "values_only": {"patient": 1},
    "previous": "",
    "link": "",
    "signature": "",
}


def test_a_receipt_of_version_1_is_read_and_written_again_as_it_was() -> None:
    receipt = Receipt.from_json(json.dumps(_WRITTEN))
    assert receipt.needles == (Needle("path", 19, 7, "ab"),)
    assert json.loads(receipt.to_json()) == _WRITTEN


def test_a_receipt_is_genuine_until_somebody_changes_it() -> None:
    needles, _ = make_needles(_KEY, [("path", b"ward/scans/4711.png")])
    receipt = Receipt.from_json(json.dumps(_WRITTEN)).signed(_KEY)
    assert receipt.is_genuine(_KEY)
    assert not receipt.is_genuine(bytes(range(32)))
    changed = Receipt(**(vars(receipt) | {"needles": tuple(needles)}))
    assert not changed.is_genuine(_KEY)


@pytest.mark.parametrize("lacking", ["format", "needles", "patients"])
def test_what_is_no_receipt_is_refused(lacking: str) -> None:
    content = {name: one for name, one in _WRITTEN.items() if name != lacking}
    with pytest.raises(ValueError, match=lacking):
        Receipt.from_json(json.dumps(content))
