"""The recipes of docs/search.md run."""

import re
from pathlib import Path

import numpy as np
import pytest
from store_samples import filled_store

import retune

_PAGE = Path(__file__).resolve().parents[4] / "docs" / "search.md"
_RECIPES = re.findall(r"```sql\n(.*?)```", _PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> retune.Store:
    opened = filled_store(tmp_path_factory.mktemp("recipes") / "s", 30)
    opened.encode_sentence = lambda _, text: np.full(8, len(text), np.float32)
    return retune.Store(opened)


def test_there_are_five() -> None:
    assert len(_RECIPES) == 5


@pytest.mark.parametrize("recipe", _RECIPES, ids=range(len(_RECIPES)))
def test_a_recipe_runs(store: retune.Store, recipe: str) -> None:
    for of_docs, ours in (
        ("Pleural Effusion", "Edema"),
        ("Lung Opacity", "Edema"),
        ('"Cardiomegaly"', '"Mass"'),
    ):
        recipe = recipe.replace(of_docs, ours)
    assert store.sql(recipe).fetchall()
