"""A run read back from the store: its record, its images and its model."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch

from retune.store import FeatureStore, Run
from retune.store.errors import TrainingError

from ..problem.features import Features
from .from_store import load_features, run_folder
from .saved_model import SavedModel, load_model

__all__ = [
    "load_run_features",
    "load_run_model",
    "recorded_config",
]


def recorded_config(run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a run was trained and on which images, from its record.

    Raises:
        TrainingError: The record cannot be read.
    """
    try:
        config = json.loads(run.config)
        experiment, chosen = dict(config["experiment"]), dict(config["chosen"])
        experiment["uncertain"], experiment["blank"]
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"the record of run {run.run_id} in the catalog cannot be read: {error!r}",
            "Train again; the table runs holds it in the column config.",
        ) from error
    return experiment, chosen


def load_run_features(
    store: FeatureStore,
    run: Run,
    *,
    datasets: Sequence[str] | None,
    where: str | None,
) -> tuple[Features, pa.Table]:
    """Images of the store, divided into splits as the run had them.

    A run that divided patients anew (``--split-seed``) has other test images than the
    store; the store's would be images that it was trained on.

    Raises:
        TrainingError: The run's record cannot be read.
        ConfigurationError: A dataset is unknown, or no image fits.
    """
    _, chosen = recorded_config(run)
    return load_features(
        store,
        run.fingerprint,
        datasets=datasets,
        where=where,
        split_seed=chosen.get("split_seed"),
        shared_patients=not chosen.get("allow_leakage", False),
    )


def load_run_model(store: FeatureStore, run: Run) -> SavedModel:
    """The model of a run.

    Raises:
        TrainingError: Its folder is damaged, is another run's, or holds weights that
            are no finite numbers.
    """
    folder = run_folder(store, run.run_id)
    saved = load_model(folder)
    hint = "Train again: the run's folder is damaged or was exchanged."
    if saved.fingerprint != run.fingerprint:
        raise TrainingError(
            f"{folder} is of encoder {saved.fingerprint}, run {run.run_id} of "
            f"{run.fingerprint}",
            hint,
        )
    for name, tensor in saved.model.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise TrainingError(
                f"{folder} cannot be used: {name} holds values that are no finite "
                "numbers",
                hint,
            )
    return saved
