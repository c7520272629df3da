"""A user is told of accelerators that stay idle, and only of those."""

from pathlib import Path

import pytest

from retune.pipeline.encode.backbones.accelerators import (
    count_installed,
    idle_accelerator,
)


@pytest.mark.parametrize(
    ("device", "usable", "installed", "said"),
    [
        ("cpu", 0, 0, ""),
        ("cuda", 1, 1, ""),
        ("cpu", 2, 2, "`device` cuda"),
        ("cpu", 0, 1, "torch cannot use"),
        ("cuda", 8, 8, "`engine` ray `num_gpus` 8"),
    ],
)
def test_what_is_said(device: str, usable: int, installed: int, said: str) -> None:
    warning = idle_accelerator(device, usable, installed)
    assert said in warning
    assert bool(said) == bool(warning)


def test_devices_are_counted_without_torch(tmp_path: Path) -> None:
    for device in ("0000:17:00.0", "0000:65:00.0"):
        (tmp_path / device).mkdir()
    assert count_installed(tmp_path) == 2
