"""The wheel in an empty environment does what README promises for your own images."""

import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files of this checkout, without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [
            sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check",
            "--outdir", str(folder), str(ROOT),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment: this wheel, and libraries that are here already."""
    folder = tmp_path_factory.mktemp("environment") / "env"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True
    )
    packages = next((folder / "lib").glob("python3*")) / "site-packages"
    here = sysconfig.get_paths()["purelib"]
    # A folder that a .pth names is searched, but its own .pth files are not read: the
    # checkout itself is not seen.
    (packages / "libraries.pth").write_text(here + "\n")
    for name in Path(here).glob("*.pth"):
        lines = [line for line in name.read_text().splitlines() if Path(line).is_dir()]
        others = [line for line in lines if not (Path(line) / "retune").exists()]
        if others:
            (packages / name.name).write_text("\n".join(others) + "\n")
    subprocess.run(
        [
            sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"),
            "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed",
            str(wheel),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def test_both_distributions_are_well_formed(wheel: Path) -> None:
    files = [str(path) for path in wheel.parent.iterdir()]
    assert len(files) == 2
    subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files],
        check=True, capture_output=True,
    )  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "retune/py.typed" in names
    assert not [name for name in names if "mini_recipe" in name or "tests" in name]


def _commands() -> list[str]:
    """The commands of README's section about your own images."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Your own images")[2]
    block = re.search(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert block
    lines = [line.partition("#")[0].strip() for line in block[1].splitlines()]
    assert len(lines) == 8
    return lines


@pytest.mark.real
def test_readme_leads_to_a_gallery(
    environment: Path, real_data: Path, tmp_path: Path
) -> None:
    _, _, install, ingest, embed, train, report, view = _commands()
    assert "retune_cli-" in install
    bin_folder = environment / "bin"
    script = "\n".join(
        [
            f'. "{bin_folder}/activate"',
            ingest.replace("/data/ChestX-ray14", f"'{real_data / 'nih-64'}'"),
            embed,
            train,
            report,
            "test -s report.html",
        ]
    )
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    where = subprocess.run(
        [bin_folder / "python", "-c", "import retune; print(retune.__file__)"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert str(environment) in where.stdout
    _open_gallery([str(bin_folder / "retune-cli"), *view.split()[1:]], tmp_path)


def _open_gallery(command: list[str], folder: Path) -> None:
    """Start it, ask for the first page at the address that it prints, and end it."""
    import urllib.request

    with subprocess.Popen(
        [*command, "--no-browser"], cwd=folder, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as server:  # fmt: skip
        try:
            assert server.stdout
            printed = ""
            for line in server.stdout:
                printed += line
                if address := re.search(r"http://127\.0\.0\.1:\d+/\S*", line):
                    break
            assert address, printed
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            with opener.open(address[0]) as welcome:
                assert "/images" in welcome.read().decode()
            with opener.open(address[0].partition("?")[0] + "images") as page:
                assert "<img" in page.read().decode()
        finally:
            server.terminate()
