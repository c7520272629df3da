"""`retune-cli describe ablate`: does the text help?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..terminal.options import (
    BackboneOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    QuietOption,
    StoreOption,
    WhereOption,
    split_names,
)
from ..terminal.printing import (
    print_json,
    print_line,
    print_table,
    progress_bar,
    remark,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from retune.pipeline.descriptions.conditions import Sentence
    from retune.pipeline.learn.problem.features import Features, Prompts
    from retune.pipeline.learn.runs.ablation import AblationRow
    from retune.pipeline.learn.stats.paired import MacroDifference

__all__ = ["ablate_command"]

_DESCRIBED = "described"


def ablate_command(
    descriptions: Annotated[
        str, typer.Option("--descriptions", help="The set: a name or a YAML file.")
    ] = "default",
    findings: Annotated[
        str | None,
        typer.Option("--findings", help="Only these, separated by commas."),
    ] = None,
    store: StoreOption = Path("feature-store"),
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    split_seed: Annotated[
        int | None, typer.Option("--split-seed", help="Divide patients anew.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of training and of the controls.")
    ] = 0,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="At most [the preset's].")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", help="Also draw it: a .png, .svg or .pdf file."),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="Of the text encoder: auto, cpu, cuda.")
    ] = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare descriptions with names, templates, and words that say nothing.

    Six ways to put the findings into words, each scored zero-shot and after joint
    training on the same images, splits and seed: mean test AUROC with its interval, and
    how far the descriptions are ahead, in pairs over patients. A negative number means
    that the other one wins. Nothing is stored.

    Example: retune-cli describe ablate --descriptions default --figure ablation.png
    """
    from dataclasses import replace

    from retune.pipeline.descriptions.conditions import prompt_conditions
    from retune.pipeline.descriptions.named_sets import load_set
    from retune.pipeline.encode.sentences import encode_sentences
    from retune.pipeline.learn.problem.chosen_findings import with_findings
    from retune.pipeline.learn.problem.config import preset
    from retune.pipeline.learn.runs.ablation import ablate_prompts
    from retune.pipeline.learn.runs.experiment import ExperimentConfig
    from retune.pipeline.learn.runs.from_store import load_features, named_findings
    from retune.pipeline.report.ablation_figure import check_figure
    from retune.store import FeatureStore
    from retune.store.queries.labelled import choose_encoder

    if figure is not None:
        check_figure(figure)
    feature_store = FeatureStore(store)
    encoder = choose_encoder(feature_store, backbone=backbone, fingerprint=fingerprint)
    features, _ = load_features(
        feature_store,
        encoder.fingerprint,
        datasets=split_names(datasets),
        where=where,
        split_seed=split_seed,
    )
    names = named_findings(split_names(findings), features.findings)
    if names is not None:
        features = with_findings(features, names)
    described = load_set(feature_store, descriptions, features.findings)
    conditions = prompt_conditions(features.findings, described, seed)
    with progress_bar(quiet=quiet) as show:
        vectors = encode_sentences(
            feature_store,
            encoder.fingerprint,
            [sentence.text for one in conditions.values() for sentence in one],
            device=device,
        )
        prompts = {
            name: _prompts(sentences, vectors, features)
            for name, sentences in conditions.items()
        }
        train = replace(preset("default", epochs=epochs), seed=seed)
        config = ExperimentConfig("joint", train, findings=names)
        rows = ablate_prompts(features, prompts, _DESCRIBED, config, show)
    unlisted = {row.finding for row in described if row.generator == "template"}
    if unlisted and descriptions != "templates":
        remark(
            f"The set {descriptions} does not list {', '.join(sorted(unlisted))}: "
            "templates stand in for its sentences, also where it says 'described'."
        )
    if json:
        print_json([_plain(row) for row in rows])
    else:
        _print_rows(rows, descriptions, quiet=quiet)
    if figure is not None:
        _draw(rows, figure, f"{encoder.backbone}, set {descriptions}")
        remark(f"Figure: {figure}", quiet=quiet)


def _prompts(
    sentences: "Sequence[Sentence]",
    vectors: "Mapping[str, npt.NDArray[np.float32]]",
    features: "Features",
) -> "Prompts":
    import numpy as np

    from retune.pipeline.learn.problem.features import Prompts

    place = {name: index for index, name in enumerate(features.findings)}
    return Prompts(
        np.stack([vectors[sentence.text] for sentence in sentences]),
        np.array([place[sentence.finding] for sentence in sentences], dtype=np.int64),
        np.array([sentence.polarity == "positive" for sentence in sentences]),
    )


def _plain(row: "AblationRow") -> dict[str, object]:
    against = None if row.against is None else vars(row.against)
    return {**vars(row), "against": against}


def _print_rows(rows: "Sequence[AblationRow]", set_name: str, *, quiet: bool) -> None:
    from retune.pipeline.descriptions.conditions import CONDITIONS, CONTROLS

    print_table(
        ("condition", "scenario", "AUROC", "from", "to", "ahead", "from", "to", "p"),
        [
            (row.condition, row.scenario, row.auroc, row.low, row.high, *_ahead(row))
            for row in rows
        ],
    )
    counted = {
        name
        for row in rows
        for name, (value, _, _) in row.findings.items()
        if value == value
    }
    print_line()
    print_line(
        f"AUROC: mean over {len(counted)} findings with both classes among the test "
        f"images. ahead: '{_DESCRIBED}' ({set_name}) less this one, 95 % interval by "
        "paired bootstrap over patients, p from the same draws."
    )
    for line in _resting_on_few(rows):
        print_line(line)
    for row in rows:
        if row.condition in CONTROLS and row.against is not None:
            print_line(f"{row.scenario}: {_verdict(row.condition, row.against)}")
    for name, meaning in CONDITIONS.items():
        remark(f"{name}: {meaning}", quiet=quiet)


def _resting_on_few(rows: "Sequence[AblationRow]") -> list[str]:
    """Why an interval that ends at 0 goes with a large p."""
    shares = [
        f"{row.condition}, {row.scenario}: {row.against.equal:.0%}"
        for row in rows
        if row.against is not None and row.against.rests_on_few
    ]
    if not shares:
        return []
    return [
        "Draws in which the two do not differ at all, because the difference rests on "
        "few patients",
        f"(p counts them on both sides of 0): {'; '.join(shares)}",
    ]


def _verdict(control: str, found: "MacroDifference") -> str:
    if found.low > 0:
        return f"the descriptions are better than the control '{control}'"
    if found.high < 0:
        return f"the control '{control}' is better than the descriptions"
    return f"descriptions and the control '{control}' cannot be told apart here"


def _ahead(row: "AblationRow") -> tuple[object, ...]:
    if row.against is None:
        return ("", "", "", "")
    found = row.against
    signed = (found.first - found.second, found.low, found.high)
    return (*(f"{value:+.3f}" for value in signed), f"{found.p:.3f}")


def _draw(rows: "Sequence[AblationRow]", path: Path, title: str) -> None:
    from retune.pipeline.report.ablation_figure import draw_ablation

    points = [(r.condition, r.scenario, r.auroc, r.low, r.high) for r in rows]
    draw_ablation(points, path, title)
