"""The kit holds what a bare machine lacks, and an environment is made of it alone."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import check
import kit
import pytest
from packaging.requirements import Requirement

_BARE = Path(kit.__file__).with_name("bare.txt")
#: Of retune's own requirements those that neither `embed` nor `train` imports.
_NOT_NEEDED = {"pandas", "retune-cli"}


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def needed_by(names: set[str]) -> set[str]:
    """Packages, and what they depend on, as far as they are installed here."""
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = name_of(waiting.pop())
        if name in needed:
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        needed.add(name)
        parsed = [Requirement(line) for line in requires]
        waiting += [
            one.name
            for one in parsed
            if one.marker is None or one.marker.evaluate({"extra": ""})
        ]
    return needed


def test_nothing_is_missing_from_the_list() -> None:
    bare = needed_by(set(kit.listed(_BARE)))
    own = {
        name_of(Requirement(line).name)
        for line in importlib.metadata.requires("retune-cli") or []
        if "extra ==" not in line
    }
    needed = needed_by((own - _NOT_NEEDED) | {"pytest", "pip", "setuptools"})
    # What may be installed here beside pandas is not needed without it.
    only_pandas = needed_by({"pandas"}) - needed_by(own - _NOT_NEEDED)
    listed = {name_of(name) for name in kit.listed(kit.LIST)}
    assert needed - only_pandas - bare - listed == set()


def test_a_kit_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], *, check: bool) -> None:
        asked.append(command)
        (tmp_path / "kit" / "a.whl").write_bytes(bytes(100))

    monkeypatch.setattr(subprocess, "run", run)
    assert kit.download("3.12", tmp_path / "kit") == 100
    assert "--no-deps" in asked[0]
    assert "--abi=cp312" in asked[0]
    monkeypatch.setattr(kit, "MOST_BYTES", 50)
    with pytest.raises(SystemExit, match=r"0\.0 MB"):
        kit.download("3.12", tmp_path / "kit")


def test_an_environment_takes_from_the_kit_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip-1.whl").touch()
    (tmp_path / "a-1.whl").touch()
    commands: list[list[str]] = []

    def run(command: list[object], *, check: bool) -> None:
        words = [str(one) for one in command]
        commands.append(words)
        if "venv" in words:
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            Path(words[-1], "lib", version, "site-packages").mkdir(parents=True)

    monkeypatch.setattr(subprocess, "run", run)
    python = check.installed(tmp_path, tmp_path / "env")
    assert python == tmp_path / "env" / "bin" / "python"
    (seen,) = (tmp_path / "env").rglob("this_python.pth")
    assert "site-packages" in seen.read_text()
    assert len(commands) == 3
    for command in commands[1:]:
        assert {"--no-index", "--no-deps"} <= set(command)
        assert command[command.index("--python") + 1] == str(python)
    assert [Path(word).name for word in commands[1][-2:]] == ["a-1.whl", "pip-1.whl"]


def test_the_benchmark_runs_on_a_processor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import gpu_benchmark

    monkeypatch.setattr(gpu_benchmark, "compile_images", lambda backbone, _: backbone)
    monkeypatch.setattr(
        sys, "argv", ["gpu_benchmark.py", "--device", "cpu", "--images", "64"]
    )
    assert gpu_benchmark.main() == 0
    printed = capsys.readouterr().out
    assert printed.startswith("no card")
    for line in ("forward, compiled, batch", "embed 64 PNG", "embed 64 JPEG"):
        assert line in printed
