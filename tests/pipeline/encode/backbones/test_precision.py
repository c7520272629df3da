"""Faster arithmetic is taken only where vectors stay what they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from image_samples import write_tiny_backbone

from retune.pipeline.encode.backbones import precision as precision_module
from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.precision import (
    LEAST_COSINE,
    agreement,
    choose_precision,
    with_precision,
)
from retune.pipeline.encode.backbones.source import source_of
from retune.pipeline.platform.processor import has_bfloat16


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    folder = write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")
    source = source_of(folder, precision="float32", output_dtype="float16")
    return load_backbone(source, precision="float32", device="cpu")


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test found to agree is measured again."""
    monkeypatch.setattr(precision_module, "_agree", {})


def _on_a_processor(monkeypatch: pytest.MonkeyPatch, *, bfloat16: bool) -> None:
    monkeypatch.setattr(precision_module, "has_bfloat16", lambda: bfloat16)


def test_a_processor_without_bfloat16_stays_exact(
    exact: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_a_processor(monkeypatch, bfloat16=False)
    assert choose_precision(exact) is exact


def test_bfloat16_is_taken_where_vectors_agree(
    exact: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_a_processor(monkeypatch, bfloat16=True)
    chosen = choose_precision(exact)
    assert chosen.spec.precision == "bfloat16"
    assert chosen.spec.fingerprint != exact.spec.fingerprint
    assert min(agreement(exact, chosen)) >= LEAST_COSINE
    assert next(chosen.model.parameters()).dtype is torch.bfloat16
    assert next(exact.model.parameters()).dtype is torch.float32


def test_a_model_that_suffers_stays_exact(
    exact: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_a_processor(monkeypatch, bfloat16=True)
    monkeypatch.setattr(precision_module, "agreement", lambda *_: (0.9999, 0.98))
    assert choose_precision(exact) is exact


def test_it_is_measured_once(exact: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    _on_a_processor(monkeypatch, bfloat16=True)
    measured: list[Backbone] = []

    def agree(_: Backbone, other: Backbone) -> tuple[float, float]:
        measured.append(other)
        return 1.0, 0.0 if other.spec.output_dtype == "float32" else 1.0

    monkeypatch.setattr(precision_module, "agreement", agree)
    other = replace(exact, spec=replace(exact.spec, output_dtype="float32"))
    for _ in range(2):
        assert choose_precision(exact).spec.precision == "bfloat16"
        assert choose_precision(other) is other
    assert len(measured) == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_never_agree(exact: Backbone, bad: float) -> None:
    class _Broken(torch.nn.Module):
        def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.full((len(batch), 16), bad)

        def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(tokens), 16)

    broken = replace(exact, model=_Broken())
    assert agreement(exact, broken)[0] == -1


@pytest.mark.parametrize("settled", ["float32", "bfloat16"])
def test_vectors_that_are_there_already_decide(
    exact: Backbone, monkeypatch: pytest.MonkeyPatch, settled: str
) -> None:
    _on_a_processor(monkeypatch, bfloat16=settled == "float32")
    known = {replace(exact.spec, precision=settled).fingerprint, "another"}
    assert choose_precision(exact, known).spec.precision == settled


def test_the_same_arithmetic_is_the_same_backbone(exact: Backbone) -> None:
    assert with_precision(exact, "float32") is exact


def test_float16_on_a_processor_gives_finite_vectors(exact: Backbone) -> None:
    assert min(agreement(exact, with_precision(exact, "float16"))) >= LEAST_COSINE


def test_this_processor_is_asked() -> None:
    assert has_bfloat16() in (True, False)
    assert has_bfloat16("Features : fp asimd bf16")
