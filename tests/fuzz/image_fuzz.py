"""Mutated and hostile image files through the door that `embed` uses.

    make fuzz [IMAGES=20000] [SEED=0]

Prints counts by kind, the longest time and the peak of memory. It exits with 1 if an
exception other than a failure row escaped, an image took longer than its limit and was
not ended, or memory exceeded 1.5 GB. A process that a file ended, and one that was
ended at its limit, are counted: they cost their image only.
"""

import argparse
import io
import json
import os
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dicom_samples import dicom, saved
from hostile import HOSTILE, HOSTILE_FILES
from memory import own_peak_bytes
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)
from structured import with_changed_structure

from retune.pipeline.encode.images.isolation import TIME_LIMIT_VARIABLE, end_decoding
from retune.pipeline.encode.images.reading import ImageItem, read_image

__all__ = ["FuzzReport", "fuzz_images"]

_SIDE = 40
_MOST_BYTES = 1_500_000_000
_LONGEST_SECONDS = 8
_AT_ONCE = 256
_BY_STRUCTURE, _BY_BOTH = 0.55, 0.1
Pixels = npt.NDArray[np.uint8]


@dataclass
class FuzzReport:
    """What became of the images.

    Attributes:
        outcomes: Kind and outcome, such as (``PNG``, ``picture``), with their number.
        escaped: Exceptions that are no failure rows.
        longest_seconds: Of one image, and of which kind.
        longest_kind: See there.
        peak_bytes: Of this process, and of the largest of its children.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    escaped: list[str] = field(default_factory=list)
    longest_seconds: float = 0.0
    longest_kind: str = ""
    peak_bytes: tuple[int, int] = (0, 0)

    @property
    def fine(self) -> bool:
        """Whether nothing escaped, hung or swelled."""
        return (
            not self.escaped
            and self.longest_seconds < 3 * _LONGEST_SECONDS
            and max(self.peak_bytes) < _MOST_BYTES
        )


def _of_pillow(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _packed(pixels: Pixels, form: str, syntax: str, **options: object) -> bytes:
    dataset = dicom(pixels, syntax=syntax, bits=8 * pixels.dtype.itemsize)
    dataset.PixelData = encapsulate(
        [_of_pillow(Image.fromarray(pixels), form, **options)]
    )
    dataset["PixelData"].VR = "OB"
    return saved(dataset)


def whole_files(random: np.random.Generator) -> dict[str, bytes]:
    """A small file of each kind."""
    grey = random.integers(0, 256, (_SIDE, _SIDE + 8)).astype("u1")
    wide = random.integers(0, 4096, grey.shape).astype("u2")
    image = Image.fromarray(grey)
    exif = Image.Exif()
    exif[0x0112] = 6
    run_length = dicom(wide, bits=12)
    run_length.compress(RLELossless)
    window = {"WindowCenter": 2000, "WindowWidth": 3000, "PixelPaddingValue": 0}
    files = {
        "PNG": _of_pillow(image, "PNG", exif=exif),
        "PNG RGBA": _of_pillow(image.convert("RGBA"), "PNG"),
        "PNG palette": _of_pillow(image.convert("P"), "PNG", transparency=3),
        "PNG 16": _of_pillow(Image.fromarray(wide), "PNG"),
        "JPEG": _of_pillow(image, "JPEG", exif=exif),
        "JPEG progressive": _of_pillow(image.convert("RGB"), "JPEG", progressive=True),
        "JPEG CMYK": _of_pillow(image.convert("CMYK"), "JPEG"),
        "TIFF": _of_pillow(image, "TIFF"),
        "TIFF 16": _of_pillow(Image.fromarray(wide), "TIFF"),
        "BMP": _of_pillow(image.convert("P"), "BMP"),
        "DICOM": saved(dicom(wide, "MONOCHROME1", bits=12, **window)),
        "DICOM implicit": saved(dicom(grey, syntax=ImplicitVRLittleEndian)),
        "DICOM big-endian": saved(dicom(wide, bits=12, syntax=ExplicitVRBigEndian)),
        "DICOM deflated": saved(dicom(grey, syntax=DeflatedExplicitVRLittleEndian)),
        "DICOM RLE": saved(run_length),
        "DICOM JPEG": _packed(grey, "JPEG", JPEGBaseline8Bit),
        "DICOM JPEG 2000": _packed(grey, "JPEG2000", JPEG2000Lossless),
        "DICOM JPEG 2000, 16": _packed(
            wide, "JPEG2000", JPEG2000Lossless, irreversible=False, no_jp2=True
        ),
    }
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits", "group4"):
        one = image.convert("1") if compression == "group4" else image
        files[f"TIFF {compression}"] = _of_pillow(one, "TIFF", compression=compression)
    return files


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """A file with a few bits, bytes or pieces changed, or cut short."""
    damaged = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        # Headers come first and matter most.
        near = int(random.integers(0, min(len(damaged), 1200))) if damaged else 0
        offset = (
            near if random.random() < 0.7 else int(random.integers(0, len(damaged)))
        )
        way = int(random.integers(0, 6))
        if way == 0:
            damaged[offset] ^= 1 << int(random.integers(0, 8))
        elif way == 1:
            damaged[offset : offset + 4] = random.bytes(4)
        elif way == 2:
            edges = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1")
            damaged[offset : offset + 4] = edges[int(random.integers(0, 4))]
        elif way == 3:
            del damaged[offset:]
        elif way == 4:
            damaged[offset:offset] = damaged[
                offset : offset + int(random.integers(1, 200))
            ]
        else:
            del damaged[offset : offset + int(random.integers(1, 40))]
        if not damaged:
            break
    return bytes(damaged)


def with_right_checksums(content: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold now, as far as it goes.

    Else the reader stops at the first checksum, and nothing behind it is tried.
    """
    mended, offset = bytearray(content), 8
    while offset + 12 <= len(mended):
        size = int.from_bytes(mended[offset : offset + 4], "big")
        end = offset + 8 + size
        if end + 4 > len(mended):
            break
        checksum = zlib.crc32(mended[offset + 4 : end])
        mended[end : end + 4] = checksum.to_bytes(4, "big")
        offset = end + 4
    return bytes(mended)


