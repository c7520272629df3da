"""Images of a store that look like a sentence, a file, or another image."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from retune.store import FeatureStore, choose_encoder
from retune.store.errors import ConfigurationError
from retune.store.plural import counted
from retune.store.queries.nearest import (
    RankedVectors,
    rank_vectors,
    read_ranked_images,
)

from ...datasets.leakage import read_populations
from ..queries.listing import Listing
from .query_encoder import QueryEncoder

if TYPE_CHECKING:
    import pandas as pd

    from ..predicting.pictures import Picture

__all__ = ["Kind", "SearchHit", "SearchRequest", "SearchResult", "search"]

Vector = npt.NDArray[np.float32]
Kind = Literal["image", "file", "sentence", "picture"]
#: Texts that end so are taken for files.
_SUFFIXES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp")
_COLUMNS = (
    "rank", "image_id", "similarity", "patient_id", "split", "view", "positive",
)  # fmt: skip


@dataclass(frozen=True)
class SearchRequest:
    """What is looked for, and among which images.

    Attributes:
        query: An image id of the store, a file, a sentence, or a picture in memory; a
            text is taken for the first of these that it can be.
        k: Images to find.
        without: A sentence that they should not fit; the similarity is then the
            difference of two cosines, as in zero-shot scoring.
        per_patient: Images of one patient at most; None: any number.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.
        backbone: Whose vectors; None if the store has those of one encoder.
        fingerprint: Fingerprint of the encoder, or its beginning.
        kind: What the query is; None: see `query`.
        encode_with: Where the backbone lies now, or which one made imported vectors.
        allow_pickle: Take .bin and .pt weights of it if there are no safetensors.
    """

    query: "str | Path | Picture"
    k: int = 10
    without: str | None = None
    per_patient: int | None = None
    datasets: tuple[str, ...] | None = None
    where: str | None = None
    backbone: str | None = None
    fingerprint: str | None = None
    kind: Kind | None = None
    encode_with: str | None = None
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        for name, value in (("k", self.k), ("per_patient", self.per_patient)):
            if value is not None and value < 1:
                raise ConfigurationError(f"`{name}` is {value}", "Use 1 or more.")


@dataclass(frozen=True)
class SearchHit:
    """An image that was found.

    Attributes:
        rank: From 1, the most similar.
        image_id: In the store.
        similarity: Cosine with the query, or the difference of two.
        dataset: Dataset of the image.
        path: Relative to the dataset's folder.
        patient_id: Patient id of the image.
        study_id: Study of the image.
        view: View of the image.
        sex: Sex of the patient.
        age: In years.
        split: Split of the image.
        positive: Findings whose label is positive.
    """

    rank: int
    image_id: str
    similarity: float
    dataset: str
    path: str
    patient_id: str | None
    study_id: str | None
    view: str | None
    sex: str | None
    age: float | None
    split: str | None
    positive: tuple[str, ...]


@dataclass(frozen=True)
class SearchResult(Sequence[SearchHit]):
    """The images that were found, the most similar first.

    Attributes:
        hits: The images.
        kind: What the query was taken for: image, file, sentence or picture.
        fingerprint: Whose vectors were compared.
        n_compared: How many.
    """

    hits: Listing[SearchHit]
    kind: Kind
    fingerprint: str
    n_compared: int

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, index: Any) -> Any:
        return self.hits[index]

    def frame(self) -> "pd.DataFrame":
        """The images as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(
            [asdict(hit) for hit in self.hits],
            columns=list(SearchHit.__dataclass_fields__),
        )

    def __repr__(self) -> str:
        head = f"{self.kind}, compared with {counted(self.n_compared, 'image')}"
        return f"{head}\n{self.hits!r}"

    def _repr_html_(self) -> str:
        return self.hits._repr_html_()


