"""Words burned into a picture are told from side markers, anatomy and noise."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_samples import write_dataset, write_tiny_backbone
from PIL import Image, ImageDraw, ImageFont

from retune.pipeline.app.embed import embed
from retune.pipeline.app.ingest import IngestRequest, ingest
from retune.pipeline.encode.burned_in import _has_words, has_burned_in_text
from retune.pipeline.encode.options import EmbedOptions
from retune.store import FeatureStore

_NAME, _DATE = "MUELLER, HANS", "12.03.1956"


def _film(size: int = 320, seed: int = 0) -> Image.Image:
    """Smooth shapes with a little grain, as a radiograph has them."""
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 200, (6, 6), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    grain = random.normal(0, 3, (size, size))
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype("u1"))


def _with(film: Image.Image, text: str, height: int, seed: int = 0) -> Image.Image:
    """A copy with letters on it, brighter or darker than what is behind them."""
    random = np.random.default_rng(seed)
    film = film.copy()
    draw, font = ImageDraw.Draw(film), ImageFont.load_default(height)
    width = draw.textlength(text, font=font)
    x = int(random.uniform(0, max(1, film.width - width)))
    y = int(random.uniform(0, film.height - 1.3 * height))
    behind = np.asarray(film)[y : y + height, x : x + int(width) + 1].mean()
    draw.text((x, y), text, fill=255 if behind < 140 else 0, font=font)
    return film


@pytest.mark.parametrize("size", [320, 1024, 2600])
@pytest.mark.parametrize("share", [0.035, 0.05, 0.08])
def test_a_name_is_seen_and_a_side_marker_is_not(size: int, share: float) -> None:
    film = _film(size)
    height = round(share * size)
    assert has_burned_in_text(_with(film, _NAME, height))
    for marker in ("L", "R", "AP"):
        assert not has_burned_in_text(_with(film, marker, height))
    assert not has_burned_in_text(film)


def _words_by_definition(grey: np.ndarray) -> bool:
    """Six rows, five of them with a window that goes up and down seven times."""
    steps = np.diff(grey.astype(int), axis=1)
    times = []
    for steep in (steps > 24, steps < -24):
        begins = steep & ~np.pad(steep, ((0, 0), (1, 0)))[:, :-1]
        starts = range(0, begins.shape[1] - 39, 20)
        each = [begins[:, start : start + 40].sum(axis=1) for start in starts]
        times.append(np.array(each).reshape(-1, len(grey)))
    busy = np.minimum(*times) >= 7
    if not busy.size or busy.mean() > 0.2:
        return False
    rows = range(len(grey) - 5)
    return any((busy[:, row : row + 6].sum(axis=1) >= 5).any() for row in rows)


@given(seed=st.integers(0, 10_000))
def test_it_is_what_its_definition_says(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = int(random.integers(64, 200))
    film = _film(size, seed)
    for _ in range(int(random.integers(0, 3))):
        text = "PORTABLE 12:30 SMITH"[: int(random.integers(3, 20))]
        film = _with(film, text, int(random.integers(8, 30)), seed)
    rows = np.asarray(film)[: int(random.integers(1, size))].copy()
    if seed % 3 == 0:
        rows[random.random(rows.shape) < 0.1] = random.integers(0, 256)
    if seed % 4 == 0:
        rows = 255 - rows  # near the end of the scale
    assert _has_words(rows) == _words_by_definition(rows)


def test_noise_stripes_and_small_pictures_are_no_words() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (300, 300), dtype=np.uint8)
    stripes = np.tile(np.array([0, 0, 255, 255], np.uint8), (300, 75))
    for pixels in (noise, stripes, noise[:40, :40], noise[:, :5]):
        assert not has_burned_in_text(Image.fromarray(pixels))
    assert has_burned_in_text(_with(_film(), _NAME, 14).convert("RGB"))


@pytest.mark.real
def test_on_radiographs_it_finds_what_was_drawn(real_data: Path) -> None:
    """Of NIH's own pictures those with words such as PORTABLE are flagged."""
    files = sorted((real_data / "nih-320" / "images").iterdir())[:120]
    films = [Image.open(file).convert("L") for file in files]
    plain = [film for film in films if not has_burned_in_text(film)]
    assert 0.7 * len(films) < len(plain) < 0.9 * len(films)
    for text, least in ((_NAME, 0.98), (_DATE, 0.8)):
        seen = [
            has_burned_in_text(_with(film, text, height, seed))
            for seed, film in enumerate(plain)
            for height in (10, 20, 40)
        ]
        assert np.mean(seen) >= least
    for marker in ("L", "R"):
        seen = [
            has_burned_in_text(_with(film, marker, height, seed))
            for seed, film in enumerate(plain)
            for height in (14, 28)
        ]
        assert np.mean(seen) <= 0.01


def test_embed_counts_them_and_the_catalog_names_them(tmp_path: Path) -> None:
    names = write_dataset(tmp_path / "data", 6)
    _with(_film(), _NAME, 14).save(tmp_path / "data" / names[2])
    store = FeatureStore.create(tmp_path / "store")
    ingest(store.path, IngestRequest(tmp_path / "data", "table"))
    backbone = write_tiny_backbone(tmp_path / "tiny")
    assert embed(store, EmbedOptions(backbone)).images_with_text == 1
    named = store.sql(
        "SELECT path FROM images JOIN burned_in_text USING (content_digest)"
    ).fetchall()
    assert named == [(names[2],)]
