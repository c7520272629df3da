"""The fingerprint changes with whatever changes vectors, and with nothing else."""

import pytest
from store_samples import encoder

from retune.store import EncoderSpec


@pytest.mark.parametrize(
    "change",
    [
        {"weights_digest": "x"},
        {"model_config": {"layers": 3}},
        {"preprocess": {"size": 5}},
        {"tokenizer": {"kind": "u"}},
        {"pooling": "max"},
        {"precision": "bfloat16"},
        {"output_dtype": "float32"},
        {"dim": 9},
    ],
)
def test_whatever_shapes_a_vector_changes_the_fingerprint(
    change: dict[str, object],
) -> None:
    assert encoder(**change).fingerprint != encoder().fingerprint  # type: ignore[arg-type]  # by name


def test_a_name_does_not_change_the_fingerprint() -> None:
    assert encoder(backbone="elsewhere").fingerprint == encoder().fingerprint


def test_the_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    one = encoder(preprocess={"a": 1, "b": 2})
    other = encoder(preprocess={"b": 2, "a": 1})
    assert one.fingerprint == other.fingerprint


def test_the_fingerprint_of_a_known_encoder_stays_for_ever() -> None:
    assert encoder().fingerprint == "4578c01c7a912911"


def test_json_round_trip() -> None:
    assert EncoderSpec.from_json(encoder().to_json()) == encoder()
    with pytest.raises(ValueError, match="not an encoder specification"):
        EncoderSpec.from_json('{"backbone": "x", "surprise": 1}')
