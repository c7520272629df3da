"""The arrows between the rooms, the package list, and what start-up loads."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import retune.store
from retune.store import errors

_ROOT = Path(__file__).resolve().parents[1]
_ROOMS = ("cli", "pipeline", "store")
#: Room -> packages that it must not import, and why it is easier to live without them.
_FORBIDDEN = {
    "store": {"torch", "open_clip", "typer", "tqdm", "transformers", "timm", "PIL"},
    "pipeline": {"typer", "tqdm"},
    "pipeline/datasets": {"torch", "open_clip", "duckdb", "h5py"},
    "pipeline/describe": {"torch", "open_clip", "duckdb", "h5py"},
    "pipeline/learn": {"open_clip", "timm", "transformers", "duckdb", "h5py"},
    "pipeline/report": {"torch", "open_clip", "duckdb", "h5py"},
}
_MAY_IMPORT = {
    "cli": {"cli", "pipeline", "store"},
    "pipeline": {"pipeline", "store"},
    "store": {"store"},
}


def _files(folder: str) -> list[Path]:
    return sorted((_ROOT / folder).rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """Absolute names of all imports, relative ones resolved."""
    package = ("retune", *path.relative_to(_ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else ()
            yield ".".join([*base, *([node.module] if node.module else [])])


@pytest.mark.parametrize("room", _ROOMS)
def test_rooms_import_only_along_the_arrows(room: str) -> None:
    for path in _files(room):
        for name in _imports(path):
            parts = name.split(".")
            assert parts[0] not in _ROOMS, f"{path} imports {name} without retune."
            if parts[0] == "retune" and len(parts) > 1:
                assert parts[1] in _MAY_IMPORT[room], f"{path} imports {name}"


@pytest.mark.parametrize("folder", _FORBIDDEN)
def test_rooms_stay_free_of_heavy_or_foreign_packages(folder: str) -> None:
    for path in _files(folder):
        found = {name.split(".")[0] for name in _imports(path)}
        assert not found & _FORBIDDEN[folder], f"{path}: {found & _FORBIDDEN[folder]}"


def test_learn_and_encode_meet_in_one_file_only() -> None:
    meeting = [
        str(path.relative_to(_ROOT))
        for path in _files("pipeline")
        if {"encode", "learn"}
        <= {name.split(".")[2] for name in _imports(path) if name.count(".") > 1}
    ]
    assert meeting == ["pipeline/prediction.py"]


def test_nothing_uses_the_recipe_of_mini() -> None:
    users = {
        path.parent.name
        for path in _files("pipeline") + _files("cli")
        if any("mini_recipe" in name for name in _imports(path))
    }
    assert users <= {"mini_recipe"}


def test_open_clip_is_used_by_backbones_only() -> None:
    users = {
        path.name
        for path in _files("pipeline") + _files("cli")
        if any(name.split(".")[0] == "open_clip" for name in _imports(path))
    }
    assert users == {"backbones.py", "mini.py"}


def test_rooms_import_each_other_by_full_name_and_themselves_relatively() -> None:
    for room in _ROOMS:
        for path in _files(room):
            text = path.read_text(encoding="utf-8")
            own = re.findall(rf"^from retune\.{room}[. ].*", text, re.MULTILINE)
            outside_docstrings = [line for line in own if ">>>" not in line]
            assert not outside_docstrings or room == "cli", f"{path}: {own}"


def test_the_package_list_names_every_folder() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = project["tool"]["setuptools"]["packages"]
    folders = {
        ".".join(["retune", *path.parent.relative_to(_ROOT).parts])
        for room in _ROOMS
        for path in _files(room)
    }
    assert sorted(listed) == sorted(folders)


def _run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("retune.store", {"torch", "open_clip", "duckdb", "h5py", "pyarrow"}),
        ("retune.store.feature_store", {"torch", "open_clip", "typer", "tqdm"}),
        ("retune.cli.main", {"torch", "numpy", "duckdb", "pyarrow", "h5py", "tqdm"}),
        ("retune.pipeline.learn.scenarios", {"torch", "open_clip", "sklearn"}),
        ("retune.pipeline.learn.metrics", {"torch", "open_clip", "sklearn"}),
        ("retune.pipeline.learn.from_store", {"open_clip", "timm", "transformers"}),
        ("retune.pipeline.encode.embed", {"torch", "open_clip", "timm"}),
        ("retune.pipeline.datasets.ingest", {"torch", "duckdb"}),
    ],
)
def test_start_up_loads_only_what_is_needed(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(*(m for m in sys.modules if '.' not in m))"
    assert not set(_run(code).split()) & heavy


def test_the_public_surface_of_the_store_is_locked() -> None:
    assert sorted(retune.store.__all__) == retune.store.__all__
    assert all(getattr(retune.store, name) for name in retune.store.__all__)
    assert dir(retune.store) == retune.store.__all__
    assert len(retune.store.__all__) == 21
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        retune.store.nothing  # noqa: B018 - the access is the test


def test_every_error_is_in_the_drawn_tree() -> None:
    drawing = errors.__doc__ or ""
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, errors.RetuneError)
        assert name in drawing
        assert kind("what", "do this").hint == "do this"
        assert str(kind("what")) == "what"


@pytest.mark.parametrize("path", _files("store") + _files("pipeline") + _files("cli"))
def test_public_names_are_sorted_and_exist(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    ]
    if path.name == "__init__.py" and not lists:
        return
    assert len(lists) == 1, f"{path} has no __all__"
    (names,) = lists
    assert names == sorted(
        names, key=lambda n: (not n.isupper(), not n[0].isupper(), n)
    )


@pytest.mark.parametrize("word", ["utils", "helper", "manager", "data", "info"])
def test_no_module_has_a_name_that_says_nothing(word: str) -> None:
    names = [path.stem for room in _ROOMS for path in _files(room)]
    assert word not in names
