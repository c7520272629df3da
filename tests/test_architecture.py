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
_ROOMS = ("cli", "pipeline", "retune", "store")
#: Room -> packages that it must not import, and why it is easier to live without them.
_FORBIDDEN = {
    "store": {"torch", "open_clip", "typer", "tqdm", "transformers", "timm", "PIL"},
    "pipeline": {"typer"},
    "pipeline/datasets": {"torch", "open_clip", "duckdb", "h5py"},
    "pipeline/demo": {"torch", "open_clip", "duckdb", "h5py"},
    "pipeline/descriptions": {"torch", "open_clip", "duckdb", "h5py"},
    "pipeline/describe": {"torch", "open_clip", "duckdb", "h5py"},
    "pipeline/learn": {"open_clip", "timm", "transformers", "duckdb", "h5py"},
    "pipeline/report": {"torch", "open_clip", "duckdb", "h5py"},
}
_MAY_IMPORT = {
    "cli": {"cli", "pipeline", "store"},
    "retune": {"pipeline", "store"},
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
            assert parts[0] not in _MAY_IMPORT.keys() - {"retune"}, (
                f"{path} imports {name} without retune."
            )
            if parts[0] == "retune" and len(parts) > 1:
                assert parts[1] in _MAY_IMPORT[room], f"{path} imports {name}"


@pytest.mark.parametrize("folder", _FORBIDDEN)
def test_rooms_stay_free_of_heavy_or_foreign_packages(folder: str) -> None:
    for path in _files(folder):
        imported = {name.split(".")[0] for name in _imports(path)}
        assert not imported & _FORBIDDEN[folder], (
            f"{path}: {imported & _FORBIDDEN[folder]}"
        )


#: Files that let HDF5 open a file, and why they may.
_HDF5 = {
    "pipeline/exchange/readers/hdf5_worker.py": "a process that may end",
    "pipeline/exchange/writers/matrices.py": "it writes",
    "store/vectors/shards.py": "own bytes, or a file that its checksum confirms",
}


def test_hdf5_opens_files_behind_few_doors() -> None:
    files = _files("store") + _files("pipeline") + _files("cli")
    opening = [
        path.relative_to(_ROOT).as_posix()
        for path in files
        if "h5py.File(" in path.read_text(encoding="utf-8")
    ]
    assert sorted(opening) == sorted(_HDF5)
    asking = [
        path.relative_to(_ROOT).as_posix()
        for path in _files("store")
        if "check_contents(" in (text := path.read_text(encoding="utf-8"))
        or "shards import read_header" in text
        or " read_header(" in text
    ]
    doors = ["store/vectors/shard_verification.py", "store/vectors/shards.py"]
    assert sorted(asking) == doors


def test_one_file_of_the_pipeline_draws_bars() -> None:
    drawing = [
        path.relative_to(_ROOT).as_posix()
        for path in _files("pipeline") + _files("cli")
        if any(name.split(".")[0] == "tqdm" for name in _imports(path))
    ]
    assert drawing == ["pipeline/app/progress_bar.py"]


def test_learn_and_encode_meet_in_app_only() -> None:
    meeting = [
        str(path.relative_to(_ROOT))
        for path in _files("pipeline")
        if {"encode", "learn"}
        <= {name.split(".")[2] for name in _imports(path) if name.count(".") > 1}
    ]
    assert {Path(name).parts[1] for name in meeting} <= {"app", "mini_recipe"}


def test_nothing_uses_the_recipe_of_mini() -> None:
    users = {
        path.parent.name
        for path in _files("pipeline") + _files("cli")
        if any("mini_recipe" in name for name in _imports(path))
    }
    assert users <= {"mini_recipe"}


#: Groups of the pipeline and of the store in the order of the arrows: a group may
#: import those before it and none behind it. A name is a folder or a single file.
_FLOORS = (
    "store/errors", "store/plural", "store/schema", "store/label_states",
    "store/checksums", "store/atomic_files", "store/hidden_paths", "store/commits",
    "store/opening", "store/catalog",
    "store/fingerprint", "store/vectors", "store/changes", "store/erasure",
    "store/feature_store",
    "store/runs", "store/results", "store/relabelling", "store/description_sets",
    "store/queries", "store",
    "pipeline/progress", "pipeline/healed", "pipeline/platform",
    "pipeline/finding_aliases",
    "pipeline/findings",
    "pipeline/datasets/tables", "pipeline/datasets/table_map",
    "pipeline/datasets/contract",
    "pipeline/datasets/arrangements", "pipeline/datasets/moved_files",
    "pipeline/datasets/readers",
    "pipeline/datasets/layouts", "pipeline/datasets/missing_files",
    "pipeline/datasets/pseudonyms", "pipeline/datasets/acquisition",
    "pipeline/datasets/splits",
    "pipeline/datasets/ingest", "pipeline/datasets/path_hiding",
    "pipeline/datasets/leakage",
    "pipeline/datasets/contamination",
    "pipeline/datasets/label_counts", "pipeline/datasets", "pipeline/demo",
    "pipeline/descriptions", "pipeline/describe",
    "pipeline/encode/options", "pipeline/encode/burned_in",
    "pipeline/encode/images", "pipeline/encode/backbones",
    "pipeline/encode/pixel_rules", "pipeline/encode/plan", "pipeline/encode/stage",
    "pipeline/encode/engines",
    "pipeline/encode/reopened", "pipeline/encode/sentences",
    "pipeline/encode/vector_stream", "pipeline/encode/concatenation",
    "pipeline/encode/embed", "pipeline/encode",
    "pipeline/exchange/contract", "pipeline/exchange/readers",
    "pipeline/exchange/outgoing", "pipeline/exchange/writers", "pipeline/exchange",
    "pipeline/learn/plugins", "pipeline/learn/problem", "pipeline/learn/training",
    "pipeline/learn/stats", "pipeline/learn/linear",
    "pipeline/learn/methods/analytic",
    "pipeline/learn/methods", "pipeline/learn/runs", "pipeline/learn/curves",
    "pipeline/learn/audit",
    "pipeline/learn/erasing",
    "pipeline/learn/drift",
    "pipeline/learn/estimator",
    "pipeline/learn",
    "pipeline/report", "pipeline/app", "pipeline/mini_recipe", "pipeline",
    "retune", "cli/terminal", "cli/gallery", "cli",
)  # fmt: skip


def _floor(module: Path) -> int:
    """Where a file, or a folder that stands for its `__init__.py`, belongs."""
    for name in (module.with_suffix(""), *module.parents):
        if name.as_posix() in _FLOORS:
            return _FLOORS.index(name.as_posix())
    raise AssertionError(f"{module} is in no group: enter it into _FLOORS")


def _home(name: str) -> Path | None:
    """The file or folder of a dotted name, None for other packages."""
    parts = name.split(".")
    if parts[0] != "retune":
        return None
    path = Path(*parts[1:]) if len(parts) > 1 else Path("retune")
    return path if (_ROOT / path).is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("room", _ROOMS)
def test_groups_import_only_what_stands_below_them(room: str) -> None:
    for path in _files(room):
        here = path.relative_to(_ROOT)
        here = here.parent if here.name == "__init__.py" else here
        for name in _imports(path):
            home = _home(name)
            # The store's surface stands for whatever it hands out.
            if home is None or home == Path("store") or here == Path("store"):
                continue
            assert _floor(home) <= _floor(here), f"{here} imports {name}"


def test_no_file_imports_itself_in_a_circle() -> None:
    modules = {
        ".".join(["retune", *path.relative_to(_ROOT).with_suffix("").parts]): path
        for room in _ROOMS
        for path in _files(room)
    }
    arrows = {
        name: {other for other in _imports(path) if other in modules and other != name}
        for name, path in modules.items()
    }
    while ends := {name for name, others in arrows.items() if not others}:
        arrows = {k: v - ends for k, v in arrows.items() if k not in ends}
    assert not arrows, f"circles among {sorted(arrows)}"


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    for room in _ROOMS:
        for folder in {path.parent for path in _files(room)}:
            assert len([*folder.glob("*.py")]) <= 18, folder


def test_no_two_files_differ_by_an_s() -> None:
    for room in _ROOMS:
        for folder in {path.parent for path in _files(room)}:
            names = {entry.stem for entry in folder.iterdir()}
            assert not {f"{name}s" for name in names} & names, folder


def test_open_clip_is_used_by_backbones_only() -> None:
    users = {
        path.name
        for path in _files("pipeline") + _files("cli")
        if any(name.split(".")[0] == "open_clip" for name in _imports(path))
    }
    assert users == {"open_clip_files.py", "mini.py"}


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
        if "mini_recipe" not in path.parts  # a maintainer's tool: not in the wheel
    }
    assert sorted(listed) == sorted(folders - {"retune.retune"} | {"retune"})


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
        ("retune.pipeline.learn.problem.scenarios", {"torch", "open_clip", "sklearn"}),
        ("retune.pipeline.learn.stats.metrics", {"torch", "open_clip", "sklearn"}),
        (
            "retune.pipeline.app.train",
            {"open_clip", "timm", "transformers"},
        ),
        ("retune.pipeline.encode.embed", {"torch", "open_clip", "timm"}),
        ("retune.pipeline.datasets.ingest", {"torch", "duckdb"}),
        ("retune.pipeline.app.session", {"torch", "open_clip", "sklearn"}),
        ("retune", {"torch", "numpy", "duckdb", "pyarrow", "pandas"}),
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
        error_type = getattr(errors, name)
        assert issubclass(error_type, errors.RetuneError)
        assert name in drawing
        assert error_type("what", "do this").hint == "do this"
        assert str(error_type("what")) == "what"


