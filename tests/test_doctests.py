"""The examples in docstrings run."""

import doctest
import importlib
import pkgutil

import pytest

import retune
import retune.cli
import retune.pipeline
import retune.store


def _modules() -> list[str]:
    return ["retune"] + [
        module.name
        for room in (retune.store, retune.pipeline, retune.cli)
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    ]


@pytest.mark.parametrize("name", _modules())
def test_examples_give_what_they_say(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0
