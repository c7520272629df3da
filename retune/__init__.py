"""retune: incremental learning over cached chest X-ray features.

    import retune

    store = retune.open("feature-store", create=True)
    store.ingest("/data/nih", layout="nih")
    store.embed("mini")
    run = store.train("label", method="analytic")
    run.matrix

Names are loaded when they are first used, so that `import retune` takes no time.

>>> import retune
>>> try:
...     retune.open("no-such-store")
... except retune.RetuneError as error:
...     print(error.hint)
Make one: retune.open('no-such-store', create=True).
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retune.pipeline.app.run import Run, compare
    from retune.pipeline.app.session import Store
    from retune.pipeline.app.session import open_store as open  # noqa: A004 - read as retune.open
    from retune.pipeline.learn.estimator import AnalyticClassifier
    from retune.store.errors import (
        BackboneError,
        ConfigurationError,
        DatasetError,
        ErasedDataError,
        FingerprintMismatchError,
        ImageError,
        LanguageModelError,
        LeakageError,
        PipelineError,
        QueryError,
        RetuneError,
        StoreBusyError,
        StoreCorruptError,
        StoreError,
        StoreNotFoundError,
        StoreVersionError,
        StoreWriteError,
        TrainingError,
    )

    __version__: str

__all__ = [
    "AnalyticClassifier",
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
    "Run",
    "Store",
    "StoreBusyError",
    "StoreCorruptError",
    "StoreError",
    "StoreNotFoundError",
    "StoreVersionError",
    "StoreWriteError",
    "TrainingError",
    "__version__",
    "compare",
    "open",
]

#: Name -> where it lies and what it is called there; the rest are errors.
_HOMES = {
    "AnalyticClassifier": ("pipeline.learn.estimator", "AnalyticClassifier"),
    "Run": ("pipeline.app.run", "Run"),
    "Store": ("pipeline.app.session", "Store"),
    "compare": ("pipeline.app.run", "compare"),
    "open": ("pipeline.app.session", "open_store"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object
    if name == "__version__":
        from importlib.metadata import version

        value = version("retune-cli")
    else:
        processor = importlib.import_module(f"{__name__}.pipeline.platform.processor")
        processor.let_threads_sleep()  # before anything loads NumPy or torch
        home, attribute = _HOMES.get(name, ("store.errors", name))
        value = getattr(importlib.import_module(f"{__name__}.{home}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
