"""The names that people import: locked, lazy, documented."""

import inspect
import subprocess
import sys

import pytest

import retune

_NAMES = (
    "AnalyticClassifier", "BackboneError", "ConfigurationError", "DatasetError",
    "ErasedDataError",
    "FingerprintMismatchError", "ImageError", "LanguageModelError", "LeakageError",
    "PipelineError", "QueryError", "RetuneError", "Run", "Store", "StoreBusyError",
    "StoreCorruptError", "StoreError", "StoreNotFoundError", "StoreVersionError",
    "StoreWriteError", "TrainingError", "__version__", "compare", "open",
)  # fmt: skip


def test_the_surface_is_locked() -> None:
    assert tuple(retune.__all__) == _NAMES
    assert sorted(retune.__all__) == retune.__all__
    assert dir(retune) == retune.__all__
    assert all(getattr(retune, name) for name in retune.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        retune.nothing  # noqa: B018 - the access is the test


def test_every_error_that_is_raised_can_be_caught_by_name() -> None:
    from retune.store import errors

    assert set(errors.__all__) <= set(retune.__all__)
    assert all(
        getattr(retune, name) is getattr(errors, name) for name in errors.__all__
    )


@pytest.mark.parametrize("name", [n for n in _NAMES if n != "__version__"])
def test_every_public_name_has_an_example(name: str) -> None:
    thing = getattr(retune, name)
    if inspect.isclass(thing) and issubclass(thing, retune.RetuneError):
        assert "RetuneError" in (retune.__doc__ or "")  # one example for the tree
        assert thing.__doc__
    else:
        # Doctests run where they stand; examples of a filled store in test_examples.py.
        documented = thing.__doc__ or ""
        assert ">>>" in documented or "\n    Example:\n" in documented


@pytest.mark.parametrize("class_name", ["Store", "Run"])
def test_every_method_says_what_it_does(class_name: str) -> None:
    for name, member in vars(getattr(retune, class_name)).items():
        if not name.startswith("_") and (callable(member) or hasattr(member, "fget")):
            assert inspect.getdoc(member), f"{class_name}.{name}"


def test_importing_loads_nothing_heavy() -> None:
    heavy = ("torch", "open_clip", "duckdb", "pandas", "numpy", "pyarrow", "sklearn")
    code = (
        "import sys, retune; retune.__version__; "
        "print(*(m for m in sys.modules if '.' not in m))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & set(heavy)


def test_opening_a_store_loads_no_torch() -> None:
    code = "import sys, retune; retune.open; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert retune.__version__ == version("retune-cli")
