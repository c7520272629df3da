"""Words that are part of a picture: a cheap detector, which reads nothing.

Letters have many sharp edges side by side, which anatomy has not. Along a row of pixels
a word goes up and down again several times within a few letters' width, and so do the
rows above and below it, as high as the letters are. A side marker (one or two letters)
does so two to four times and is not counted as words.
"""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

__all__ = ["has_burned_in_text"]

#: Longer sides are reduced to this, by a whole factor. Letters are looked for at this
#: size, at half of it, and so on while sides have as many pixels as the next says.
_MOST_PIXELS = 1280
_FEWEST_PIXELS = 64
#: Steps of grey from one pixel to the next that are an edge.
_STEP = 24
#: Pixels of a piece of a row; a window is two pieces.
_PIECE = 20
#: Times that a window goes up, and down, where there are words.
_STROKES = 7
#: Of so many rows that follow each other, all but one go up and down so often.
_ROWS = 6
#: Where more of a picture is like this, it is no writing but a pattern or noise.
_MOST_OF_IT = 0.2

Grey = npt.NDArray[np.uint8]


def has_burned_in_text(picture: Image.Image) -> bool:
    """Whether a picture seems to have words in it.

    Measured on NIH radiographs (docs/privacy.md). Handwriting, faint letters, words of
    one or two letters, and letters lower than about 8 pixels of a side of 1,280 are
    overlooked; combs of wires may be taken for words.

    Args:
        picture: Picture of any mode of 8 bits.

    >>> has_burned_in_text(Image.new("L", (320, 320)))
    False
    """
    grey = picture if picture.mode == "L" else picture.convert("L")
    factor = math.ceil(max(grey.size) / _MOST_PIXELS)
    if factor > 1:
        grey = grey.reduce(factor)
    while min(grey.size) >= _FEWEST_PIXELS:
        if _has_words(np.asarray(grey)):
            return True
        grey = grey.reduce(2)
    return False


def _has_words(grey: Grey) -> bool:
    higher = grey + np.uint8(_STEP)
    can_rise = higher >= _STEP  # else the sum was above 255 and began anew at 0
    rising = (grey[:, 1:] > higher[:, :-1]) & can_rise[:, :-1]
    falling = (grey[:, :-1] > higher[:, 1:]) & can_rise[:, 1:]
    # Rows of words have so many edges; most rows of radiographs have not.
    rows = np.flatnonzero(np.minimum(_in_rows(rising), _in_rows(falling)) >= _STROKES)
    if len(rows) < _ROWS - 1:
        return False
    strokes = np.minimum(_edges(rising[rows]), _edges(falling[rows]))
    busy = np.zeros((len(grey), strokes.shape[1]), dtype=bool)
    busy[rows] = strokes >= _STROKES
    if not busy.any() or busy.mean() > _MOST_OF_IT:
        return False
    counts = np.cumsum(busy, axis=0, dtype=np.int32)
    first = counts[_ROWS - 1 : _ROWS]
    in_rows = np.concatenate([first, counts[_ROWS:] - counts[:-_ROWS]])
    return bool((in_rows >= _ROWS - 1).any())


def _in_rows(steep: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint32]:
    """How many there are in each row; a third of the time of `np.count_nonzero`."""
    counts: npt.NDArray[np.uint32] = np.add.reduce(
        steep.view(np.uint8), axis=1, dtype=np.uint32
    )
    return counts


def _edges(steep: npt.NDArray[np.bool_]) -> npt.NDArray[np.int16]:
    """How many edges begin in each window, shape (rows, windows).

    A step over two pixels is one edge.
    """
    begins = steep.copy()
    begins[:, 1:] &= ~steep[:, :-1]
    n_pieces = begins.shape[1] // _PIECE
    pieces = begins[:, : n_pieces * _PIECE].reshape(len(begins), n_pieces, _PIECE)
    counts = pieces.sum(axis=2, dtype=np.int16)
    return np.asarray(counts[:, 1:] + counts[:, :-1], dtype=np.int16)
