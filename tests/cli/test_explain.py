"""`retune-cli explain`: every error has a text, and every example raises it."""

import inspect
from pathlib import Path

import pytest
from command_line import run_command
from image_samples import write_dataset

import retune
from retune.cli.terminal.explanations import EXPLANATIONS, Explanation, explain
from retune.store import errors

#: Groups of errors, which are never raised themselves.
_GROUPS = {errors.RetuneError, errors.StoreError, errors.PipelineError}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    write_dataset(folder / "data", 40)
    store = retune.open(folder / "feature-store", create=True)
    store.ingest(folder / "data")
    store.embed("mini")
    return folder


def test_every_error_is_explained() -> None:
    raised = {
        error_type
        for _, error_type in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error_type, errors.RetuneError) and error_type not in _GROUPS
    }
    assert {known.error for known in EXPLANATIONS} == raised
    assert len({known.error.code for known in EXPLANATIONS}) == len(raised)


@pytest.mark.e2e
@pytest.mark.parametrize("known", EXPLANATIONS, ids=lambda known: known.error.code)
def test_the_example_raises_it(
    known: Explanation, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    shutil.copytree(prepared, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(known.error) as caught:
        exec(known.example, {"retune": retune})
    assert type(caught.value) is known.error


def test_an_error_names_its_explanation(tmp_path: Path) -> None:
    done = run_command("status", "--store", str(tmp_path / "none"))
    assert done.stderr.endswith("More: retune-cli explain store-not-found\n")
    text = run_command("explain", "store-not-found").stdout
    assert text.strip() == explain("StoreNotFoundError").text


def test_without_a_code_all_are_listed() -> None:
    listed = run_command("explain").stdout
    assert all(known.error.code in listed for known in EXPLANATIONS)


def test_an_unknown_code_is_refused() -> None:
    done = run_command("explain", "nosuch")
    assert done.returncode == 2
    assert "store-busy" in done.stderr
