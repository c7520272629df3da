"""The demo on disk, in the layout of CheXpert-v1.0-small."""

import csv
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from retune.store.errors import ConfigurationError, StoreWriteError

from .film import draw_film
from .labels import HEADER, train_cells, truth, valid_cells
from .population import DRAWN_FINDINGS, Patient, Study, View, patients

__all__ = ["DemoSummary", "write_demo"]

#: Changes whenever the same arguments would draw other films or labels.
DRAWING_VERSION: Final = 1

_ROOT: Final = "CheXpert-v1.0-small"
_RECORD: Final = "demo.json"
_README: Final = "README.txt"
