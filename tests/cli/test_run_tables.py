"""What the terminal says about a run."""

from types import SimpleNamespace

import pytest

from retune.cli.terminal.run_tables import _warnings


def _experiment(method: str, final: float) -> SimpleNamespace:
    return SimpleNamespace(
        config=SimpleNamespace(method=method),
        summary={"final_auroc_all": final, "zero_shot_auroc": 0.7},
    )


@pytest.mark.parametrize(("method", "named"), [("finetune", True), ("analytic", False)])
def test_a_run_below_zero_shot_is_advised_to_take_another_method(
    method: str, named: bool
) -> None:
    (warning,) = _warnings(_experiment(method, 0.69))  # type: ignore[arg-type]
    assert "ends below zero-shot (0.690, zero-shot 0.700)" in warning
    assert ("--method analytic" in warning) == named
    assert "more training images" in warning


@pytest.mark.parametrize("final", [0.7, 0.71, 0.6999])
def test_a_run_that_does_no_harm_is_not_warned_about(final: float) -> None:
    assert _warnings(_experiment("finetune", final)) == []  # type: ignore[arg-type]
