"""Every error that retune raises on purpose.

    RetuneError                       exit 1
    ├── ConfigurationError            exit 2   (ValueError) wrong option, unknown name
    ├── StoreError                    exit 3
    │   ├── StoreNotFoundError                 (FileNotFoundError)
    │   ├── StoreVersionError                  written by another version
    │   ├── StoreBusyError                     another process writes
    │   ├── StoreCorruptError                  a shard or the catalog is damaged
    │   ├── StoreWriteError                    (OSError) disk full, read-only, no right
    │   ├── FingerprintMismatchError           (ValueError) vectors of two encoders
    │   └── QueryError                         (ValueError) SQL that cannot run
    └── PipelineError                 exit 4
        ├── DatasetError                       (ValueError) a label table is unusable
        ├── ImageError                         one image cannot be decoded
        ├── LanguageModelError                 a language model cannot be used
        ├── BackboneError                      weights or configuration not loadable
        └── TrainingError                      (ValueError) a scenario cannot be run
            ├── LeakageError                   splits share patients or pictures
            └── ErasedDataError                a run depends on an erased patient

The command line catches `RetuneError` in one place and prints ``Error: message`` and
``Hint: hint``; exit codes 130 and 143 stand for Ctrl-C and SIGTERM. Each message says
what happened and where; each hint says what to do.
"""

__all__ = [
    "BackboneError",
    "ConfigurationError",
    "DatasetError",
    "ErasedDataError",
    "FingerprintMismatchError",
    "ImageError",
    "LanguageModelError",
    "LeakageError",
    "PipelineError",
    "QueryError",
    "RetuneError",
    "StoreBusyError",
    "StoreCorruptError",
    "StoreError",
    "StoreNotFoundError",
    "StoreVersionError",
    "StoreWriteError",
    "TrainingError",
]


class RetuneError(Exception):
    """Root of every error raised on purpose.

    Args:
        message: What happened and where (file, row, line).
        hint: What the user can do about it; empty if nothing sensible can be said.
    """

    exit_code = 1
    #: What `retune-cli explain` calls it; also in its documentation.
    code = "unexpected"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class ConfigurationError(RetuneError, ValueError):
    """An option or a name that cannot be used as given."""

    code = "configuration"
    exit_code = 2


class StoreError(RetuneError):
    """Something about the feature store on disk."""

    code = "store"
    exit_code = 3


class StoreNotFoundError(StoreError, FileNotFoundError):
    """No feature store at the given place."""

    code = "store-not-found"


class StoreVersionError(StoreError):
    """The store was written by a version of the format that this code cannot read."""

    code = "store-version"


class StoreBusyError(StoreError):
    """Another process holds the store."""

    code = "store-busy"


class StoreCorruptError(StoreError):
    """A shard or the catalog does not hold what it must."""

    code = "store-corrupt"


class StoreWriteError(StoreError, OSError):
    """The store's disk refuses a write."""

    code = "store-write"


class FingerprintMismatchError(StoreError, ValueError):
    """Vectors of different encoders were about to be mixed."""

    code = "fingerprint-mismatch"


class QueryError(StoreError, ValueError):
    """A SQL statement that cannot be run."""

    code = "query"


class PipelineError(RetuneError):
    """Something about the user's images, labels, backbone or run."""

    code = "pipeline"
    exit_code = 4


class DatasetError(PipelineError, ValueError):
    """A label table cannot be read as the layout says it must."""

    code = "dataset"


class ImageError(PipelineError):
    """One image file cannot be decoded."""

    code = "image"


class LanguageModelError(PipelineError):
    """A language model cannot be reached, or answers what cannot be used."""

    code = "language-model"


class BackboneError(PipelineError):
    """A backbone's weights or configuration cannot be loaded."""

    code = "backbone"


class TrainingError(PipelineError, ValueError):
    """A scenario or a run cannot be carried out on this store."""

    code = "training"


class LeakageError(TrainingError):
    """Patients or pictures stand in more than one split."""

    code = "leakage"


class ErasedDataError(TrainingError):
    """The weights of a run depend on a patient who was erased."""

    code = "erased-data"
