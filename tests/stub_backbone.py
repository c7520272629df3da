"""A backbone without a network: quick to start, its vectors follow from the pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
from PIL import Image

from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.encode.embed import EmbedOptions, embed_with
from retune.pipeline.progress import Progress, silent
from retune.store import EncoderSpec, FeatureStore, content_digest

_SIDE = 4
_SPEC = EncoderSpec(
    "stub", "0", {}, {}, {}, "none", "float32", "float16", _SIDE * _SIDE
)


def _to_pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.array(image.convert("RGB").resize((_SIDE, _SIDE)), dtype=np.uint8)


@dataclass(frozen=True)
class StubBackbone:
    """Has what `embed_with` asks of a backbone.

    Attributes:
        spec: D is the number of pixels of one channel.
        before_images: Called before each batch of images with its size.
    """

    spec: EncoderSpec = _SPEC
    before_images: Callable[[int], object] = lambda _: None
    device: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(type="cpu"))
    preprocess: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(to_pixels=_to_pixels, decode_at_least=0)
    )

    tokenizer: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(context_length=77)
    )

    def stage_images(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return pixels

    def encode_images(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        self.before_images(len(pixels))
        return pixels[..., 0].reshape(len(pixels), -1).astype(np.float32) + 1

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        digests = [content_digest(text.encode())[: self.spec.dim] for text in texts]
        return np.array([[int(c, 16) + 1 for c in one] for one in digests], "f4")

    def narrow(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
        return vectors.astype(np.float16)

    def use_threads(self, n_threads: int) -> None:
        """It has none."""


def ingested_store(folder: Path, data: Path) -> FeatureStore:
    """A store that knows the images of a folder in the layout `table`."""
    store = FeatureStore.create(folder)
    plan = read_dataset(data, "table", dataset="d")
    with store.writer("ingest") as writer:
        writer.replace_dataset(
            plan.images, plan.findings, plan.states, dataset="d", layout="table",
            root=plan.root, split_seed=0,
        )  # fmt: skip
    return store


def embed_stub(
    folder: Path, progress: Callable[[Progress], None] = silent, **options: object
) -> None:
    """Embed a store in small batches and small shards, without sentences."""
    chosen = {
        "batch_size": 2, "shard_rows": 4, "description_sets": (), **options,
    }  # fmt: skip
    embed_with(
        FeatureStore(folder),
        StubBackbone(),  # type: ignore[arg-type]  # a stand-in
        EmbedOptions(**chosen),  # type: ignore[arg-type]  # by name
        progress,
    )


def stored_rows(store: FeatureStore) -> dict[str, list[float]]:
    """Content digest to vector of every image; fails if one has two."""
    rows = store.sql("SELECT content_digest, embedding FROM image_features").fetchall()
    stored = {key: list(vector) for key, vector in rows}
    keys = [key for (key,) in store.sql("SELECT item_id FROM features").fetchall()]
    assert len(keys) == len(set(keys)), "a key has two rows"
    assert set(stored) <= set(keys)
    return stored


def assert_tidy(store: FeatureStore) -> None:
    """No leftovers: files are exactly the shards of the catalog, all sound."""
    listed = {path for (path,) in store.sql("SELECT path FROM shards").fetchall()}
    folder = store.path / "features"
    on_disk = {
        str(path.relative_to(store.path))
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert on_disk == listed
    n_shards = store.sql("SELECT count(*) FROM shards").fetchall()
    assert n_shards == [(len(listed),)]
    assert not store.verify()
