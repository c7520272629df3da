"""`DigestSet` answers as a plain set does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.encode.stage import digest_set
from retune.pipeline.encode.stage.digest_set import DigestSet

# Digests of few different bytes, many of them zero: these are the hard ones, because
# NumPy's byte strings do not show zeros at their end.
_DIGESTS = st.lists(st.sampled_from(["00", "01", "ff"]), min_size=16, max_size=16).map(
    "".join
)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_set, "_RECENT", 4)


@given(st.lists(st.lists(_DIGESTS, max_size=9), max_size=12), st.lists(_DIGESTS))
def test_it_answers_as_a_set(added: list[list[str]], asked: list[str]) -> None:
    ours, plain = DigestSet(), set[str]()
    for digests in added:
        ours.add(digests)
        plain.update(digests)
        for digest in [*asked, *plain]:
            assert (digest in ours) == (digest in plain)


def test_few_arrays_hold_many() -> None:
    seen = DigestSet()
    random = np.random.default_rng(0)
    for _ in range(500):
        seen.add([random.bytes(16).hex() for _ in range(4)])
    assert len(seen._sorted) < 12
