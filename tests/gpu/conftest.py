"""On which device the checks run: the processor, unless `make gpu-check` says CUDA."""

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    """``cpu`` or ``cuda``; it has to be there."""
    name = os.environ.get("RETUNE_GPU_DEVICE", "cpu")
    if name != "cpu" and not torch.cuda.is_available():
        pytest.fail("torch finds no CUDA device here")
    return name
