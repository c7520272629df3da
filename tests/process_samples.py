"""Processes that begin with everything imported, for tests that end them."""

import multiprocessing
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from retune.pipeline.encode.embed import EmbedOptions, embed
from retune.pipeline.progress import Progress
from retune.store import FeatureStore

#: What one start-up loads for all of them; the server is one for all test files.
_LOADED = (
    "open_clip",
    "retune.pipeline.datasets.ingest",
    "retune.pipeline.encode.backbones.loading",
    "retune.pipeline.encode.embed",
)


def forking_context() -> ForkServerContext:
    """Processes of it are forked from one that has loaded the backbones' libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    first = context.Process(target=str)  # starts the server
    first.start()
    first.join()
    return context


def embed_aloud(folder: Path, options: EmbedOptions, told: Connection) -> None:
    """Embed, and send the stage of each progress as it comes."""

    def tell(progress: Progress) -> None:
        told.send(progress.stage)

    embed(FeatureStore(folder), options, tell)
