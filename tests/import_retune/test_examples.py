"""The examples of the face run, in the order in which somebody would use them."""

import inspect
import re
import textwrap
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from image_samples import write_dataset

import retune

pytestmark = pytest.mark.e2e

#: What needs more than this machine has: a language model, an extra.
_ELSEWHERE = {"describe", "polars"}


def _example(documented: Any) -> str:
    text = inspect.getdoc(documented) or ""
    example_block = re.search(r"^Example:\n((?:[ ]{4}.*\n?|\n)+)", text, re.MULTILINE)
    assert example_block, f"{documented} has no example"
    return textwrap.dedent(example_block.group(1))


def _public(public_type: type) -> dict[str, Any]:
    return {
        name: member
        for name, member in vars(public_type).items()
        if not name.startswith("_") and inspect.isfunction(member)
    }


def test_every_method_of_a_store_has_an_example() -> None:
    assert all(_example(method) for method in _public(retune.Store).values())


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "data", 40)
    store = retune.open("store", create=True)
    known: dict[str, Any] = {"store": store, "retune": retune}
    methods = _public(retune.Store)
    first = ["ingest", "embed", "train"]
    for name in first:
        exec(_example(methods.pop(name)), known)
    known["run"].rename("baseline")
    store.train("joint", method="analytic", findings=["Edema"], bounds=False)
    added = methods.pop("import_vectors")  # another encoder: names would be ambiguous
    for name in methods.keys() - _ELSEWHERE:
        exec(_example(methods[name]), known)
    for documented in (retune.Run, retune.compare):
        exec(_example(documented), known)
    if find_spec("polars") is None:
        with pytest.raises(retune.ConfigurationError, match="polars"):
            exec(_example(methods["polars"]), known)
    else:
        exec(_example(methods["polars"]), known)
    exec(_example(added), known)