def _jobs(folder: Path, n_images: int, seed: int) -> Iterator[tuple[str, Path]]:
    """Kinds and files, made as they are asked for."""
    random = np.random.default_rng(seed)
    wholes = list(whole_files(random).items())
    for case, make in HOSTILE_FILES.items():
        path = folder / case.replace(" ", "-")
        make(path)
        yield case, path
    for number, (case, build) in enumerate(HOSTILE.items()):
        path = folder / f"hostile-{number}"
        path.write_bytes(build())
        yield case, path
    for number in range(n_images):
        case, content = wholes[number % len(wholes)]
        path = folder / f"{number}"
        # Half of them by what the file says, half by its bytes, some by both.
        way = random.random()
        changed = content
        if way < _BY_STRUCTURE:
            changed = with_changed_structure(case, content, random)
        if way > _BY_STRUCTURE - _BY_BOTH:
            changed = mutated(changed, random)
            if case.startswith("PNG") and random.random() < 0.7:
                changed = with_right_checksums(changed)
        path.write_bytes(changed)
        yield case, path


def _outcome(reason: str) -> str:
    for words, name in (
        ("longer than the limit", "ended at its limit of time"),
        ("decoder ended by", "ended its process"),
        ("more memory than", "ended at its limit of memory"),
    ):
        if words in reason:
            return name
    return "failure row"


def fuzz_images(n_images: int, seed: int, threads: int = 2) -> FuzzReport:
    """Read hostile and mutated files as `embed` does.

    Args:
        n_images: Mutated ones; hostile ones come in addition.
        seed: Of the mutations.
        threads: That read at the same time.
    """
    report = FuzzReport()
    before = os.environ.get(TIME_LIMIT_VARIABLE)
    os.environ[TIME_LIMIT_VARIABLE] = str(_LONGEST_SECONDS)

    def read(job: tuple[str, Path]) -> tuple[str, str, float]:
        case, path = job
        started = time.perf_counter()
        try:
            item = ImageItem(path.name, str(path.parent), path.name)
            result = read_image(item, _small, lambda _: False)
            outcome = "picture" if result.pixels is not None else ""
            outcome = outcome or _outcome(
                result.failure.error if result.failure else ""
            )
        except BaseException as error:  # noqa: BLE001 - what the fuzz run looks for
            outcome = f"ESCAPED {type(error).__name__}: {error}"
        if path.name.isdigit():
            path.unlink()
        return case, outcome, time.perf_counter() - started

    try:
        with (
            tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
            ThreadPoolExecutor(threads) as pool,
        ):
            jobs = _jobs(Path(folder), n_images, seed)
            while part := [job for _, job in zip(range(_AT_ONCE), jobs, strict=False)]:
                for case, outcome, seconds in pool.map(read, part):
                    report.outcomes[case, outcome] += 1
                    if outcome.startswith("ESCAPED"):
                        report.escaped.append(f"{case}: {outcome}")
                    if seconds > report.longest_seconds:
                        report.longest_seconds, report.longest_kind = seconds, case
    finally:
        end_decoding()
        if before is None:
            del os.environ[TIME_LIMIT_VARIABLE]
        else:
            os.environ[TIME_LIMIT_VARIABLE] = before
    report.peak_bytes = (
        own_peak_bytes(),
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    )
    return report


def _small(image: Image.Image) -> Pixels:
    short = min(image.size)
    size = (image.width * 64 // short or 1, image.height * 64 // short or 1)
    return np.asarray(image.resize(size).convert("RGB"))


def main() -> int:
    """Run, print, and say by the exit code whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    started = time.perf_counter()
    report = fuzz_images(given.images, given.seed)
    outcomes = sorted({outcome for _, outcome in report.outcomes})
    kinds = sorted({case for case, _ in report.outcomes})
    for case in kinds:
        counts = (
            f"{report.outcomes[case, outcome]:,} {outcome}"
            for outcome in outcomes
            if report.outcomes[case, outcome]
        )
        print(f"{case:36} {', '.join(counts)}")
    print("all:", dict(sum_by_outcome(report)))
    own, child = (f"{peak / 1e6:,.0f} MB" for peak in report.peak_bytes)
    print(
        f"seed {given.seed}; {sum(report.outcomes.values()):,} files in "
        f"{time.perf_counter() - started:,.0f} s; longest "
        f"{report.longest_seconds:.1f} s ({report.longest_kind}); peak memory {own}, "
        f"of a decoding process {child}; escaped: {len(report.escaped)}"
    )
    for line in report.escaped[:10]:
        print(line)
    if given.json:
        given.json.write_text(json.dumps(dict(sum_by_outcome(report))))
    return 0 if report.fine else 1


def sum_by_outcome(report: FuzzReport) -> Counter[str]:
    """Numbers by outcome, of all kinds together."""
    counts: Counter[str] = Counter()
    for (_, outcome), count in report.outcomes.items():
        counts[outcome] += count
    return counts


if __name__ == "__main__":
    sys.exit(main())