def search(
    store: FeatureStore,
    request: SearchRequest,
    encoder: QueryEncoder | None = None,
) -> SearchResult:
    """Compare every image of one encoder with what is looked for.

    Args:
        store: Where to look.
        request: What for.
        encoder: Whose vectors are compared, with its backbone loaded perhaps; None: the
            one that the request means.

    Raises:
        BackboneError: The backbone cannot be loaded.
        ConfigurationError: No encoder or several fit, a dataset is unknown, the query
            is empty, or looks like a file that is not there.
        ImageError: The picture cannot be used.
        QueryError: `where` is not a valid condition.
    """
    if encoder is None:
        chosen = choose_encoder(
            store, backbone=request.backbone, fingerprint=request.fingerprint
        )
        encoder = QueryEncoder(
            store,
            chosen.fingerprint,
            backbone=request.encode_with,
            allow_pickle=request.allow_pickle,
        )
    query_type, vector = _vector_of(request, encoder)
    direction = _unit(vector)
    if request.without is not None:
        if not request.without.strip():
            raise ConfigurationError("`without` is empty", "Write a sentence.")
        direction = direction - _unit(encoder.sentence(request.without))
    rank = partial(
        rank_vectors, store, encoder.fingerprint,
        datasets=request.datasets, where=request.where,
    )  # fmt: skip
    ranked = rank(direction)
    hits = _read_hits(store, request, query_type, ranked)
    listing = Listing.of(hits, _COLUMNS)
    return SearchResult(listing, query_type, encoder.fingerprint, len(ranked))


def _unit(vector: Vector) -> Vector:
    unit: Vector = vector / np.linalg.norm(vector)
    return unit


def _vector_of(request: SearchRequest, encoder: QueryEncoder) -> tuple[Kind, Vector]:
    """What the query is, and its vector."""
    query, query_type = request.query, request.kind
    if not isinstance(query, str | Path):
        return "picture", encoder.picture(query)
    text = str(query)
    if not text.strip():
        raise ConfigurationError(
            "the query is empty", "Write a sentence, or name a file or an image id."
        )
    if query_type in (None, "image"):
        vector = encoder.image(text)
        if vector is not None:
            return "image", vector
        if query_type == "image":
            raise ConfigurationError(
                f"the store has no image {text}", "Its ids are in the table images."
            )
    if query_type == "file" or (query_type is None and _is_file(text)):
        return "file", encoder.picture(text)
    return "sentence", encoder.sentence(text)


def _is_file(text: str) -> bool:
    """Whether a text names a file that is there.

    Raises:
        ConfigurationError: It looks like a file, and there is none.
    """
    try:
        if Path(text).is_file():
            return True
    except (OSError, ValueError):  # too long for a name, or a zero byte
        return False
    if text.lower().endswith(_SUFFIXES) and not text.strip().count(" "):
        raise ConfigurationError(
            f"there is no file {text} and no image of this id in the store",
            'Ids are in the table images: `retune-cli sql "SELECT image_id FROM '
            'images LIMIT 5"`.',
        )
    return False


def _read_hits(
    store: FeatureStore, request: SearchRequest, query_type: Kind, ranked: RankedVectors
) -> list[SearchHit]:
    """As many images as asked for; more vectors are looked at until there are."""
    populations = read_populations(store) if request.per_patient else {}
    most = 2 * request.k + 10
    while True:
        table = read_ranked_images(
            store,
            ranked.positions(ranked.best(most)),
            datasets=request.datasets,
            where=request.where,
        )
        seen: dict[object, int] = {}
        hits: list[SearchHit] = []
        for row in table.drop_columns(["content_digest"]).to_pylist():
            if query_type == "image" and row["image_id"] == request.query:
                continue
            who = (populations.get(row["dataset"]), row["patient_id"])
            if request.per_patient is not None and row["patient_id"] is not None:
                seen[who] = seen.get(who, 0) + 1
                if seen[who] > request.per_patient:
                    continue
            row["positive"] = tuple(row["positive"])
            hits.append(SearchHit(rank=len(hits) + 1, **row))
            if len(hits) == request.k:
                return hits
        if most >= len(ranked):
            return hits
        most *= 4
