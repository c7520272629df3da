"""NumPy's generator as numbers, so that a run can go on where it stopped."""

import numpy as np
import torch
from torch import Tensor

__all__ = ["random_from_tensor", "random_to_tensor"]

_LOW = (1 << 32) - 1


def random_to_tensor(random: np.random.Generator) -> Tensor:
    """The state of a PCG64 generator, shape (10,), int64; each number below 2³².

    >>> one = np.random.default_rng(3)
    >>> other = random_from_tensor(random_to_tensor(one))
    >>> bool((one.permutation(9) == other.permutation(9)).all())
    True
    """
    state = random.bit_generator.state
    numbers = [
        (state["state"][name] >> shift) & _LOW
        for name in ("state", "inc")
        for shift in (0, 32, 64, 96)
    ]
    return torch.tensor([*numbers, state["has_uint32"], state["uinteger"]])


def random_from_tensor(numbers: Tensor) -> np.random.Generator:
    """A generator that goes on from `random_to_tensor`."""
    values = [int(number) for number in numbers]

    def joined(words: list[int]) -> int:
        return sum(word << (32 * index) for index, word in enumerate(words))

    generator = np.random.PCG64()
    generator.state = {
        "bit_generator": "PCG64",
        "state": {"state": joined(values[:4]), "inc": joined(values[4:8])},
        "has_uint32": values[8],
        "uinteger": values[9],
    }
    return np.random.Generator(generator)
