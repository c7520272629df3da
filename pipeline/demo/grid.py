"""Where the pixels of a film lie, and the smooth fields drawn on them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Grid", "grid_of", "smoothstep", "upsample"]

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Pixel centres of one film in film units; rows and columns broadcast.

    Attributes:
        x: (1, R) float32.
        y: (R, 1) float32.
        pixel: Width of one pixel.
        zoom: How much larger than life the anatomy is shown.
        move: Where the film shows the point (0, 0), in parts of half a film.
    """

    x: Array
    y: Array
    pixel: float
    zoom: float
    move: tuple[float, float]

    @property
    def pixels(self) -> int:
        """Rows, and columns, of the film."""
        return self.x.size

    def coarse(self, factor: int) -> "Grid":
        """The same view with `factor` times fewer rows and columns."""
        return grid_of(max(self.pixels // factor, 8), self.zoom, self.move)

    def box(
        self, left: float, top: float, right: float, bottom: float
    ) -> tuple[slice, slice]:
        """Rows and columns inside a rectangle of film units.

        Drawing a small structure only there is what keeps a film cheap.
        """
        rows = np.searchsorted(self.y[:, 0], (top, bottom)).tolist()
        columns = np.searchsorted(self.x[0], (left, right)).tolist()
        return slice(*rows), slice(*columns)

    def to_raster(
        self, points: NDArray[np.float64], pixels: int
    ) -> NDArray[np.float64]:
        """Film units (…, 2) to pixel positions of a raster of `pixels` × `pixels`."""
        return np.asarray((points * self.zoom + self.move + 1) * (pixels / 2))


def grid_of(
    pixels: int, zoom: float = 1.0, move: tuple[float, float] = (0.0, 0.0)
) -> Grid:
    """A film of `pixels` × `pixels`.

    >>> grid_of(4).x.tolist()
    [[-0.75, -0.25, 0.25, 0.75]]
    """
    centre = (np.arange(pixels) + 0.5) * (2 / pixels) - 1
    x = ((centre - move[0]) / zoom).astype(np.float32)[None, :]
    y = ((centre - move[1]) / zoom).astype(np.float32)[:, None]
    return Grid(x, y, 2 / (pixels * zoom), zoom, move)


def smoothstep(low: float, high: float, at: Array) -> Array:
    """0 below `low`, 1 above `high`, a smooth cubic between; float32 like `at`.

    >>> smoothstep(0.0, 1.0, np.float32([-1, 0.5, 2])).tolist()
    [0.0, 0.5, 1.0]
    """
    t: Array = (at - np.float32(low)) * np.float32(1 / (high - low))
    t = np.minimum(np.maximum(t, np.float32(0)), np.float32(1))
    smooth: Array = t * t * (3 - 2 * t)
    return smooth


def upsample(field: Array, pixels: int) -> Array:
    """A smooth square field, enlarged to (pixels, pixels) by linear interpolation.

    >>> upsample(np.eye(2, dtype=np.float32), 4)[0].tolist()
    [1.0, 0.75, 0.25, 0.0]
    """
    near, far, weight = _between(field.shape[0], pixels)
    columns = field.T
    columns = columns[near] * (1 - weight) + columns[far] * weight
    rows = np.ascontiguousarray(columns.T)
    enlarged = rows[near]
    enlarged *= 1 - weight
    rest = rows[far]
    rest *= weight
    enlarged += rest
    return enlarged


@lru_cache(maxsize=32)
def _between(
    coarse: int, fine: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], Array]:
    """For each fine pixel: the coarse ones on its two sides, and the second's share."""
    at = (np.arange(fine) + 0.5) * (coarse / fine) - 0.5
    at = np.minimum(np.maximum(at, 0), coarse - 1)
    near = np.floor(at).astype(np.int64)
    far = np.minimum(near + 1, coarse - 1)
    return near, far, (at - near).astype(np.float32)[:, None]
