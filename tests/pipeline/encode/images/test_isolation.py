"""No file ends the job: limits hold, and what died is replaced."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from dicom_samples import dicom, saved
from hostile import HOSTILE, HOSTILE_FILES
from PIL import Image

from retune.pipeline.encode.images import isolation
from retune.pipeline.encode.images.decode import decode_image, decode_picture
from retune.pipeline.encode.images.isolation import (
    TIME_LIMIT_VARIABLE,
    decode_apart,
    end_decoding,
    time_limit,
)
from retune.pipeline.encode.images.raster import is_harmless
from retune.pipeline.encode.images.reading import ImageItem, ReadImage, read_image
from retune.pipeline.encode.images.unpacking import decode_here
from retune.store.errors import ConfigurationError, ImageError

LIMIT = 1_000_000
_RAMP = np.linspace(0, 4095, 40 * 50).reshape(40, 50).astype("u2")
_GOOD = saved(dicom(_RAMP, bits=12))
# Quick ones; the others are run by `make fuzz`.
_QUICK = (
    "broken JPEG in DICOM", "PNG of 1 x 100,000",
    "JPEG of 3,000 scans", "TIFF of odd types", "nested sequences",
    "JPEG larger than its header", "JPEG 2000 larger", "DICOM of zeros",
)  # fmt: skip


def read(path: Path) -> ReadImage:
    item = ImageItem(path.name, str(path.parent), path.name)
    return read_image(item, np.asarray, lambda _: False)


def test_a_process_gives_the_same_pixels_and_is_used_again() -> None:
    here = decode_here(_GOOD, LIMIT)
    first = decode_apart(_GOOD, LIMIT)
    processes = [id(one) for one in isolation._pool._idle]
    second = decode_apart(_GOOD, LIMIT)
    assert [id(one) for one in isolation._pool._idle] == processes
    for one in (first, second):
        assert one.display == here.display
        assert (np.asarray(one.image) == np.asarray(here.image)).all()


@pytest.mark.parametrize("case", _QUICK)
def test_hostile_content_costs_its_image_only(case: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(HOSTILE[case]())
    result = read(path)
    assert (result.pixels is None) == (result.failure is not None)
    if result.failure is not None:
        assert result.failure.stage == "decode"
        assert result.failure.error
    assert decode_image(_GOOD).size == (50, 40)


def test_a_decoder_that_never_ends_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(TIME_LIMIT_VARIABLE, "1")
    with pytest.raises(ImageError, match="longer than the limit of 1 s"):
        decode_picture(HOSTILE["JPEG 2000 box of length 0"]())
    assert decode_image(_GOOD).size == (50, 40)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGKILL])
def test_a_process_that_dies_is_named_by_its_signal_and_replaced(
    number: signal.Signals,
) -> None:
    decode_apart(_GOOD, LIMIT)
    process = isolation._pool._idle[-1]._process
    os.kill(process.pid, number)
    process.wait()
    with pytest.raises(ImageError, match=f"its decoder ended by {number.name}"):
        decode_apart(_GOOD, LIMIT)
    assert decode_apart(_GOOD, LIMIT).image.size == (50, 40)


def test_whoever_stops_waits_for_no_decoder() -> None:
    said: list[str] = []

    def wait() -> None:
        try:
            decode_picture(HOSTILE["JPEG 2000 box of length 0"]())
        except ImageError as error:
            said.append(error.message)

    thread = threading.Thread(target=wait)
    thread.start()
    while not isolation._pool._busy:
        thread.join(0.01)
    end_decoding()
    thread.join(30)
    assert said == ["its decoder ended by SIGKILL: the file is damaged or hostile"]


def test_memory_beyond_the_limit_is_a_failure() -> None:
    """The header promises little; the worker is told less than the picture takes."""
    code = (
        "from retune.pipeline.encode.images import worker\n"
        "import numpy as np\n"
        "worker._limit_memory(1 << 29)\n"
        "try:\n    np.ones(1 << 28)\n"
        "except MemoryError:\n    print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "refused\n"


@pytest.mark.parametrize("case", HOSTILE_FILES)
def test_only_regular_files_of_a_sane_size_are_read(case: str, tmp_path: Path) -> None:
    HOSTILE_FILES[case](tmp_path / "image.png")
    result = read(tmp_path / "image.png")
    assert result.file is None
    assert result.failure is not None
    assert result.failure.stage == "read"
    expected = (
        "bytes are more than the limit" if "sparse" in case else "regular|irectory"
    )
    assert any(word in result.failure.error for word in expected.split("|"))


def test_a_name_that_no_file_can_have_is_a_failure(tmp_path: Path) -> None:
    result = read(tmp_path / "a\0b.png")
    assert result.failure is not None
    assert "null" in result.failure.error


def test_what_is_decoded_beside_other_work_is_harmless() -> None:
    assert not is_harmless(_GOOD)
    assert not is_harmless(HOSTILE["JPEG of a million segments"]())
    assert not is_harmless(HOSTILE["PNG of 500,000 chunks"]())
    assert not is_harmless(HOSTILE["JPEG of 90 scans"]())


@pytest.mark.parametrize("given", ["0", "-1", "long", "1.5"])
def test_a_limit_that_is_no_number_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TIME_LIMIT_VARIABLE, given)
    with pytest.raises(ConfigurationError, match=TIME_LIMIT_VARIABLE):
        time_limit()


def test_decoding_processes_load_no_torch() -> None:
    code = (
        "import sys; from retune.pipeline.encode.images import unpacking, worker;"
        "print({'torch', 'duckdb', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
    assert Image.MAX_IMAGE_PIXELS is None
