"""The canonical findings, and what CheXpert and NIH call them."""

import csv
import gzip
import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.findings import (
    ALIASES,
    CHEXPERT_TOKENS,
    FINDINGS,
    NIH_TOKENS,
    NO_FINDING,
    VOCABULARY,
    alias_of,
    canonical_name,
    spelling_key,
)
from retune.store.errors import ConfigurationError


def test_vocabulary_is_the_union_of_both_data_sets() -> None:
    assert set(FINDINGS) == {*CHEXPERT_TOKENS.values(), *NIH_TOKENS.values()}
    assert len(FINDINGS) == len(set(FINDINGS)) == 20
    assert len(CHEXPERT_TOKENS) == 13
    assert len(NIH_TOKENS) == 14


def test_no_finding_is_not_a_finding() -> None:
    assert NO_FINDING not in {*FINDINGS, *CHEXPERT_TOKENS, *NIH_TOKENS}


def test_canonical_findings_never_collide_when_spelled_differently() -> None:
    assert len({spelling_key(finding) for finding in FINDINGS}) == len(FINDINGS)


def test_nih_tokens_become_chexpert_names() -> None:
    assert NIH_TOKENS["Effusion"] == "Pleural Effusion"
    assert NIH_TOKENS["Pleural_Thickening"] == "Pleural Thickening"


def test_chexpert_columns_of_the_published_table_are_all_mapped() -> None:
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        pytest.skip("torchxrayvision, which carries the label tables, is not installed")
    table = Path(spec.origin).parent / "data" / "chexpert_train.csv.gz"
    with gzip.open(table, "rt", encoding="utf-8") as lines:
        columns = next(csv.reader(lines))
    described = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", NO_FINDING]
    assert columns == [*described, *CHEXPERT_TOKENS]


@pytest.mark.real
@pytest.mark.parametrize("pool", ["nih-320", "nih-64", "nih-1024"])
def test_every_token_of_a_real_nih_table_is_mapped(real_data: Path, pool: str) -> None:
    table = real_data / pool / "Data_Entry_2017_v2020.csv"
    with table.open(encoding="utf-8", newline="") as lines:
        cells = [row["Finding Labels"] for row in csv.DictReader(lines)]
    tokens = {token for cell in cells for token in cell.split("|")}
    assert tokens <= {*NIH_TOKENS, NO_FINDING}
    if pool == "nih-320":
        assert {"Pneumonia", "Effusion", "Pleural_Thickening", NO_FINDING} <= tokens


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_user_may_write_a_finding_in_any_case_and_with_underscores(
    finding: str,
) -> None:
    for spelling in (finding, finding.lower(), finding.upper().replace(" ", "_")):
        assert canonical_name(spelling, FINDINGS) == finding


def test_a_hospitals_own_finding_is_known_when_its_store_holds_it() -> None:
    assert canonical_name("RIB_FRACTURE", ["Rib fracture"]) == "Rib fracture"


def test_an_exact_name_wins_over_another_spelling() -> None:
    assert canonical_name("edema", ["Edema", "edema"]) == "edema"


def test_a_spelling_that_may_mean_two_findings_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="any of: Edema, edema"):
        canonical_name("EDEMA", ["edema", "Edema"])


def test_part_of_a_name_is_never_enough() -> None:
    with pytest.raises(ConfigurationError, match="'Pleural Effus'") as caught:
        canonical_name("Pleural Effus", FINDINGS)
    assert "'Pleural Effusion'" in caught.value.hint
    with pytest.raises(ConfigurationError):
        canonical_name("Pseudonodule", FINDINGS)


@pytest.mark.parametrize(
    "name", ["Effusion", "EFFUSION", "Pleuraerguss", "pleural_effusion"]
)
def test_names_elsewhere_are_understood(name: str) -> None:
    assert canonical_name(name, FINDINGS) == "Pleural Effusion"
    assert canonical_name(name, ["Edema", "Effusion"]) == "Effusion"


def test_a_name_elsewhere_never_means_two() -> None:
    known = ["Pleural Effusion", "Erguss"]
    assert canonical_name("Erguss", known) == "Erguss"
    with pytest.raises(ConfigurationError):
        canonical_name("Effusion", known)


def test_no_name_elsewhere_is_a_canonical_one() -> None:
    canonical = {spelling_key(name) for name in VOCABULARY}
    assert not {spelling_key(name) for name in ALIASES} & canonical
    assert set(ALIASES.values()) <= set(VOCABULARY)


def test_a_slip_is_answered_with_close_names() -> None:
    with pytest.raises(ConfigurationError, match="unknown finding") as caught:
        canonical_name("cardiomegally", FINDINGS)
    assert caught.value.hint == "Did you mean 'Cardiomegaly'?"


def test_a_name_like_no_other_is_answered_with_the_list() -> None:
    with pytest.raises(ConfigurationError) as caught:
        canonical_name("xyzzy", ["Edema", "Mass"])
    assert caught.value.hint == "Known findings: Edema, Mass."


def test_choosing_among_no_findings_says_so() -> None:
    with pytest.raises(ConfigurationError) as caught:
        canonical_name("Edema", [])
    assert "no findings" in caught.value.hint


def test_asking_for_no_finding_explains_that_it_is_derived() -> None:
    with pytest.raises(ConfigurationError) as caught:
        canonical_name("no_finding", FINDINGS)
    assert "derived" in caught.value.hint


@given(st.text())
def test_any_text_is_either_a_known_finding_or_a_named_error(name: str) -> None:
    if spelling_key(name) in {spelling_key(finding) for finding in FINDINGS}:
        assert canonical_name(name, FINDINGS) in FINDINGS
        return
    if alias_of(name) in FINDINGS:
        assert canonical_name(name, FINDINGS) in FINDINGS
        return
    with pytest.raises(ConfigurationError) as caught:
        canonical_name(name, FINDINGS)
    assert repr(name) in caught.value.message
    assert caught.value.hint
