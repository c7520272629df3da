"""Do the words help? The same images with several ways to describe the findings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from retune.store import EncoderRow, FeatureStore

from ...descriptions.conditions import Sentence, prompt_conditions
from ...descriptions.named_sets import load_set
from ...encode.sentences import encode_sentences
from ...learn.curves.ablation import AblationRow, ablate_prompts
from ...learn.problem.chosen_findings import with_findings
from ...learn.problem.config import preset
from ...learn.problem.features import Features, Prompts
from ...learn.runs.learning_set import load_images, named_findings
from ...learn.runs.record import ExperimentConfig
from ...learn.runs.selection import Provenance, Selection
from ...progress import ProgressCallback, silent

__all__ = ["DESCRIBED", "Ablation", "AblationRequest", "ablate"]

#: The condition that the others are compared with.
DESCRIBED = "described"


@dataclass(frozen=True)
class AblationRequest:
    """Which descriptions, and which images to judge them by.

    Attributes:
        descriptions: A set's name, or a YAML file.
        findings: Only these; None for all.
        selection: Which images; its `description_set` is not looked at.
        backbone: Use the vectors of this backbone.
        fingerprint: Use the vectors of this encoder.
        seed: Seed of training and of the controls.
        epochs: At most; None: the preset's.
        device: Device of the text encoder: ``auto``, ``cpu``, ``cuda``.
    """

    descriptions: str = "default"
    findings: tuple[str, ...] | None = None
    selection: Selection = field(default_factory=Selection)
    backbone: str | None = None
    fingerprint: str | None = None
    seed: int = 0
    epochs: int | None = None
    device: str = "auto"


@dataclass(frozen=True)
class Ablation:
    """What came of it.

    Attributes:
        rows: One per condition and scenario.
        encoder: Whose vectors were used.
        unlisted: Findings that the set has no sentence for; templates stand in.
        provenance: Which images were used.
    """

    rows: tuple[AblationRow, ...]
    encoder: EncoderRow
    unlisted: tuple[str, ...]
    provenance: Provenance


def ablate(
    store: FeatureStore, request: AblationRequest, progress: ProgressCallback = silent
) -> Ablation:
    """Score zero-shot and after joint training, with each way to describe findings.

    Nothing is stored.

    Raises:
        ConfigurationError: A name is unknown.
        LeakageError: Splits share patients or pictures.
        TrainingError: The images cannot be trained on.
    """
    images = load_images(
        store,
        request.selection,
        backbone=request.backbone,
        fingerprint=request.fingerprint,
    )
    features = images.features
    names = named_findings(request.findings, features.findings)
    if names is not None:
        features = with_findings(features, names)
    described = load_set(store, request.descriptions, features.findings)
    conditions = prompt_conditions(features.findings, described, request.seed)
    vectors = encode_sentences(
        store,
        images.encoder.fingerprint,
        [sentence.text for one in conditions.values() for sentence in one],
        device=request.device,
    )
    prompts = {
        name: _prompts(sentences, vectors, features)
        for name, sentences in conditions.items()
    }
    train = replace(preset("default", epochs=request.epochs), seed=request.seed)
    config = ExperimentConfig("joint", train, findings=names)
    rows = ablate_prompts(features, prompts, DESCRIBED, config, progress)
    unlisted = {row.finding for row in described if row.generator == "template"}
    if request.descriptions == "templates":
        unlisted = set()
    return Ablation(
        tuple(rows), images.encoder, tuple(sorted(unlisted)), images.provenance
    )


def _prompts(
    sentences: Sequence[Sentence],
    vectors: Mapping[str, npt.NDArray[np.float32]],
    features: Features,
) -> Prompts:
    row_of_finding = {name: index for index, name in enumerate(features.findings)}
    return Prompts(
        np.stack([vectors[sentence.text] for sentence in sentences]),
        np.array(
            [row_of_finding[sentence.finding] for sentence in sentences], dtype=np.int64
        ),
        np.array([sentence.polarity == "positive" for sentence in sentences]),
    )
