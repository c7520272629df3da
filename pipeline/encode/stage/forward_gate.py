"""Forward passes of several threads: who may compute, and for how long."""

import threading
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..backbones.contract import Backbone

__all__ = ["ForwardGate"]


class ForwardGate:
    """Lets threads through to a backbone and adds up the time that it takes.

    Threads share a processor's cores, but take turns at an accelerator: two batches
    there at once would need twice the memory and gain nothing. What is copied to it
    is copied before the turn comes.

    Args:
        backbone: Encodes.
        shared: Whether several threads may compute at the same time.
    """

    def __init__(self, backbone: "Backbone", *, shared: bool) -> None:
        self._backbone = backbone
        self._turn = nullcontext() if shared else threading.Lock()
        self._counting = threading.Lock()
        self._seconds = self._asked = 0.0

    def forward(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Encode pixels, shape (B, height, width, 3), into (B, D).

        Raises:
            RuntimeError: The backbone refuses them; torch's own, also for lack of
                memory.
        """
        staged = self._backbone.stage_images(pixels)
        with self._turn:
            started = time.perf_counter()
            try:
                return self._backbone.encode_images(staged)
            finally:
                passed = time.perf_counter() - started
                with self._counting:
                    self._seconds += passed

    def seconds_since_asked(self) -> float:
        """Time that forward passes took since the last call, all threads together."""
        with self._counting:
            passed, self._asked = self._seconds - self._asked, self._seconds
        return passed
