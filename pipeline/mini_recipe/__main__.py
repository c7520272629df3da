"""`make mini`: train mini, measure it, and write its files.

    python -m retune.pipeline.mini_recipe RADIOGRAPHS WORK OUT
        [--split-seed N] [--without POOL]

RADIOGRAPHS holds the folders nih-320 and nih-64, WORK takes what can be thrown away,
and OUT gets mini.safetensors, mini-card.md and mini-patients.txt. With another split
seed the model is for measuring the recipe on other patients; it is written to WORK as
a folder for `--backbone local-dir:` and must not be shipped. The same holds for
`--without nih-320` (`make mini-benchmark`), which trains on no patient of that pool:
with it methods are measured on real radiographs that the backbone never saw.
"""

import argparse
import sys
from pathlib import Path

from retune.store import FeatureStore
from retune.store.errors import RetuneError

from ..encode.backbones.mini import save_trained
from ..encode.embed import EmbedOptions, embed
from ..findings import FINDINGS
from ..progress import Progress
from .card import Measured, patient_list, write_card
from .measures import description_margins, joint_gain, zero_shot
from .pools import DEMO_EVALUATED, NIH_POOLS, ingest_pools, read_pools
from .recipe import save_folder, train_mini
from .training import RecipeConfig

__all__ = ["main"]


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("radiographs", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split-seed", type=int, default=0)
    parser.add_argument("--without", metavar="POOL", action="append", default=[])
    given = parser.parse_args()
    try:
        _run(
            given.radiographs,
            given.work,
            given.out,
            given.split_seed,
            tuple(given.without),
        )
    except RetuneError as error:
        sys.exit(f"Error: {error.message}\nHint: {error.hint}")


def _run(
    radiographs: Path,
    work: Path,
    out: Path,
    split_seed: int,
    without: tuple[str, ...],
) -> None:
    store = FeatureStore.create(work / "store")
    ingest_pools(store, radiographs, work, split_seed=split_seed)
    config = RecipeConfig()
    pools = read_pools(store, FINDINGS, _show, without=without)
    trained = train_mini(pools, FINDINGS, config, _show)
    weights = out / "mini.safetensors"
    out.mkdir(parents=True, exist_ok=True)
    save_trained(trained.model, trained.token_ids, weights)
    (out / "mini-patients.txt").write_text(patient_list(pools), encoding="utf-8")
    save_folder(weights, work / "mini")

    evaluated = (NIH_POOLS[0], DEMO_EVALUATED)
    options = EmbedOptions(backbone=f"local-dir:{work / 'mini'}", datasets=evaluated)
    fingerprint = embed(store, options, _show).fingerprint
    measured = {
        name: Measured(
            *zero_shot(store, fingerprint, name), *joint_gain(store, fingerprint, name)
        )
        for name in evaluated
    }
    margins = description_margins(store, fingerprint)
    card = write_card(
        pools, config, measured, margins, split_seed=split_seed, without=without
    )
    (out / "mini-card.md").write_text(card, encoding="utf-8")
    sys.stdout.write(card)


def _show(progress: Progress) -> None:
    if progress.done % 100 == 0 or progress.done == progress.total:
        sys.stderr.write(
            f"{progress.stage}: {progress.done} of {progress.total} {progress.note}\n"
        )


if __name__ == "__main__":
    main()
