"""Which findings a run is about: those that can be learned, and those asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from retune.store.errors import ConfigurationError, TrainingError
from retune.store.label_states import UNLABELLED

from .features import Features, Prompts
from .targets import SOFT_TARGET, Targets

__all__ = ["choose_findings", "select_findings", "usable_findings", "with_findings"]


def usable_findings(features: Features, targets: Targets) -> dict[str, str]:
    """Which findings cannot be trained, and why.

    Returns:
        Finding -> reason, for those without both classes among the training rows.
    """
    rows = features.rows("train")
    observed = targets.observed[rows]
    positives = ((targets.value[rows] > SOFT_TARGET) & observed).sum(axis=0)
    negatives = ((targets.value[rows] < SOFT_TARGET) & observed).sum(axis=0)
    reasons = {}
    for name, n_positive, n_negative in zip(
        features.findings, positives, negatives, strict=True
    ):
        if not n_positive or not n_negative:
            reasons[name] = (
                f"{n_positive} positive and {n_negative} negative training images"
            )
    return reasons


def select_findings(
    features: Features, prompts: Prompts, names: Sequence[str]
) -> tuple[Features, Prompts]:
    """Keep some findings, in the order given."""
    if tuple(names) == features.findings:
        return features, prompts
    columns = [features.findings.index(name) for name in names]
    kept = Features(
        features.image_id,
        features.patient_id,
        features.split,
        features.embedding,
        tuple(names),
        features.states[:, columns],
    )
    new_index = np.full(len(features.findings), -1)
    new_index[columns] = np.arange(len(columns))
    finding = new_index[prompts.finding]
    chosen = finding >= 0
    return kept, Prompts(
        prompts.embedding[chosen], finding[chosen], prompts.positive[chosen]
    )


def with_findings(features: Features, names: Sequence[str]) -> Features:
    """These findings; those that the images have no labels for are unlabelled."""
    states = np.full((len(features.image_id), len(names)), UNLABELLED, dtype=np.int8)
    for column, name in enumerate(names):
        if name in features.findings:
            states[:, column] = features.states[:, features.findings.index(name)]
    return replace(features, findings=tuple(names), states=states)


def choose_findings(
    known: Sequence[str],
    dropped: Mapping[str, str],
    asked: Sequence[str] | None,
    order: Sequence[str] | None,
) -> list[str]:
    """Names of the findings of a run, as they were asked for.

    Args:
        known: Findings that have labels.
        dropped: Those that cannot be trained, and why.
        asked: The ones to train; None: those of `order`, else all that can be.
        order: The same ones in the order of their tasks, or None.

    Raises:
        TrainingError: One cannot be trained, or none can.
        ConfigurationError: A name stands twice, or the two lists differ.
    """
    asked = asked or order
    if asked is None:
        names = [name for name in known if name not in dropped]
        if not names:
            raise TrainingError(
                "no finding has both positive and negative training images",
                "Check labels with `retune-cli status`, or use `blank` or `uncertain`.",
            )
    else:
        names = list(asked)
        if len(set(names)) != len(names):
            raise ConfigurationError(f"a finding stands twice in {', '.join(names)}")
        for name in names:
            if name in dropped:
                raise TrainingError(
                    f"'{name}' cannot be trained: it has {dropped[name]}",
                    "Leave it out of `findings`, or change `blank` or `uncertain`.",
                )
    if order and sorted(order) != sorted(names):
        raise ConfigurationError(
            f"`order` must name the same findings as `findings`: {', '.join(names)}"
        )
    return names
