"""Accelerators that a machine has, and those that are left idle."""

import os
from pathlib import Path

__all__ = ["count_installed", "idle_accelerator"]

_DRIVER_FOLDER = Path("/proc/driver/nvidia/gpus")


def count_installed(folder: Path = _DRIVER_FOLDER) -> int:
    """NVIDIA devices that the driver knows, whether or not torch can use them.

    Args:
        folder: Where the driver has a folder for each device.

    >>> count_installed(Path("/nowhere"))
    0
    """
    try:
        return len(os.listdir(folder))  # noqa: PTH208 - a count, not paths
    except OSError:  # no driver
        return 0


def idle_accelerator(device: str, usable: int, installed: int) -> str:
    """What to tell a user whose accelerators are not used; empty if all are.

    Args:
        device: Type of the device in use: ``cpu``, ``cuda``.
        usable: CUDA devices that torch can use.
        installed: NVIDIA devices that the driver knows.

    >>> idle_accelerator("cpu", 0, 0)
    ''
    >>> idle_accelerator("cpu", 1, 1)
    'a CUDA device is there and is not used: `device` cuda'
    """
    if device == "cpu" and usable:
        return "a CUDA device is there and is not used: `device` cuda"
    if device == "cpu" and installed:
        return (
            "this machine has an NVIDIA device that torch cannot use: is it a torch "
            "for CUDA, and does CUDA_VISIBLE_DEVICES show the device?"
        )
    if device == "cuda" and usable > 1:
        return (
            f"one of {usable} CUDA devices is used: `engine` ray `num_gpus` {usable} "
            "uses all"
        )
    return ""
