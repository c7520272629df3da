"""Lists of tokens: mapped exactly, never by substring, against a slow oracle."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.datasets.readers.openi import OPENI_HEADINGS, heading_findings
from retune.pipeline.datasets.readers.padchest import parse_list
from retune.pipeline.datasets.readers.padchest_tokens import (
    NORMAL,
    OTHER_TOKENS,
    PADCHEST_TOKENS,
    SILENT,
)
from retune.pipeline.datasets.readers.vindr import VINDR_TOKENS
from retune.pipeline.datasets.tables.image_paths import row_places
from retune.pipeline.datasets.tables.listed_labels import TokenMap, read_lists
from retune.pipeline.findings import (
    CHEXPERT_TOKENS,
    HIERARCHY,
    NIH_TOKENS,
    VOCABULARY,
    broader_findings,
    spelling_key,
)
from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE

FINDINGS = tuple(
    name
    for name in VOCABULARY
    if any(name in names for names in PADCHEST_TOKENS.values())
)
MAP = TokenMap(
    {**dict.fromkeys(OTHER_TOKENS, ()), **PADCHEST_TOKENS}.get, NORMAL, SILENT
)
TOKENS = [*PADCHEST_TOKENS, *OTHER_TOKENS, *NORMAL, *SILENT, "", "not a label"]


def slow_states(listed: list[str]) -> list[int]:
    tokens = [token.strip() for token in listed]
    if all(token == "" or token in SILENT for token in tokens):
        return [ABSENT] * len(FINDINGS)
    states = [NEGATIVE] * len(FINDINGS)
    for token in tokens:
        for finding in PADCHEST_TOKENS.get(token, ()):
            states[FINDINGS.index(finding)] = POSITIVE
    return states


@given(
    st.lists(
        st.lists(
            st.builds(
                lambda blank, token: blank + token,
                st.sampled_from(["", " "]),
                st.sampled_from(TOKENS),
            ),
            max_size=5,
        ),
        min_size=1,
        max_size=20,
    )
)
def test_states_are_those_of_a_slow_reader(rows: list[list[str]]) -> None:
    cells = pa.array([str(row) for row in rows], pa.string())
    labels = read_lists(cells, parse_list, MAP, FINDINGS, row_places)
    assert labels.states.tolist() == [slow_states(row) for row in rows]
    n_unknown = sum("not a label" in [t.strip() for t in row] for row in rows)
    assert labels.unknown["not a label"] == n_unknown


@given(st.sampled_from(sorted(PADCHEST_TOKENS)), st.text(min_size=1, max_size=5))
def test_a_longer_token_is_another_token(token: str, more: str) -> None:
    for longer in (token + more, more + token):
        if longer.strip() in TOKENS or "\0" in longer:
            continue
        labels = read_lists(
            pa.array(["x"]), lambda _, one=longer: [one], MAP, FINDINGS, row_places
        )
        assert (labels.states == NEGATIVE).all()
        assert list(labels.unknown) == [longer.strip()]


@pytest.mark.parametrize(
    ("token", "finding"),
    [
        ("pseudonodule", "Nodule"),
        ("subcutaneous emphysema", "Emphysema"),
        ("mediastinal mass", "Mass"),
        ("pericardial effusion", "Pleural Effusion"),
        ("breast mass", "Mass"),
    ],
)
def test_what_only_sounds_alike_is_negative(token: str, finding: str) -> None:
    cells = pa.array([str([token])])
    labels = read_lists(cells, parse_list, MAP, FINDINGS, row_places)
    assert labels.states[0, FINDINGS.index(finding)] == NEGATIVE


@pytest.mark.parametrize(
    "text",
    [
        "pneumonia",
        "['pneumonia'",
        "['pneumonia', 3]",
        "{'pneumonia'}",
        "__import__('os').system('true')",
        "[x for x in ()]",
        "[" * 5_000,
        "['" + "x" * 20_000 + "']",
    ],
)
def test_what_is_no_list_of_texts_is_an_error_with_its_line(text: str) -> None:
    with pytest.raises(DatasetError, match=r"row 2: .* is no list of labels"):
        read_lists(pa.array(["[]", text]), parse_list, MAP, FINDINGS, row_places)


@given(st.text(max_size=40))
def test_any_text_is_a_list_or_a_value_error(text: str) -> None:
    try:
        assert all(isinstance(token, str) for token in parse_list(text))
    except ValueError:
        return


@pytest.mark.parametrize(
    "names",
    [
        [*CHEXPERT_TOKENS.values()],
        [*NIH_TOKENS.values()],
        [*VINDR_TOKENS.values()],
        [name for names in PADCHEST_TOKENS.values() for name in names],
        [name for names in OPENI_HEADINGS.values() for name in names],
        [name for parent, names in HIERARCHY.items() for name in (parent, *names)],
    ],
)
def test_every_alias_leads_to_a_canonical_name(names: list[str]) -> None:
    assert set(names) <= set(VOCABULARY)


def test_the_vocabulary_has_no_two_spellings_of_one_finding() -> None:
    assert len({spelling_key(name) for name in VOCABULARY}) == len(VOCABULARY)


def test_no_token_is_both_a_finding_and_something_else() -> None:
    groups = [set(PADCHEST_TOKENS), set(OTHER_TOKENS), set(NORMAL), set(SILENT)]
    assert sum(map(len, groups)) == len(set().union(*groups))


def test_the_hierarchy_is_a_forest() -> None:
    children = [child for names in HIERARCHY.values() for child in names]
    assert len(set(children)) == len(children)
    for name in VOCABULARY:
        assert name not in broader_findings(name)


@given(st.sampled_from(sorted(OPENI_HEADINGS)), st.sampled_from(["left", "severe"]))
def test_qualifiers_behind_a_heading_change_nothing(heading: str, more: str) -> None:
    assert heading_findings(f"{heading}/{more}") == OPENI_HEADINGS[heading]
    assert heading_findings(f"Pseudo{heading}") == ()
