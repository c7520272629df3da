"""What makes two embeddings comparable.

Two vectors may be compared only if every choice that shaped them was the same. Those
choices are the fields of `EncoderSpec`; their digest, the *fingerprint*, names the
folder of the shards and stands in each shard and each catalog row.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = ["EncoderSpec", "content_digest"]

FINGERPRINT_HEX_DIGITS = 16
DIGEST_BYTES = 16


def content_digest(content: bytes) -> str:
    """Digest of a file's or a text's bytes: BLAKE2b with 128 bits, 32 hex digits.

    >>> content_digest(b"")
    'cae66941d9efbd404e4d88758ea67670'
    """
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


@dataclass(frozen=True)
class EncoderSpec:
    """Everything that shapes an embedding.

    Attributes:
        backbone: Human name, such as ``mini`` or ``biomedclip``. Not part of the
            fingerprint: a renamed folder with the same content is the same encoder.
        weights_digest: Digest over all tensors of the model (names, shapes, bytes).
        model_config: The architecture as its configuration names it.
        preprocess: Image size, interpolation, mean, standard deviation, resize mode.
        tokenizer: Kind and content digest of the tokenizer, and its context length.
        pooling: How tokens or positions become one vector.
        precision: Arithmetic of the forward pass: float32, bfloat16 or float16.
        output_dtype: Type of the stored numbers: float16 or float32.
        dim: D, the number of values in an embedding.
    """

    backbone: str
    weights_digest: str
    model_config: Mapping[str, object]
    preprocess: Mapping[str, object]
    tokenizer: Mapping[str, object]
    pooling: str
    precision: str
    output_dtype: str
    dim: int

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces; equal specs give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "EncoderSpec":
        """Read what `to_json` wrote.

        Raises:
            ValueError: The text is not the JSON of a spec.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not an encoder specification: {error}") from error

    @property
    def image_only(self) -> bool:
        """Whether it has no text tower.

        >>> none = {"kind": "none"}
        >>> EncoderSpec("a", "b", {}, {}, none, "", "", "", 4).image_only
        True
        """
        return self.tokenizer.get("kind") == "none"

    @property
    def imported(self) -> bool:
        """Whether its vectors were computed elsewhere.

        >>> EncoderSpec("a", "b", {"class": "external"}, {}, {}, "", "", "", 4).imported
        True
        """
        return self.model_config.get("class") == "external"

    @property
    def parts(self) -> tuple[str, ...]:
        """Fingerprints of the encoders whose vectors it has side by side; or none.

        >>> both = {"class": "concatenated", "parts": ["0a", "0b"]}
        >>> EncoderSpec("a+b", "", both, {}, {}, "", "", "", 4).parts
        ('0a', '0b')
        """
        parts = self.model_config.get("parts")
        joined = self.model_config.get("class") == "concatenated"
        return tuple(map(str, parts)) if joined and isinstance(parts, list) else ()

    @property
    def fingerprint(self) -> str:
        """16 hex digits that name this encoder.

        >>> spec = EncoderSpec("mini", "ab", {}, {}, {}, "", "float32", "float16", 4)
        >>> len(spec.fingerprint)
        16
        """
        fields = json.loads(self.to_json())
        del fields["backbone"]
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return content_digest(text.encode())[:FINGERPRINT_HEX_DIGITS]
