"""A store as somebody looks through it: one object for as long as the gallery runs."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import FeatureStore, choose_encoder
from retune.store.commits import COMMITS_NAME
from retune.store.errors import ConfigurationError, RetuneError
from retune.store.queries.nearest import read_vector_of
from retune.store.relabelling import Relabelled, add_note, relabel

from ..queries.image_files import find_file, read_grey
from ..searching.query_encoder import QueryEncoder
from ..searching.search import SearchRequest, SearchResult, search
from .grid import Choices, Filters, choose_images, read_choices, read_tiles
from .one_image import ImagePage, find_others_of_patient, read_image_page
from .projection import VectorMap, compute_map, image_of_digest, read_map
from .thumbnails import Thumbnails
from .verdicts import Kind, Mistake, Verdict, Verdicts

__all__ = ["Gallery", "ImageList", "MapPoints"]

_MOST_LISTS, _MOST_FOUND = 12, 200
_NEIGHBOURS = 8


@dataclass(frozen=True)
class ImageList:
    """Images in an order, and where the list came from.

    Attributes:
        image_ids: Strings, N.
        title: For a heading; empty for plain filters.
        similarity: Image id -> similarity, of those that a search has found.
    """

    image_ids: pa.Array
    title: str = ""
    similarity: dict[str, float] | None = None

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True)
class MapPoints:
    """What the map's canvas draws.

    Attributes:
        map: Places.
        image_ids: Ids of each point; None where the picture is no longer in the store.
    """

    map: VectorMap
    image_ids: tuple[str | None, ...]


class Gallery:
    """The questions of all pages, with what they keep in memory.

    Args:
        store: What is looked through.
        author: Under whose name notes and labels are written.
        read_only: Refuse these.
        fingerprint: Whose vectors; None: those of the one encoder, or the newest.
    """

    def __init__(
        self,
        store: FeatureStore,
        author: str,
        *,
        read_only: bool = False,
        fingerprint: str | None = None,
    ) -> None:
        self.store: FeatureStore = store
        self.author: str = author
        self.read_only: bool = read_only
        self.thumbnails: Thumbnails = Thumbnails(store)
        self.verdicts: Verdicts = Verdicts(store)
        self._lists: OrderedDict[str, ImageList] = OrderedDict()
        self._lock = threading.Lock()
        self._computing: threading.Thread | None = None
        self._map_error = ""
        self._points: tuple[VectorMap, MapPoints] | None = None
        self._choices: tuple[object, Choices] | None = None
        self.fingerprint: str | None = fingerprint or _newest_encoder(store)
        self._encoder: QueryEncoder | None = None

    # Lists of images.

    def choices(self) -> Choices:
        """What the filters offer."""
        state = self._state()
        if self._choices is None or self._choices[0] != state:
            self._choices = (state, read_choices(self.store))
        return self._choices[1]

    def choose(self, filters: Filters) -> ImageList:
        """The images of a page of filters, kept for the next part of the page.

        Raises:
            ConfigurationError: A filter cannot be used, or its list is gone.
            QueryError: The condition is none.
        """
        key = f"filter {filters.key()} {self._state()}"
        kept = self._list(key)
        if kept is not None:
            return kept
        among = None
        if filters.among:
            among = self._list(filters.among)
            if among is None:
                raise ConfigurationError(
                    "this list of images is no longer kept", "Search or select again."
                )
        ids = choose_images(
            self.store, filters, None if among is None else among.image_ids
        )
        images = ImageList(
            ids,
            "" if among is None else among.title,
            None if among is None else among.similarity,
        )
        self._keep(key, images)
        return images

    def tiles(self, images: ImageList, start: int, count: int) -> list[dict[str, Any]]:
        """A part of a list with what stands below each picture."""
        part = images.image_ids[max(0, start) : max(0, start) + count].to_pylist()
        tiles = read_tiles(self.store, part)
        for tile in tiles:
            if images.similarity is not None:
                tile["similarity"] = images.similarity.get(tile["image_id"])
        return tiles

    def keep_ids(self, image_ids: Sequence[str], title: str) -> str:
        """Keep images that were chosen by hand; gives the key of their list."""
        key = Filters(where=repr((title, tuple(image_ids)))).key()
        self._keep(key, ImageList(pa.array(image_ids, pa.string()), title))
        return key

    def _list(self, key: str) -> ImageList | None:
        with self._lock:
            if key in self._lists:
                self._lists.move_to_end(key)
            return self._lists.get(key)

    def _keep(self, key: str, images: ImageList) -> None:
        with self._lock:
            self._lists[key] = images
            while len(self._lists) > _MOST_LISTS:
                self._lists.popitem(last=False)

    def _state(self) -> object:
        """Another one after each transaction."""
        try:
            status = (self.store.path / COMMITS_NAME).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    # Search.

    def find(self, text: str, without: str = "") -> tuple[str, SearchResult]:
        """Search for a sentence; gives the key of the list, and what was found."""
        request = SearchRequest(
            text, _MOST_FOUND, without=without or None, kind="sentence"
        )
        title = f"“{text}”" + (f" and not “{without}”" if without else "")
        return self._found(request, title)

    def find_like(self, picture: Any, name: str) -> tuple[str, SearchResult]:
        """Search for images like a picture that is not in the store."""
        return self._found(SearchRequest(picture, _MOST_FOUND), f"like {name}")

    def _found(self, request: SearchRequest, title: str) -> tuple[str, SearchResult]:
        result = search(self.store, request, self.encoder())
        ids = [hit.image_id for hit in result.hits]
        key = Filters(where=repr((title, ids))).key()
        similarity = {hit.image_id: hit.similarity for hit in result.hits}
        self._keep(key, ImageList(pa.array(ids, pa.string()), title, similarity))
        return key, result

    def encoder(self) -> QueryEncoder:
        """Encodes what is searched for.

        Raises:
            ConfigurationError: The store has no vectors.
        """
        if self._encoder is None:
            chosen = choose_encoder(self.store, fingerprint=self.fingerprint)
            self._encoder = QueryEncoder(self.store, chosen.fingerprint)
        return self._encoder

    # One image.

    def image(self, image_id: str) -> ImagePage | None:
        """All that is known of an image; None if it is not in the store."""
        return read_image_page(self.store, image_id)

    def others(self, page: ImagePage) -> list[dict[str, Any]]:
        """The patient's other images."""
        ids = find_others_of_patient(self.store, page).to_pylist()
        return read_tiles(self.store, ids)

    def neighbours(self, image_id: str) -> list[dict[str, Any]]:
        """The nearest images, with their similarity; none without vectors."""
        request = SearchRequest(image_id, _NEIGHBOURS, kind="image")
        try:
            result = search(self.store, request, self.encoder())
        except ConfigurationError:
            return []
        tiles = {
            t["image_id"]: t
            for t in read_tiles(self.store, [hit.image_id for hit in result.hits])
        }
        return [
            {**tiles[hit.image_id], "similarity": hit.similarity}
            for hit in result.hits
            if hit.image_id in tiles
        ]

    def judge(self, image_id: str) -> tuple[list[Verdict], list[str]]:
        """What runs say of an image."""
        if self.fingerprint is None:
            return [], []
        try:
            vector = read_vector_of(self.store, self.fingerprint, image_id)
        except ConfigurationError as error:
            return [], [error.message]
        if vector is None:
            return [], []
        return self.verdicts.on_image(vector, self.fingerprint)

    def picture(self, image_id: str) -> bytes | None:
        """An image at full size as an 8-bit PNG; None if it is not in the store.

        Raises:
            ImageError: Its file is gone or cannot be decoded.
        """
        import io

        path = find_file(self.store, image_id)
        if path is None:
            return None
        file = io.BytesIO()
        read_grey(path).save(file, "PNG", compress_level=1)
        return file.getvalue()

    def mistakes(self, run: str, finding: str, mistake_type: Kind) -> list[Mistake]:
        """See `Verdicts.mistakes`."""
        return self.verdicts.mistakes(run, finding, mistake_type)

    # What a person writes.

    def note(self, image_id: str, text: str, finding: str = "") -> None:
        """Enter a remark.

        Raises:
            ConfigurationError: The gallery is read-only, or see `add_note`.
        """
        self._refuse_if_read_only()
        add_note(self.store, image_id, text, self.author, finding)

    def relabel(self, image_id: str, finding: str, state: str) -> Relabelled:
        """Give a cell another state, as a new version of its dataset's labels.

        Raises:
            ConfigurationError: The gallery is read-only, or see `relabel`.
        """
        self._refuse_if_read_only()
        return relabel(self.store, image_id, finding, state, self.author)

    def _refuse_if_read_only(self) -> None:
        if self.read_only:
            raise ConfigurationError(
                "this gallery is read-only", "Start it without `read_only`."
            )

    # The map.

    def points(self) -> MapPoints | None:
        """The map, if it is made; else it begins to be made."""
        if self.fingerprint is None:
            raise ConfigurationError(
                f"the store {self.store.path} holds no embeddings yet",
                "Run `retune-cli embed` first.",
            )
        made = read_map(self.store, self.fingerprint)
        if made is None:
            self._begin_map(self.fingerprint)
            return None
        if self._points is None or self._points[0].digests != made.digests:
            known = image_of_digest(self.store, made.digests)
            ids = tuple(known.get(one) for one in made.digests)
            self._points = (made, MapPoints(made, ids))
        return self._points[1]

    @property
    def map_error(self) -> str:
        """Why the map could not be made; empty if it could, or may still be."""
        return self._map_error

    def _begin_map(self, fingerprint: str) -> None:
        def compute() -> None:
            try:
                compute_map(self.store, fingerprint)
            except RetuneError as error:
                self._map_error = error.message
            except Exception as error:  # noqa: BLE001 - a thread has no other place to tell
                self._map_error = f"{type(error).__name__}: {error}"

        with self._lock:
            if self._map_error or (self._computing and self._computing.is_alive()):
                return
            self._computing = threading.Thread(target=compute, daemon=True)
            self._computing.start()

    def colours(
        self, points: MapPoints, by: str, finding: str = "", run: str = ""
    ) -> list[Any]:
        """A value per point to colour it by.

        Args:
            points: The map.
            by: dataset, split, view, sex, finding (its label) or score (a run's
                probability).
            finding: For the last two.
            run: For the last.

        Returns:
            Texts, or numbers within 0..1 for ``score``; None where unknown.
        """
        ids = [one or "" for one in points.image_ids]
        if by == "score":
            return self._scores(points, finding, run)
        with self.store.catalog.read() as connection:
            connection.register("asked", pa.table({"image_id": ids}))
            if by == "finding":
                rows = connection.execute(
                    """SELECT image_id, state FROM labels WHERE finding = ?
                    AND image_id IN (SELECT image_id FROM asked)""",
                    [finding],
                ).fetchall()
            elif by in ("dataset", "split", "view", "sex"):
                rows = connection.execute(
                    f"""SELECT image_id, {by} FROM images
                    WHERE image_id IN (SELECT image_id FROM asked)"""
                ).fetchall()
            else:
                raise ConfigurationError(
                    f"the map cannot be coloured by {by!r}",
                    "Use dataset, split, view, sex, finding or score.",
                )
        known = dict(rows)
        return [known.get(one) for one in ids]

    def _scores(self, points: MapPoints, finding: str, run: str) -> list[Any]:
        from retune.store import read_vectors

        assert self.fingerprint is not None
        keys, vectors = read_vectors(self.store, self.fingerprint)
        row_of_digest = {key.decode(): row for row, key in enumerate(keys)}
        rows = np.array([row_of_digest.get(one, -1) for one in points.map.digests])
        scores: npt.NDArray[np.float64] = np.full(len(rows), np.nan)
        known = rows >= 0
        scores[known] = self.verdicts.probabilities(run, finding, vectors[rows[known]])
        return [None if np.isnan(value) else round(float(value), 4) for value in scores]


def _newest_encoder(store: FeatureStore) -> str | None:
    """The encoder with vectors of images that was added last; None if there is none."""
    rows = store.rows(
        """SELECT fingerprint FROM encoders WHERE fingerprint IN
            (SELECT fingerprint FROM features WHERE modality = 'image')
        ORDER BY added_at DESC LIMIT 1"""
    )
    return str(rows[0][0]) if rows else None
