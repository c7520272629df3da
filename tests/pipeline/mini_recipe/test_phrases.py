"""Sentences for training mini's text tower."""

from pathlib import Path

import pytest
import yaml

from retune.pipeline.findings import FINDINGS
from retune.pipeline.mini_recipe.phrases import compose_sentences, load_phrases

_PARAPHRASES = Path(__file__).parents[1] / "encode" / "backbones" / "paraphrases.yaml"


def test_the_same_seed_draws_the_same_sentences() -> None:
    phrases = load_phrases(FINDINGS)
    draws = [
        compose_sentences(phrases, "Edema", positive=True, n=50, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("finding", FINDINGS)
def test_every_finding_has_names_signs_and_a_normal_look(finding: str) -> None:
    wording = load_phrases(FINDINGS).wordings[finding]
    assert len(wording.names) >= 12
    assert len(wording.signs) >= 5
    assert len(wording.normal) >= 5
    assert len(wording.described) >= 8
    assert len(wording.denied) >= 8


@pytest.mark.parametrize("finding", FINDINGS)
def test_assertions_and_denials_share_no_sentence(finding: str) -> None:
    phrases = load_phrases(FINDINGS)
    asserted, denied = (
        set(compose_sentences(phrases, finding, positive=positive, n=300, seed=0))
        for positive in (True, False)
    )
    assert not asserted & denied
    assert not any("{" in sentence for sentence in asserted | denied)
    assert not any(" an " in f" {s.lower()} " and s.startswith("No an") for s in denied)


def test_a_finding_without_phrases_is_spoken_of_by_its_name() -> None:
    phrases = load_phrases(["Edema", "Situs Inversus"])
    drawn = compose_sentences(phrases, "Situs Inversus", positive=True, n=20, seed=0)
    assert all("situs inversus" in sentence.lower() for sentence in drawn)


def test_no_test_paraphrase_was_trained_on() -> None:
    phrases = load_phrases(FINDINGS)
    trained = {
        _plain(sentence)
        for finding in FINDINGS
        for positive in (True, False)
        for sentence in compose_sentences(
            phrases, finding, positive=positive, n=2000, seed=0
        )
    }
    tested = yaml.safe_load(_PARAPHRASES.read_text(encoding="utf-8"))
    sentences = [
        sentence
        for polarities in tested.values()
        for listed in polarities.values()
        for sentence in listed
    ]
    assert len(sentences) >= 60
    assert not [one for one in sentences if _plain(one) in trained]


def _plain(sentence: str) -> str:
    return sentence.lower().strip(" .")
