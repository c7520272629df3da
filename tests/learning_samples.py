"""Small learnable problems."""

import numpy as np

from retune.pipeline.learn.problem.features import Features, Prompts
from retune.store.label_states import NEGATIVE, POSITIVE, UNCERTAIN

FINDINGS = ("Edema", "Mass", "Hernia")


def problem(
    n_images: int = 240, dim: int = 12, seed: int = 0, uncertain: float = 0.0
) -> tuple[Features, Prompts]:
    """Findings that are directions in the embedding; two images per patient.

    The positive descriptions of a finding point roughly in its direction.
    """
    random = np.random.default_rng(seed)
    directions = np.linalg.qr(random.normal(size=(dim, dim)))[0][: len(FINDINGS)]
    x = random.normal(size=(n_images, dim)) + 0.5
    noise = 0.3 * random.normal(size=(n_images, len(FINDINGS)))
    states = np.where((x @ directions.T + noise) > 0.4, POSITIVE, NEGATIVE)
    states[random.random(states.shape) < uncertain] = UNCERTAIN
    patients = np.arange(n_images) // 2
    thirds = np.array(["train", "train", "train", "validation", "test"], dtype=object)
    prompts = np.concatenate(
        [directions + 0.5 * random.normal(size=directions.shape) for _ in range(2)]
        + [-directions + 0.5 * random.normal(size=directions.shape) for _ in range(3)]
    )
    return (
        Features(
            image_id=np.array([f"i{i}" for i in range(n_images)], dtype=object),
            patient_id=patients.astype(str).astype(object),
            split=thirds[patients % 5],
            embedding=x.astype(np.float16),
            findings=FINDINGS,
            states=states.astype(np.int8),
        ),
        Prompts(
            embedding=prompts.astype(np.float32),
            finding=np.tile(np.arange(len(FINDINGS)), 5),
            positive=np.repeat([True, True, False, False, False], len(FINDINGS)),
        ),
    )
