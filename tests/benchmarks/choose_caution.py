"""How far a task may move the weights of `finetune`, chosen without test patients.

    python tests/benchmarks/choose_caution.py CLEAN SHIPPED WEAK [--splits 10]

`unknown` is nih-320 in the store CLEAN with the mini of `make mini-benchmark`, on which
zero-shot is chance; `known` are the patients in the store SHIPPED that the shipped mini
never saw, on whom it is good; `weak` is nih-64 in the store WEAK, on which it is a
little better than chance, with a mini that saw none of its patients. The test patients
of each split of `make results` are set aside, and the others divided anew. After a task
of n labels that tell classes apart, and m before it, weights go the share of the way
that the table's first column says. The rule of choice: of the rules whose final AUROC
in `label` and `data` is nowhere more than 0.005 below zero-shot, those whose forgetting
is nowhere above 0.02 (if there is none, above the least that any has, by more than
0.002); of these the highest mean final AUROC; rules within 0.002 of it count as equal,
and of these the one that forgets least where it forgets most is taken. All but the last
clause was stated before any figure was seen; then it said that of equals the rule in
use, n/(n + 100), is kept.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from choose_prior import read, read_radiographs, stores_parser
from results import divided, learned, only, zero_shot

from retune.pipeline.datasets.splits import resplit
from retune.pipeline.learn.problem.features import Features, Prompts
from retune.pipeline.learn.problem.scenarios import Task, plan_scenario
from retune.pipeline.learn.training import trainer

#: Labels that are added to n, and the share of m that is, below n.
RULES: Mapping[str, tuple[float, float]] = {
    "n/(n + 100)": (100, 0),
    "n/(n + 50)": (50, 0),
    "n/(n + 200)": (200, 0),
    "n/(n + 100 + m)": (100, 1),
    "n/(n + 100 + m/2)": (100, 0.5),
    "n/(n + 100 + m/4)": (100, 0.25),
    "n/(n + 50 + m/2)": (50, 0.5),
}
_SCENARIOS = ("label", "data")
_EQUAL = 0.002


def with_share(
    caution: float, memory: float
) -> Callable[[trainer.Trainer, torch.Tensor, Task], None]:
    """What takes the place of `Trainer._blend`."""
    before: dict[int, float] = {}

    def blend(self: trainer.Trainer, start: torch.Tensor, task: Task) -> None:
        n = trainer.telling_labels(task, self._problem.targets)
        m = before.get(id(self), 0.0)
        before[id(self)] = m + n
        share = n / max(1.0, n + caution + memory * m)
        self._optimiser.weights.lerp_(start, 1 - share)

    return blend


def measure(
    pools: Mapping[str, tuple[Features, Prompts]], n_splits: int
) -> npt.NDArray[np.float64]:
    """Final AUROC less zero-shot, and forgetting: (rules, pools, scenarios, 2)."""
    table: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for name, (features, prompts) in pools.items():
        ids = np.array([one.split("/")[-1] for one in features.patient_id])
        for seed in range(n_splits):
            rest = np.asarray(resplit(ids, seed=seed)) != "test"
            split = divided(only(features, rest), prompts, 1000 + seed)
            if split is None:
                continue
            start = split.influence(zero_shot(split).difference).auroc.mean()
            for scenario in _SCENARIOS:
                plan = plan_scenario(
                    scenario, split.targets, split.features.patient,
                    split.features.rows("train"), split.features.findings, seed=seed,
                )  # fmt: skip
                for rule, numbers in RULES.items():
                    kept = trainer.Trainer._blend
                    trainer.Trainer._blend = with_share(*numbers)  # type: ignore[method-assign]  # and back
                    last, lost = learned(split, "finetune", plan.tasks, plan.introduced)
                    trainer.Trainer._blend = kept  # type: ignore[method-assign]  # as above
                    reached = split.influence(last.difference).auroc.mean()
                    cell = table.setdefault((rule, name, scenario), [])
                    cell.append((float(reached - start), lost.value))
            sys.stderr.write(f"{name}, split {seed}\n")
    shape = len(RULES), len(pools), len(_SCENARIOS), 2
    means = [
        np.mean(table[rule, name, scenario], axis=0)
        for rule in RULES
        for name in pools
        for scenario in _SCENARIOS
    ]
    return np.array(means).reshape(shape)


def main() -> None:
    """Print the table and the choice."""
    parser = stores_parser(__doc__, 10)
    parser.add_argument("weak", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    weak = read(given.weak, ("nih-64",), f"local-dir:{given.weak.parent / 'mini'}")
    pools = {
        **read_radiographs(given.clean, given.shipped, given.backbone),
        "weak": weak,
    }
    table = measure(pools, given.splits)
    out = sys.stdout.write
    titles = [f"{name}, {scenario}" for name in pools for scenario in _SCENARIOS]
    out(f"{'less zero-shot (forgetting)':<28}{''.join(f'{t:>18}' for t in titles)}\n")
    for rule, row in zip(RULES, table.reshape(len(RULES), -1, 2), strict=True):
        cells = [f"{less:+.3f} ({lost:.3f})" for less, lost in row]
        out(f"{rule:<28}{''.join(f'{one:>18}' for one in cells)}\n")
    flat = table.reshape(len(RULES), -1, 2)
    allowed = (flat[..., 0] >= -0.005).all(axis=1)
    lost = flat[..., 1].max(axis=1)
    lost[~allowed] = np.inf
    allowed &= lost <= max(0.02, lost.min() + 0.002)
    mean = np.where(allowed, flat[..., 0].mean(axis=1), -np.inf)
    equal = np.flatnonzero(mean >= mean.max() - _EQUAL)
    out(f"chosen: {list(RULES)[min(equal, key=lambda rule: lost[rule])]}\n")


if __name__ == "__main__":
    main()
