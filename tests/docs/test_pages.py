"""Every block of README and docs/ runs, page by page, in the order of reading.

A block that cannot run here has a comment `<!-- not run: REASON -->` above it.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import pytest

import retune
from retune.pipeline.datasets import layouts
from retune.pipeline.encode.backbones.families import names as backbone_names
from retune.pipeline.learn import plugins
from retune.store.errors import BackboneError, ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(
    r"(?P<remark><!--[^\n]*-->\n)?^```(?P<language>\w+)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
#: What a page says that begins with nothing.
_EMPTY = "<!-- starts in an empty folder -->"
_RUN = {"sh", "python", "sql"}
#: Languages that are not run; all others must be known.
_SHOWN = {"text", "toml", "yaml", "json", "ini", "bibtex", "csv", "html"}


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """Remark, language and code of the blocks of a page."""
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        yield block["remark"] or "", block["language"], block["code"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small demo, its store and a run."""
    folder = tmp_path_factory.mktemp("pages")
    from retune.pipeline.app.demo import draw_demo

    draw_demo(folder / "drawn", n_images=120)
    store = retune.open(folder / "feature-store", create=True)
    store.ingest(folder / "drawn", dataset="demo")
    store.embed("mini")
    store.train("label", method="analytic", bounds=False)
    return folder


def _runs(page: Path) -> bool:
    return any(
        language in _RUN and "not run:" not in remark
        for remark, language, _ in blocks(page)
    )


@pytest.mark.e2e
@pytest.mark.parametrize(
    "page", [page for page in PAGES if _runs(page)], ids=lambda page: page.stem
)
def test_its_blocks_run(
    page: Path,
    demo: Path,
    programs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "here"
    if _EMPTY in page.read_text(encoding="utf-8"):
        folder.mkdir()
    else:
        shutil.copytree(demo, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}", prepend=":")
    known: dict[str, object] = {}
    for remark, language, code in blocks(page):
        if "not run:" in remark or "plugin:" in remark or language in _SHOWN:
            continue
        if language == "python":
            exec(compile(code, page.name, "exec"), known)
        elif language == "sql":
            retune.open("feature-store").sql(code).fetchall()
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", code],
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_is_not_run_has_a_reason(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    fences = re.findall(r"^```.*$", text, re.MULTILINE)
    assert len(fences) % 2 == 0
    assert all(len(fence) > 3 for fence in fences[::2]), "a block without a language"
    for remark, language, _ in blocks(page):
        assert language in {*_RUN, *_SHOWN}, language
        if remark.startswith("<!-- not run"):
            assert re.fullmatch(r"<!-- not run: .{8,} -->\n", remark), remark


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    generated = {"reference/", "architecture.md", "changelog.md", "contributing.md"}
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("#"):
            continue
        if page.parent != ROOT and target.startswith(tuple(generated)):
            continue  # the site's own test builds these
        assert (page.parent / target.partition("#")[0]).exists(), target


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def _plugins() -> dict[str, ModuleType]:
    modules = {}
    for remark, _, code in blocks(ROOT / "docs" / "plugins.md"):
        if name := re.match(r"<!-- plugin: (\w+) -->", remark):
            module = ModuleType(f"example_{name[1]}")
            exec(compile(code, module.__name__, "exec"), vars(module))
            modules[name[1]] = module
    return modules


@pytest.mark.e2e
def test_the_examples_of_plugins_work(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = _plugins()
    for module in examples.values():
        monkeypatch.setitem(sys.modules, module.__name__, module)
    points = EntryPoints(
        [
            EntryPoint("list", "example_layout:LAYOUT", "retune.layouts"),
            EntryPoint("prevalence", "example_method:Prevalence", "retune.methods"),
            EntryPoint("scaling", "example_adaptor:Scaling", "retune.adaptors"),
            EntryPoint("thumbnail", "example_backbone:load", "retune.backbones"),
        ]
    )
    for home in (layouts, plugins, backbone_names):
        monkeypatch.setattr(
            home, "entry_points", lambda group: points.select(group=group)
        )
    (tmp_path / "list.txt").write_text("a.png\t1\tedema\nb.png\t2\tpneumonia\n")
    store = retune.open(tmp_path / "store", create=True)
    assert store.ingest(tmp_path).layout == "list"
    shutil.copytree(demo / "feature-store", tmp_path / "feature-store")
    trained = retune.open(tmp_path / "feature-store")
    findings = ["Edema", "Cardiomegaly"]
    run = trained.train("label", method="prevalence", findings=findings, bounds=False)
    assert run.matrix.iloc[-1].tolist() == [0.5, 0.5]
    scaled = trained.train("joint", adaptor="scaling", findings=findings, bounds=False)
    assert scaled.matrix.shape == (2, 2)
    for name, dim in (("thumbnail", 256), ("thumbnail:8", 64)):
        encoded = trained.embed(name, where="split = 'test'")
        assert encoded.images_encoded > 0
        query = f"SELECT dim FROM encoders WHERE backbone = '{name}'"
        assert trained.sql(query).fetchall() == [(dim,)]
    with pytest.raises(BackboneError, match="knows images only"):
        trained.search("edema", backbone="thumbnail")
    with pytest.raises(BackboneError, match="invalid literal for int"):
        trained.embed("thumbnail:big")
    with pytest.raises(ConfigurationError, match="decides itself how it decodes"):
        trained.embed("thumbnail", decode="scaled")
    with pytest.raises(ConfigurationError, match="unknown backbone 'thumbnails'"):
        trained.embed("thumbnails")
