"""Whether sums of images have been added before: nothing may count twice.

A state of sums holds no ids. It holds a number that stands for the validation images
of the store where it learned last, from which the same images are known again.
"""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor

from retune.store.errors import TrainingError

from .sums import Sums

__all__ = ["check_apart", "check_new_images", "images_digest"]


def images_digest(image_id: npt.NDArray[np.object_]) -> int:
    """A number that stands for a list of images; never 0.

    >>> images_digest(np.array(["a", "b"], dtype=object)) == images_digest(
    ...     np.array(["a", "c"], dtype=object)
    ... )
    False
    """
    digest = hashlib.blake2b("\n".join(image_id).encode(), digest_size=7)
    return int.from_bytes(digest.digest(), "big") + 1


def check_new_images(
    state: Mapping[str, Tensor], validation_id: npt.NDArray[np.object_]
) -> None:
    """Refuse to go on from sums on the images that they are of.

    Args:
        state: To go on from; nothing is checked if it holds no sums.
        validation_id: Ids of the validation images at hand; nothing is checked if there
            are none.

    Raises:
        TrainingError: The same validation images were counted before.
    """
    if "counted" not in state or not len(validation_id):
        return
    if images_digest(validation_id) in state["counted"].tolist():
        raise TrainingError(
            "the run to go on from has learned from these very images: they would "
            "count twice",
            "Go on with other images (`datasets`, `where`), or train anew without "
            "`continued`.",
        )


def check_apart(states: Sequence[Mapping[str, Tensor]]) -> None:
    """Refuse to add sums of the same images.

    Args:
        states: States of the same findings.

    Raises:
        TrainingError: Two of them counted the same validation images.
    """
    known: set[tuple[int, int]] = set()
    for state in states:
        validation = Sums.from_tensors("validation", state)
        here = {
            (finding, number)
            for finding, number in enumerate(state["counted"].tolist())
            if validation.count(finding)
        }
        if here & known:
            raise TrainingError(
                "two of the runs have learned from the same images: they would count "
                "twice",
                "Merge runs on different images (`datasets`, `where`, another store).",
            )
        known |= here
