"""Page-locked memory of a thread, for copies to and from an accelerator.

From ordinary memory the driver first copies to its own page-locked buffer, and the
processor waits meanwhile. From a page-locked buffer the accelerator fetches by itself
while it computes something else. Locking pages is slow, so that buffers are kept.
"""

import threading
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["CopyLane", "CopyLanes"]


@dataclass
class CopyLane:
    """A stream of one thread, with the buffers that its copies use.

    A thread works on one batch at a time and waits for its end, so that a buffer is
    free whenever the thread comes back to it.

    Attributes:
        device: The accelerator.
        stream: Orders this thread's copies and forward passes.
    """

    device: torch.device
    stream: torch.cuda.Stream
    _pixels: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    _vectors: torch.Tensor = field(default_factory=lambda: torch.empty(0))

    def send(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Begin to copy a batch to the device; shape and type are kept."""
        # After a failed batch a copy may still be under way.
        self.stream.synchronize()
        source = torch.from_numpy(pixels)
        self._pixels = self._grown(self._pixels, source)
        buffer = self._pixels[: source.numel()].view(source.shape)
        buffer.copy_(source)
        with torch.cuda.stream(self.stream):
            return buffer.to(self.device, non_blocking=True)

    def fetch(self, vectors: torch.Tensor) -> npt.NDArray[np.float32]:
        """Copy vectors back; the host reads them after an event says they are there."""
        self._vectors = self._grown(self._vectors, vectors)
        buffer = self._vectors[: vectors.numel()].view(vectors.shape)
        with torch.cuda.stream(self.stream):
            buffer.copy_(vectors, non_blocking=True)
            there = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch
            there.record(self.stream)
        there.synchronize()
        fetched: npt.NDArray[np.float32] = buffer.numpy().copy()
        return fetched

    def _grown(self, buffer: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The buffer, or a new one if it is too small or of another type."""
        if buffer.dtype == wanted.dtype and buffer.numel() >= wanted.numel():
            return buffer
        pinned = self.device.type == "cuda"
        return torch.empty(wanted.numel(), dtype=wanted.dtype, pin_memory=pinned)


class CopyLanes:
    """The lane of whichever thread asks.

    Args:
        device: The accelerator.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._of_thread = threading.local()

    def mine(self) -> CopyLane:
        """The calling thread's lane, made when it first asks."""
        lane: CopyLane | None = getattr(self._of_thread, "lane", None)
        if lane is None:
            # Streams do not wait for each other: the weights must have arrived.
            torch.cuda.synchronize(self._device)
            stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]  # torch
            lane = CopyLane(self._device, stream)
            self._of_thread.lane = lane
        return lane