@pytest.mark.parametrize(
    "path", _files("store") + _files("pipeline") + _files("cli") + _files("retune")
)
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


def _messages(path: Path) -> Iterator[str]:
    """Texts of a file but for its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ):
            yield node.value


@pytest.mark.parametrize("path", _files("store") + _files("pipeline"))
def test_messages_below_the_command_line_name_no_options(path: Path) -> None:
    """A notebook has parameters; the command line spells them as its options."""
    if "mini_recipe" in path.parts:
        return  # a command of its own
    for text in _messages(path):
        # Whole commands for a terminal stand in backticks, and may break over lines.
        plain = re.sub(r"`[^`]*(`|$)", "", text)
        assert not re.search(r"(^|[\s(\"'])--[a-z]", plain) or text.startswith("--"), (
            f"{path}: {text!r}"
        )


def test_every_parameter_of_a_message_has_an_option() -> None:
    from retune.cli.terminal.wording import PARAMETERS, in_options

    golden = (_ROOT / "tests" / "cli" / "help.txt").read_text(encoding="utf-8")
    for name, option in PARAMETERS.items():
        assert re.search(rf"{option}\b", golden), option
        assert in_options(f"Use `{name}`.") == f"Use {option}."
    assert in_options("`retune-cli status` and `unknown`") == (
        "`retune-cli status` and `unknown`"
    )
