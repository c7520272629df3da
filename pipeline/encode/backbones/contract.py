"""A frozen image-text model, ready to encode."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from retune.store import EncoderSpec
from retune.store.errors import BackboneError
from retune.store.fingerprint import DIGEST_BYTES

from ..images.preprocess import Preprocess
from .pinned import CopyLanes

__all__ = ["PRECISIONS", "Backbone", "weights_digest"]

PRECISIONS: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
#: Values that are converted at once; torch shares 32,768 and more among threads.
_PIECE = 32_767


def weights_digest(model: torch.nn.Module) -> str:
    """Digest of every tensor of a model: its name, type, shape and bytes.

    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> _ = model.weight.data.fill_(1)
    >>> len(weights_digest(model))
    32
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        content = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(content.view(torch.uint8).numpy())
    return digest.hexdigest()


@dataclass(frozen=True)
class Backbone:
    """A model with its preprocessing, its tokenizer and its identity.

    Attributes:
        model: With `visual`, `encode_image` and perhaps `encode_text`, in evaluation
            mode, on `device`.
        preprocess: Preprocessing of the weights, not of a default.
        tokenizer: Callable: sentences -> token ids, shape (B, context); None: the
            backbone knows images only.
        spec: What makes its vectors comparable.
        device: Where it runs.
        copies: How threads copy to and from an accelerator; None on a processor.
    """

    model: Any
    preprocess: Preprocess
    tokenizer: Any
    spec: EncoderSpec
    device: torch.device
    copies: CopyLanes | None = None

    def stage_images(
        self, pixels: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.uint8] | torch.Tensor:
        """Begin to copy preprocessed pixels to where `encode_images` needs them.

        An accelerator may compute something else meanwhile. The calling thread has to
        encode one batch before it stages the next.

        Args:
            pixels: Shape (B, height, width, 3).
        """
        return pixels if self.copies is None else self.copies.mine().send(pixels)

    def encode_images(
        self, pixels: npt.NDArray[np.uint8] | torch.Tensor
    ) -> npt.NDArray[np.float32]:
        """Encode preprocessed pixels, shape (B, height, width, 3), into (B, D).

        Args:
            pixels: As they are, or as `stage_images` gave them to the same thread.
        """
        if isinstance(pixels, np.ndarray):
            pixels = self.stage_images(pixels)
        if self.copies is None:
            return _to_numpy(self._forward(pixels))
        lane = self.copies.mine()
        with torch.cuda.stream(lane.stream):
            vectors = self._forward(pixels)
        return lane.fetch(vectors)

    def _forward(self, pixels: npt.NDArray[np.uint8] | torch.Tensor) -> torch.Tensor:
        """Vectors, shape (B, D), float32, on the device."""
        with torch.inference_mode(), self._arithmetic():
            batch = self.preprocess.normalise(pixels, self.device)
            vectors: torch.Tensor = self.model.encode_image(batch.to(self._input_dtype))
            return vectors.float()

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode sentences into shape (B, D); what exceeds the context is cut off.

        Raises:
            BackboneError: The backbone knows images only.
        """
        if self.tokenizer is None:
            raise BackboneError(
                f"'{self.spec.backbone}' knows images only and cannot encode sentences",
                "Use a backbone with a text tower, such as mini.",
            )
        tokens = self.tokenizer(list(texts)).to(self.device)
        with torch.inference_mode(), self._arithmetic():
            return _to_numpy(self.model.encode_text(tokens))

    def narrow(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.floating]:
        """Convert vectors, shape (n, D), to the type that they are stored in.

        The same numbers as NumPy's conversion, which takes one value at a time where
        torch takes sixteen (579 µs against 17 for 256×512 to float16). What is too
        large becomes infinite.
        """
        source = torch.from_numpy(np.ascontiguousarray(vectors)).view(-1)
        narrowed = torch.empty_like(source, dtype=PRECISIONS[self.spec.output_dtype])
        # Pieces that torch does not share among threads: waking them takes longer, on
        # a busy machine 2 ms.
        targets, parts = (torch.split(one, _PIECE) for one in (narrowed, source))
        for target, part in zip(targets, parts, strict=True):
            target.copy_(part)
        narrow_vectors: npt.NDArray[np.floating] = narrowed.view(vectors.shape).numpy()
        return narrow_vectors

    @staticmethod
    def use_threads(n_threads: int) -> None:
        """Tell the calling thread's forward passes how many threads to use."""
        torch.set_num_threads(n_threads)

    @property
    def _input_dtype(self) -> torch.dtype:
        """On a processor the weights are converted; elsewhere autocast does it."""
        on_processor = self.device.type == "cpu"
        return PRECISIONS[self.spec.precision] if on_processor else torch.float32

    def _arithmetic(self) -> torch.autocast:
        dtype = PRECISIONS[self.spec.precision]
        return torch.autocast(
            self.device.type,
            dtype=dtype,
            enabled=dtype is not torch.float32 and self.device.type != "cpu",
        )


def _to_numpy(vectors: torch.Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = vectors.float().cpu().numpy()
    return array
