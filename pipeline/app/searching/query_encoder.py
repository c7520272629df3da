"""What is asked for becomes a vector of the store's encoder, loaded when needed."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retune.store import EncoderSpec, FeatureStore, content_digest
from retune.store.errors import ImageError
from retune.store.queries.nearest import read_vector_of

if TYPE_CHECKING:
    from ...encode.backbones.contract import Backbone
    from ..predicting.image_sources import Source

__all__ = ["QueryEncoder", "sentence_function"]

Vector = npt.NDArray[np.float32]


class QueryEncoder:
    """Encodes sentences and pictures as `embed` did; keeps its backbone in memory.

    Args:
        store: With vectors of the encoder.
        fingerprint: Fingerprint of the encoder.
        backbone: Where it lies now; None: where it was at `embed`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        allow_pickle: Take .bin and .pt files if there are no safetensors.
    """

    def __init__(
        self,
        store: FeatureStore,
        fingerprint: str,
        *,
        backbone: str | None = None,
        device: str = "auto",
        allow_pickle: bool = False,
    ) -> None:
        self.store: FeatureStore = store
        self.fingerprint: str = fingerprint
        self._name, self._device = backbone, device
        self._allow_pickle = allow_pickle
        self._backbone: Backbone | None = None
        self._sentences: dict[str, Vector] = {}

    @property
    def backbone(self) -> "Backbone":
        """The backbone, loaded when it is first asked for.

        Raises:
            BackboneError: It cannot be loaded.
            FingerprintMismatchError: It is not the one that made the store's vectors.
        """
        if self._backbone is None:
            from ...encode.reopened import reopen_backbone

            self._backbone = reopen_backbone(
                self.store,
                self.fingerprint,
                backbone=self._name,
                device=self._device,
                allow_pickle=self._allow_pickle,
            )
        return self._backbone

    def sentence(self, text: str) -> Vector:
        """The vector of a sentence, shape (D,).

        A sentence that the store has a vector of needs no backbone.
        """
        if text not in self._sentences:
            stored = self._stored_sentence(text)
            self._sentences[text] = (
                _encoded(self.backbone, text) if stored is None else stored
            )
        return self._sentences[text]

    def _stored_sentence(self, text: str) -> Vector | None:
        rows = self.store.sql(
            """SELECT embedding FROM text_features
            WHERE text_digest = ? AND fingerprint = ? LIMIT 1""",
            [content_digest(text.encode()), self.fingerprint],
        ).fetchall()
        return np.array(rows[0][0], dtype=np.float32) if rows else None

    def image(self, image_id: str) -> Vector | None:
        """The vector of an image of the store, shape (D,); None if there is none such.

        Raises:
            ConfigurationError: It is not encoded yet.
        """
        return read_vector_of(self.store, self.fingerprint, image_id)

    def picture(self, source: "Source") -> Vector:
        """The vector of a file or of a picture in memory, shape (D,).

        Raises:
            ImageError: It cannot be used.
        """
        from ...encode.vector_stream import stream_vectors
        from ..predicting.image_sources import find_images

        sources = find_images([source])
        preprocess = self.backbone.preprocess
        for batch in stream_vectors(
            self.backbone, sources, lambda item: sources.read(item, preprocess)
        ):
            if batch.errors[0]:
                raise ImageError(
                    f"the picture cannot be used: {batch.errors[0]}",
                    "PNG, JPEG, TIFF, BMP and DICOM files are read.",
                )
            return np.asarray(batch.vectors[0], dtype=np.float32)
        raise ImageError("no picture was given")


def _encoded(backbone: "Backbone", text: str) -> Vector:
    """As `embed` rounds it."""
    vectors = backbone.encode_texts([text]).astype(backbone.spec.output_dtype)
    return vectors.astype(np.float32)[0, :]


def sentence_function() -> Callable[[str, str], Vector]:
    """What gives SQL its `similarity('text')`.

    Returns:
        A function of an encoder's record (JSON) and a sentence; it loads each backbone
        once, and asks no catalog, which is open while SQL runs.
    """
    loaded: dict[str, Backbone] = {}

    def encode(record: str, text: str) -> Vector:
        from ...encode.reopened import load_encoder

        if record not in loaded:
            loaded[record] = load_encoder(EncoderSpec.from_json(record))
        return _encoded(loaded[record], text)

    return encode
