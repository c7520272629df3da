"""`make gpu-kit`: the wheels that a bare machine lacks, in one folder.

It runs on the standard library alone.
"""

import shutil
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).with_name("kit.txt")
MOST_BYTES = 55_000_000
#: Tags of wheels that any Linux of the last years takes.
_GLIBC = ("2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")


def listed(file: Path) -> list[str]:
    """The names in a list, without comments."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def download(python_version: str, folder: Path) -> int:
    """Fill the folder; gives its bytes.

    Raises:
        SystemExit: A wheel cannot be had, or they are too large together.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    abi = "cp" + python_version.replace(".", "")
    tags = [f"--platform=manylinux_{one}_x86_64" for one in _GLIBC]
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
            "--only-binary=:all:", "--python-version", python_version,
            "--implementation=cp", f"--abi={abi}", "--abi=abi3", "--abi=none",
            *tags, "--platform=manylinux2014_x86_64", "--dest", str(folder),
            *listed(LIST),
        ],
        check=True,
    )  # fmt: skip
    n_bytes = sum(path.stat().st_size for path in folder.iterdir())
    if n_bytes >= MOST_BYTES:
        sys.exit(
            f"{folder}: {n_bytes / 1e6:.1f} MB, {MOST_BYTES / 1e6:.0f} are allowed"
        )
    return n_bytes


if __name__ == "__main__":
    target = Path(sys.argv[2])
    total = download(sys.argv[1], target)
    print(f"{target}: {len([*target.iterdir()])} wheels, {total / 1e6:.1f} MB")
