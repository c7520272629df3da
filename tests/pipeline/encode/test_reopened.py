"""A store's backbone is loaded again, or it is said why it cannot be."""

import json
from pathlib import Path

import pytest
from image_samples import write_tiny_backbone

from retune.pipeline.encode.backbones.chunking import with_long_texts
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.source import source_of
from retune.pipeline.encode.reopened import reopen_backbone
from retune.pipeline.encode.sentences import encode_sentences
from retune.store import EncoderSpec, FeatureStore
from retune.store.errors import (
    BackboneError,
    ConfigurationError,
    FingerprintMismatchError,
    StoreCorruptError,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_backbone(tmp_path_factory.mktemp("reopened") / "tiny")


def _spec(tiny: str, long: str = "cut") -> EncoderSpec:
    options = {"precision": "float32", "output_dtype": "float32"}
    return with_long_texts(
        load_backbone(source_of(tiny, **options), **options), long
    ).spec


@pytest.fixture
def store(tmp_path: Path, tiny: str) -> FeatureStore:
    store = FeatureStore.create(tmp_path / "store")
    with store.writer("test") as writer:
        for long in ("cut", "chunk"):
            writer.add_encoder(_spec(tiny, long), f"digest-{long}", "cpu")
    return store


@pytest.mark.parametrize("long", ["cut", "chunk"])
def test_the_same_backbone_is_given(store: FeatureStore, tiny: str, long: str) -> None:
    fingerprint = _spec(tiny, long).fingerprint
    loaded = reopen_backbone(store, fingerprint, device="cpu")
    assert loaded.spec.fingerprint == fingerprint


def test_it_may_lie_elsewhere_now(
    store: FeatureStore, tiny: str, tmp_path: Path
) -> None:
    moved = write_tiny_backbone(tmp_path / "moved")
    fingerprint = _spec(tiny).fingerprint
    loaded = reopen_backbone(store, fingerprint, backbone=moved, device="cpu")
    assert loaded.spec.fingerprint == fingerprint


def test_another_backbone_is_refused(
    store: FeatureStore, tiny: str, tmp_path: Path
) -> None:
    other = write_tiny_backbone(tmp_path / "other", seed=1)
    with pytest.raises(FingerprintMismatchError, match="the store's vectors are of"):
        reopen_backbone(store, _spec(tiny).fingerprint, backbone=other)


def test_an_encoder_that_the_store_lacks_is_refused(store: FeatureStore) -> None:
    with pytest.raises(ConfigurationError, match="has no encoder 00ff"):
        reopen_backbone(store, "00ff")


@pytest.mark.parametrize("spec", ["{}", "not JSON", json.dumps([1])])
def test_a_damaged_record_is_named(store: FeatureStore, tiny: str, spec: str) -> None:
    fingerprint = _spec(tiny).fingerprint
    store.sql(
        "UPDATE encoders SET spec = ? WHERE fingerprint = ?", [spec, fingerprint],
        write=True,
    )  # fmt: skip
    with pytest.raises(StoreCorruptError, match=fingerprint):
        reopen_backbone(store, fingerprint)


def test_a_backbone_that_is_gone_is_named(store: FeatureStore, tiny: str) -> None:
    fingerprint = _spec(tiny).fingerprint
    with pytest.raises(BackboneError, match="no folder"):
        reopen_backbone(store, fingerprint, backbone="local-dir:/nowhere")
    with pytest.raises(ConfigurationError, match="unknown backbone"):
        reopen_backbone(store, fingerprint, backbone="nonsense")


def test_a_device_that_is_absent_is_named(store: FeatureStore, tiny: str) -> None:
    with pytest.raises(ConfigurationError, match="warp"):
        reopen_backbone(store, _spec(tiny).fingerprint, device="warp")


def test_sentences_are_encoded_once_each(store: FeatureStore, tiny: str) -> None:
    fingerprint = _spec(tiny).fingerprint
    vectors = encode_sentences(store, fingerprint, ["one", "two", "one"], device="cpu")
    assert list(vectors) == ["one", "two"]
    assert vectors["one"].shape == (16,)
    assert encode_sentences(store, fingerprint, []) == {}
