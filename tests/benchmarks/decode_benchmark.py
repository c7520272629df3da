"""From files to a backbone's pixels on one core: compiled loops beside Pillow alone."""

import io
from pathlib import Path

import numpy as np
from encode_benchmark import mini_preprocess, radiographs
from measuring import Row, in_turns
from PIL import Image

from retune.pipeline.encode.images.decode import decode_image
from retune.pipeline.encode.images.fast.kernels import load_kernels, use_kernels
from retune.pipeline.encode.images.preprocess import Preprocess

#: Of a radiograph as MIMIC-CXR-JPG has it: width and height.
JPEG_SIZE = (2300, 2800)
_N_FILES = 8


def decode_rows(root: Path, repeats: int) -> list[Row]:
    """Images/s of one core; goals are of the issue that asked for it."""
    preprocess = mini_preprocess()
    pictures = sorted(radiographs(root, "nih-1024").rglob("*.png"))[:_N_FILES]
    png = [path.read_bytes() for path in pictures]
    jpeg = [_as_jpeg(content) for content in png]
    load_kernels()
    rows = []
    for name, files in (("PNG 1024²", png), ("JPEG 2300×2800", jpeg)):
        ours, before, ratio, most = _against_pillow(files, preprocess, repeats)
        title = f"{name} to pixels of mini, one core: Pillow alone"
        rows.append(Row(title, ours, before, "images/s", ratio, 2.0))
        # A ratio has to be above 0 to be printed; 1 stands for no difference.
        rows.append(Row("... largest difference + 1, of 255", most + 1, 1, "", 1.0))
    return rows


def _as_jpeg(content: bytes) -> bytes:
    file = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        grey = image.convert("L").resize(JPEG_SIZE, Image.Resampling.BICUBIC)
    grey.save(file, "JPEG", quality=90)
    return file.getvalue()


def _against_pillow(
    files: list[bytes], preprocess: Preprocess, repeats: int
) -> tuple[float, float, float, int]:
    def ours() -> list[np.ndarray]:
        return [preprocess.to_pixels(decode_image(one)) for one in files]

    def before() -> list[np.ndarray]:
        return [_by_pillow(one, preprocess) for one in files]

    most = max(
        int(np.abs(one.astype(int) - other).max())
        for one, other in zip(ours(), before(), strict=True)
    )
    seconds, others, ratio = in_turns(ours, before, max(5, repeats))
    return len(files) / seconds, len(files) / others, ratio, most


def _by_pillow(content: bytes, preprocess: Preprocess) -> np.ndarray:
    """The steps of version 0.2.0 for a grey picture that asks for nothing."""
    use_kernels(allowed=False)
    with Image.open(io.BytesIO(content)) as opened:
        opened.load()
        image = opened.copy()
    image.getextrema()
    pixels = preprocess.to_pixels(image)
    use_kernels(allowed=True)
    return pixels
