"""Ids under a key: the same later, others under another key; nothing shines through."""

import hashlib
import hmac
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_labels import NIH_HEADER, nih_row

from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.datasets.pseudonyms import (
    key_check,
    pseudonym,
    pseudonyms,
    read_key,
)
from retune.store.errors import ConfigurationError

KEY, OTHER = b"0123456789abcdef", b"fedcba9876543210"
TABLE = "Data_Entry_2017_v2020.csv"


@given(st.lists(st.one_of(st.none(), st.text(max_size=9)), max_size=20))
def test_pseudonyms_are_hmacs_done_slowly(names: list[str | None]) -> None:
    expected = [
        None
        if name is None
        else hmac.new(KEY, f"patient\0{name}".encode(), hashlib.sha256).hexdigest()[:32]
        for name in names
    ]
    assert (
        pseudonyms(KEY, "patient", pa.array(names, pa.string())).to_pylist() == expected
    )


def test_kinds_and_keys_give_different_pseudonyms() -> None:
    pseudonyms = {
        pseudonym(key, id_type, "1")
        for key in (KEY, OTHER)
        for id_type in ("patient", "study")
    }
    assert len(pseudonyms) == 4
    assert key_check(KEY) != key_check(OTHER)


@pytest.fixture
def root(tmp_path: Path, write_table) -> Path:
    rows = [nih_row(f"{i}.png", "Mass", patient=f"4711{i // 2}") for i in range(30)]
    write_table(TABLE, NIH_HEADER, rows)
    return tmp_path


def test_a_plan_under_a_key_has_no_id_of_the_table(root: Path) -> None:
    plain, one, again, other = (
        read_dataset(root, key=key) for key in (None, KEY, KEY, OTHER)
    )
    assert one.images == again.images
    assert one.key_check == key_check(KEY)
    assert plain.key_check is None
    for name in ("patient_id", "study_id", "image_id"):
        ids = one.images[name].to_pylist()
        assert len(set(ids)) == len(set(plain.images[name].to_pylist()))
        assert not any("4711" in text or ".png" in text for text in ids)
        assert set(ids).isdisjoint(other.images[name].to_pylist())
    assert all(i.startswith("nih/") for i in one.images["image_id"].to_pylist())
    assert one.images["path"] == plain.images["path"]
    assert (one.states == plain.states).all()


def test_paths_that_name_their_patient_are_counted(tmp_path: Path, write_table) -> None:
    rows = [nih_row("4711_0.png", patient="4711"), nih_row("b.png", patient="12")]
    write_table(TABLE, NIH_HEADER, rows)
    said = "1 of 2 image paths contain their patient's id"
    assert any(said in text for text in read_dataset(tmp_path, key=KEY).warnings)
    assert not any(said in text for text in read_dataset(tmp_path).warnings)


def test_splits_under_a_key_keep_patients_apart(root: Path) -> None:
    images = read_dataset(root, key=KEY).images
    sides = images.group_by("patient_id").aggregate([("split", "count_distinct")])
    assert set(sides["split_count_distinct"].to_pylist()) == {1}


def test_a_key_file_may_end_in_a_newline(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    assert read_key(file) == KEY


@pytest.mark.parametrize("content", [b"", b"short", b" " * 40, b"x" * 70_000])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="bytes; a key has 16 to") as caught:
        read_key(file)
    assert "urandom" in caught.value.hint


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read the key .*absent"):
        read_key(tmp_path / "absent")
