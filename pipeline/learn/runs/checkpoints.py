"""States after each task, so that an interrupted run can go on."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from retune.store.errors import TrainingError

from .state import RunState, load_state, save_state

__all__ = ["Checkpoints"]


@dataclass(frozen=True)
class Checkpoints:
    """A folder with one state for each task that was learned.

    Attributes:
        folder: Folder of this run alone: its name stands for everything the run
            depends on.
        blank: What the states have in common.
    """

    folder: Path
    blank: RunState

    def find(self, task: int) -> Mapping[str, Tensor] | None:
        """The state after a task, counted from 1; None if it was not reached.

        Raises:
            TrainingError: The file is damaged.
        """
        path = self._path(task)
        if not path.exists():
            return None
        try:
            return load_state(path).tensors
        except TrainingError as error:
            raise TrainingError(
                error.message, f"Delete {path}: the task is then learned again."
            ) from error

    def keep(self, task: int, tensors: Mapping[str, Tensor]) -> None:
        """Write the state after a task.

        Raises:
            StoreWriteError: The disk refused.
        """
        save_state(self._path(task), replace(self.blank, tensors=tensors), local=True)

    def remove(self) -> None:
        """Forget all of them: the run is in the catalog."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, task: int) -> Path:
        return self.folder / f"task-{task}.safetensors"
