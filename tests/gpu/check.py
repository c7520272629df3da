"""`make gpu-check`: the tests marked `gpu`, then the benchmark.

With a kit it makes an environment that sees this Python's packages and installs the
kit's wheels and this checkout into it, from the kit only. It runs on the standard
library alone.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def installed(kit: Path, folder: Path) -> Path:
    """The Python of an environment with the kit and this checkout in it."""
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # Not --system-site-packages: this Python may itself be of an environment.
    here = [path for path in sys.path if path.endswith("-packages")]
    site = folder / "lib" / version / "site-packages"
    (site / "this_python.pth").write_text("\n".join(here) + "\n")
    pip = next(kit.glob("pip-*.whl")) / "pip"
    install = [
        sys.executable, str(pip), "--python", str(python), "install", "--quiet",
        "--no-index", "--no-deps", "--ignore-installed",
    ]  # fmt: skip
    wheels = sorted(str(path) for path in kit.glob("*.whl"))
    subprocess.run([*install, *wheels], check=True)
    editable = ["--no-build-isolation", "--editable", str(_ROOT)]
    subprocess.run([*install, *editable], check=True)
    return python


def main() -> int:
    """Install if there is a kit, test, measure; 0 if all tests passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kit", type=Path, help="folder of `make gpu-kit`")
    parser.add_argument("--device", default="cuda", help="cpu tries the checks")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--only", choices=["tests", "benchmark"])
    parser.add_argument("--environment", type=Path, default=_ROOT / "build/gpu-venv")
    arguments = parser.parse_args()
    started = time.monotonic()
    python = Path(sys.executable)
    if arguments.kit is not None:
        python = installed(arguments.kit.resolve(), arguments.environment.resolve())
        print(f"installed from {arguments.kit} in {time.monotonic() - started:.0f} s")
    environment = {**os.environ, "RETUNE_GPU_DEVICE": arguments.device}
    failed = 0
    if arguments.only != "benchmark":
        failed = subprocess.run(
            [
                # Other versions warn of other things; the tests look at figures.
                python, "-W", "default", "-m", "pytest", "-m", "gpu", "tests/gpu",
                "--confcutdir=tests/gpu", "-W", "default", "-p", "no:cacheprovider",
                "--durations=5", "-q", "--disable-warnings",
            ],
            cwd=_ROOT, env=environment, check=False,
        ).returncode  # fmt: skip
    if arguments.only != "tests":
        # What is left of 8 minutes.
        seconds = 470 - (time.monotonic() - started)
        failed |= subprocess.run(
            [
                python, "tests/gpu/gpu_benchmark.py", "--device", arguments.device,
                "--images", str(arguments.images), "--seconds", f"{seconds:.0f}",
            ],
            cwd=_ROOT, env=environment, check=False,
        ).returncode  # fmt: skip
    print(f"gpu-check took {time.monotonic() - started:.0f} s")
    return failed


if __name__ == "__main__":
    sys.exit(main())
