"""Six ways to put findings into words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.descriptions import load_descriptions
from retune.pipeline.descriptions.conditions import CONDITIONS, prompt_conditions
from retune.pipeline.findings import FINDINGS
from retune.store.errors import ConfigurationError

_DESCRIBED = load_descriptions("default")


@given(
    st.lists(st.sampled_from(FINDINGS), min_size=2, max_size=8, unique=True),
    st.integers(0, 50),
)
def test_every_condition_says_both_of_every_finding(
    findings: list[str], seed: int
) -> None:
    conditions = prompt_conditions(findings, _DESCRIBED, seed)
    assert list(conditions) == list(CONDITIONS)
    wanted = {(name, side) for name in findings for side in ("positive", "negative")}
    for sentences in conditions.values():
        assert {(one.finding, one.polarity) for one in sentences} == wanted
        assert all("{" not in one.text for one in sentences)


@given(st.integers(2, len(FINDINGS)), st.integers(0, 50))
def test_shuffled_findings_get_another_ones_sentences_and_none_is_lost(
    n: int, seed: int
) -> None:
    conditions = prompt_conditions(FINDINGS[:n], _DESCRIBED, seed)
    own = {(one.finding, one.text) for one in conditions["described"]}
    assert not own & {(one.finding, one.text) for one in conditions["shuffled"]}
    texts = [
        sorted((one.polarity, one.text) for one in conditions[name])
        for name in ("described", "shuffled")
    ]
    assert texts[0] == texts[1]


def test_random_words_are_as_many_and_say_nothing() -> None:
    conditions = prompt_conditions(["Edema", "Mass"], _DESCRIBED)
    described, random = conditions["described"], conditions["random words"]
    assert len(described) == len(random)
    for sense, nonsense in zip(described, random, strict=True):
        assert (sense.finding, sense.polarity) == (nonsense.finding, nonsense.polarity)
        assert abs(len(sense.text.split()) - len(nonsense.text.split())) <= 1
    meant = {word for row in _DESCRIBED for word in row.text.lower().strip(".").split()}
    for one in random:
        said = set(one.text.split()) - {"no", "edema", "mass"}
        assert not said & meant
    assert random == prompt_conditions(["Edema", "Mass"], _DESCRIBED)["random words"]
    other = prompt_conditions(["Edema", "Mass"], _DESCRIBED, 1)
    assert random != other["random words"]


def test_structured_phrases_cross_severity_subtype_and_location() -> None:
    phrases = prompt_conditions(["Pleural_Effusion", "Goitre"], [])["structured"]
    texts = [one.text for one in phrases if one.finding == "Pleural_Effusion"]
    assert len(texts) == len(set(texts)) == 36
    assert "severe loculated pleural effusion on the left" in texts
    assert "no mild free pleural effusion on both sides" in texts
    assert "mild focal goitre on the right" in [one.text for one in phrases]


def test_one_finding_cannot_be_shuffled() -> None:
    with pytest.raises(ConfigurationError, match="at least two findings, not 1"):
        prompt_conditions(["Edema"], _DESCRIBED)
