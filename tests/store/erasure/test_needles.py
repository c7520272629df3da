"""Needles are found wherever they begin, and nothing else is."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retune.store.erasure.needles import Searcher, make_needles

_KEY = bytes(range(32))


@given(st.binary(min_size=8, max_size=40), st.binary(max_size=60), st.binary())
def test_bytes_are_found_at_every_position(
    needle: bytes, before: bytes, after: bytes
) -> None:
    needles, short = make_needles(_KEY, [("vector", needle)])
    assert not short
    assert Searcher(_KEY, needles).search(before + needle + after)["vector"] >= 1


@given(st.binary(max_size=300))
def test_what_is_not_there_is_not_found(content: bytes) -> None:
    needle = b"ward/scans/4711.png"
    hits = Searcher(_KEY, make_needles(_KEY, [("path", needle)])[0]).search(content)
    assert bool(hits) == (needle in content)


def test_names_that_chance_would_find_are_compared_as_values_only() -> None:
    names = [b"17", b"00001234", b"p-1234567", b"1234567890123456"]
    needles, short = make_needles(_KEY, [("patient", name) for name in names])
    assert (len(needles), short) == (2, {"patient": 2})


def test_a_name_within_a_longer_number_is_another_name() -> None:
    searcher = Searcher(_KEY, make_needles(_KEY, [("patient", b"patient-12")])[0])
    assert searcher.search(b"x patient-12 y patient-123 z") == {"patient": 1}


def test_needles_at_the_edges_of_blocks_are_found() -> None:
    content = np.zeros((1 << 24) + 64, dtype=np.uint8)
    needle = np.arange(1, 33, dtype=np.uint8).tobytes()
    start = (1 << 24) - 5
    content[start : start + 32] = np.frombuffer(needle, np.uint8)
    searcher = Searcher(_KEY, make_needles(_KEY, [("vector", needle)])[0])
    assert searcher.search(content) == {"vector": 1}


def test_a_needle_does_not_tell_without_the_key() -> None:
    (one,), _ = make_needles(_KEY, [("patient", b"patient-12")])
    (other,), _ = make_needles(bytes(32), [("patient", b"patient-12")])
    assert one.digest != other.digest
    assert one.mark != other.mark
