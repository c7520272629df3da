"""DICOM: shown as the standard says, from every kind of pixels, and no word of whom."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import dicom, saved
from hypothesis import given
from hypothesis import strategies as st
from image_samples import write_table, write_tiny_backbone
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.encode.embed import EmbedOptions, embed
from retune.pipeline.encode.images.decode import PIXEL_LIMIT_VARIABLE, decode_image
from retune.pipeline.encode.images.dicom.decoding import (
    decode_dicom,
    encoded_size,
    spread_over_8_bit,
)
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError, ImageError

HEIGHT, WIDTH = 24, 32
LIMIT = 1_000_000


def ramp(bits: int, *, signed: bool = False) -> np.ndarray:
    low, high = (
        (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    )
    values = np.linspace(low, high, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    sign = "i" if signed else "u"
    return values.astype(f"{sign}{1 if bits <= 8 else 2}")


def shown(dataset: FileDataset) -> np.ndarray:
    return np.asarray(decode_dicom(saved(dataset), LIMIT))


def slow_spread(values: np.ndarray) -> np.ndarray:
    values = values.astype(float)
    low, high = values.min(), values.max()
    return np.round((values - low) / (high - low) * 255)


def close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.abs(one.astype(float) - other).max() <= 1


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_of_every_depth_and_both_kinds(bits, signed, photometric):
    values = ramp(bits, signed=signed)
    expected = slow_spread(values)
    if photometric == "MONOCHROME1":
        expected = 255 - expected
    assert close(shown(dicom(values, photometric, bits=bits)), expected)


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
@pytest.mark.parametrize("bits", [8, 12])
def test_uncompressed_transfer_syntaxes(syntax, bits):
    values = ramp(bits)
    assert close(shown(dicom(values, bits=bits, syntax=syntax)), slow_spread(values))


@pytest.mark.parametrize("bits", [8, 16])
def test_run_length_coding(bits):
    dataset = dicom(ramp(bits), bits=bits)
    dataset.compress(RLELossless)
    assert close(shown(dataset), slow_spread(ramp(bits)))


def packed_by_pillow(form: str, syntax: str, values: np.ndarray) -> FileDataset:
    stream = io.BytesIO()
    options = {"quality": 100} if form == "JPEG" else {"irreversible": False}
    Image.fromarray(values).save(stream, form, **options)
    dataset = dicom(values, syntax=syntax)
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].VR = "OB"
    return dataset


def test_jpeg_and_jpeg_2000_need_no_extra():
    values = ramp(8)
    lossless = packed_by_pillow("JPEG2000", JPEG2000Lossless, values)
    assert close(shown(lossless), slow_spread(values))
    lossy = shown(packed_by_pillow("JPEG", JPEGBaseline8Bit, values)).astype(float)
    assert np.abs(lossy - slow_spread(values)).max() < 8


def test_what_needs_the_extra_says_so(monkeypatch):
    dataset = packed_by_pillow("JPEG", JPEGLosslessSV1, ramp(8))
    decoder = pydicom.pixels.get_decoder(JPEGLosslessSV1)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(ImageError, match=r"pip install 'retune-cli\[dicom\]'"):
        shown(dataset)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_colour(photometric):
    grey = ramp(8)
    rgb = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=-1)
    pixels = rgb
    if photometric == "YBR_FULL":
        pixels = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    shown_pixels = shown(dicom(np.ascontiguousarray(pixels), photometric))
    assert shown_pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.abs(shown_pixels.astype(int) - rgb).max() <= 3


def test_colour_of_16_bits():
    rgb = np.stack([ramp(16)] * 3, axis=-1)
    shown_pixels = shown(dicom(rgb, "RGB", bits=16))
    assert close(shown_pixels[..., 0], slow_spread(ramp(16)))


def test_a_palette():
    entries = np.linspace(0, 65535, 256).astype("<u2")
    tables = {}
    for name, table in (("Red", entries), ("Green", entries[::-1]), ("Blue", entries)):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        tables[f"{name}PaletteColorLookupTableData"] = table.tobytes()
    shown_pixels = shown(dicom(ramp(8), "PALETTE COLOR", **tables))
    assert close(shown_pixels[..., 0], ramp(8))
    assert close(shown_pixels[..., 1], 255 - ramp(8))


def test_rescale_comes_before_the_window():
    values = ramp(12)
    dataset = dicom(
        values, bits=12, RescaleSlope=2, RescaleIntercept=-1000,
        WindowCenter=1000, WindowWidth=2000,
    )  # fmt: skip
    expected = np.clip(values.astype(float) * 2 - 1000, 0, 2000)
    assert close(shown(dataset), slow_spread(expected))


def test_the_first_of_several_windows_counts():
    values = ramp(12)
    dataset = dicom(values, bits=12, WindowCenter=[1000, 9], WindowWidth=[500, 3])
    alone = dicom(values, bits=12, WindowCenter=1000, WindowWidth=500)
    assert (shown(dataset) == shown(alone)).all()


@pytest.mark.parametrize("width", [0, -5, 0.5])
def test_a_window_that_the_standard_forbids_is_passed_over(width):
    dataset = dicom(ramp(12), bits=12, WindowCenter=100, WindowWidth=width)
    assert close(shown(dataset), slow_spread(ramp(12)))


def lut_item(entries: np.ndarray, first: int = 0) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, 16]
    item.LUTData = entries.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    item.ModalityLUTType = "US"
    return item


def test_luts_are_applied_and_win_over_windows():
    values = ramp(8)
    curve = (np.linspace(0, 1, 256) ** 2 * 65535).astype("u2")
    by_voi = dicom(
        values,
        VOILUTSequence=Sequence([lut_item(curve)]),
        WindowCenter=5,
        WindowWidth=3,
    )
    by_modality = dicom(values, ModalityLUTSequence=Sequence([lut_item(curve)]))
    for dataset in (by_voi, by_modality):
        assert close(shown(dataset), slow_spread(curve[values].astype(float)))


@given(
    st.integers(2, 200), st.integers(-500, 500), st.sampled_from([8, 12, 16]),
    st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)  # fmt: skip
def test_order_of_grey_is_kept_or_reversed(slope, intercept, bits, photometric):
    values = ramp(bits)
    dataset = dicom(
        values, photometric, bits=bits, RescaleSlope=slope, RescaleIntercept=intercept
    )
    steps = np.diff(shown(dataset).ravel().astype(int))
    assert (steps <= 0).all() if photometric == "MONOCHROME1" else (steps >= 0).all()
    assert {int(shown(dataset).min()), int(shown(dataset).max())} == {0, 255}


def test_a_constant_picture_shows_nothing():
    with pytest.raises(ImageError, match="all its pixels have the same value"):
        shown(dicom(np.full((4, 4), 7, "u1")))
    assert spread_over_8_bit(np.zeros((2, 2))).dtype == np.uint8


def test_files_without_preamble_or_header_are_read():
    content = saved(dicom(ramp(8)))
    assert close(np.asarray(decode_image(content)), ramp(8))
    bare = dicom(ramp(8))
    for syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        stream = io.BytesIO()
        bare.file_meta.TransferSyntaxUID = syntax
        pydicom.filewriter.write_dataset(_file_like(stream, syntax), bare)
        assert close(np.asarray(decode_image(stream.getvalue())), ramp(8))


def _file_like(stream: io.BytesIO, syntax: pydicom.uid.UID):
    file = pydicom.filebase.DicomIO(stream)
    file.is_implicit_VR = syntax.is_implicit_VR
    file.is_little_endian = syntax.is_little_endian
    return file


def public_file(name: str) -> bytes:
    folder = pytest.importorskip("data_store").__file__
    file = Path(folder).parent / "data" / name
    return file.read_bytes()


def test_a_real_monochrome1_radiograph_of_15_bits():
    """Bone is bright, and the picture is what the steps give, done by hand."""
    content = public_file("RG1_UNCR.dcm")
    shown_pixels = np.asarray(decode_image(content))
    dataset = pydicom.dcmread(io.BytesIO(content))
    assert (dataset.BitsStored, dataset.PhotometricInterpretation) == (
        15,
        "MONOCHROME1",
    )
    raw = dataset.pixel_array.astype(float)
    low = dataset.WindowCenter - 0.5 - (dataset.WindowWidth - 1) / 2
    windowed = np.clip(raw, low, low + dataset.WindowWidth - 1)
    assert close(shown_pixels, 255 - slow_spread(windowed))
    assert np.corrcoef(shown_pixels.ravel(), raw.ravel())[0, 1] < -0.9


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        ("RG1_UNCR.dcm", "RG1_J2KR.dcm"),
        ("RG3_UNCR.dcm", "RG3_J2KR.dcm"),
        ("OBXXXX1A.dcm", "OBXXXX1A_rle.dcm"),
        ("SC_rgb.dcm", "SC_rgb_gdcm2k_uncompressed.dcm"),
    ],
)
def test_public_files_look_the_same_packed_or_not(name, packed):
    one, two = (np.asarray(decode_image(public_file(n))) for n in (name, packed))
    assert close(one, two)


@pytest.mark.parametrize(
    "name",
    ["JPEG-LL.dcm", "JPGLosslessP14SV1_1s_1f_8b.dcm", "mlut_18.dcm", "vlut_04.dcm"],
)
def test_public_files_with_luts_and_lossless_jpeg(name):
    if name.startswith("JP"):
        pytest.importorskip("gdcm")
    shown_pixels = np.asarray(decode_image(public_file(name)))
    assert (shown_pixels.min(), shown_pixels.max()) == (0, 255)


@pytest.mark.parametrize("name", ["gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm"])
def test_public_files_with_palettes_in_segments(name):
    shown_pixels = np.asarray(decode_image(public_file(name)))
    assert shown_pixels.shape[2] == 3
    assert shown_pixels.max() == 255


@pytest.mark.parametrize("name", ["OBXXXX1A_2frame.dcm", "emri_small.dcm"])
def test_several_frames_are_refused(name):
    with pytest.raises(ImageError, match="frames; a radiograph has one"):
        decode_image(public_file(name))


def test_too_many_pixels_are_refused_at_a_limit_that_can_be_raised(monkeypatch):
    content = saved(dicom(ramp(8)))
    monkeypatch.setenv(PIXEL_LIMIT_VARIABLE, "100")
    with pytest.raises(ImageError, match="32×24 pixels are more than the limit of 100"):
        decode_image(content)
    monkeypatch.setenv(PIXEL_LIMIT_VARIABLE, str(HEIGHT * WIDTH))
    assert decode_image(content).size == (WIDTH, HEIGHT)
    monkeypatch.setenv(PIXEL_LIMIT_VARIABLE, "lots")
    with pytest.raises(ConfigurationError, match=PIXEL_LIMIT_VARIABLE):
        decode_image(content)


@pytest.mark.parametrize("form", ["JPEG", "JPEG2000"])
def test_a_stream_that_is_larger_than_its_header_says_is_refused(form):
    syntax = JPEGBaseline8Bit if form == "JPEG" else JPEG2000Lossless
    dataset = packed_by_pillow(form, syntax, np.zeros((2000, 2000), "u1"))
    dataset.Rows = dataset.Columns = 10
    with pytest.raises(ImageError, match="2000×2000 pixels are more than the limit"):
        shown(dataset)


def test_encoded_sizes():
    stream = io.BytesIO()
    Image.new("L", (30, 20)).save(stream, "JPEG", progressive=True)
    assert encoded_size(stream.getvalue()) == (20, 30)
    jpeg_ls = b"\xff\xd8\xff\xf7\x00\x0b\x08" + struct.pack(">2H", 7, 9) + bytes(9)
    assert encoded_size(jpeg_ls) == (7, 9)
    assert encoded_size(b"") is None
    assert encoded_size(bytes(64)) is None


@given(st.binary(max_size=64))
def test_encoded_size_of_anything_is_a_size_or_none(tail):
    for start in (b"\xff\xd8\xff", b"\xff\x4f\xff\x51"):
        size = encoded_size(start + tail)
        assert size is None or min(size) >= 0


def test_a_deflated_bomb_is_refused():
    content = saved(dicom(ramp(8), syntax=DeflatedExplicitVRLittleEndian))
    body = 144 + struct.unpack_from("<I", content, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(100_000_000)) + packer.flush()
    assert len(bomb) < 200_000
    with pytest.raises(ImageError, match="inflates to more than"):
        decode_dicom(content[:body] + bomb, LIMIT)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"PhotometricInterpretation": "HSV"}, "interpretation is not known"),
        ({"PhotometricInterpretation": "Nightingale^Flor"}, "not known"),
        ({"Rows": 1_000}, "damaged DICOM"),
        ({"BitsAllocated": 7}, "damaged DICOM"),
        ({"NumberOfFrames": 12}, "12 frames"),
    ],
)
def test_what_cannot_be_shown_says_why(change, said):
    dataset = dicom(ramp(8))
    for name, value in change.items():
        setattr(dataset, name, value)
    with pytest.raises(ImageError, match=said):
        shown(dataset)


def test_a_file_without_pixels_is_an_error():
    dataset = dicom(ramp(8))
    del dataset.PixelData
    with pytest.raises(ImageError, match="without pixels"):
        shown(dataset)


_WHOLE = saved(dicom(ramp(12), "MONOCHROME1", bits=12, WindowCenter=5, WindowWidth=9))


@given(st.integers(0, 2**31), st.integers(0, len(_WHOLE) - 1), st.booleans())
def test_damage_is_a_picture_or_a_reason_and_never_a_name(seed, offset, cut):
    content = bytearray(_WHOLE)
    if cut:
        del content[offset:]
    else:
        content[offset : offset + 6] = np.random.default_rng(seed).bytes(6)
    said = ""
    try:
        decode_image(bytes(content))
    except ImageError as error:
        said = error.message
    assert not any(word in said for word in ("Nightingale", "Florence", "4711", "1820"))


@pytest.mark.e2e
def test_no_word_of_a_patient_reaches_the_store(tmp_path):
    """Whole, damaged and refused files are embedded; the store's bytes are searched."""
    whole = saved(dicom(ramp(12), "MONOCHROME1", bits=12))
    (tmp_path / "data").mkdir()
    for name, content in {
        "a.dcm": whole,
        "b.dcm": whole[:-300],
        "c.dcm": saved(dicom(ramp(8), NumberOfFrames=9)),
        "d.dcm": saved(dicom(ramp(8), "Nightingale^")),
    }.items():
        (tmp_path / "data" / name).write_bytes(content)
    write_table(tmp_path / "data", ["a.dcm", "b.dcm", "c.dcm", "d.dcm"])
    plan = read_dataset(tmp_path / "data", "table", dataset="d")
    store = FeatureStore.create(tmp_path / "store")
    with store.writer("ingest") as writer:
        writer.replace_dataset(
            plan.images, plan.findings, plan.states, dataset="d", layout="table",
            root=plan.root, split_seed=0,
        )  # fmt: skip
    backbone = write_tiny_backbone(tmp_path / "tiny")
    summary = embed(store, EmbedOptions(backbone))
    assert (summary.images_encoded, summary.images_failed) == (1, 3)
    store_bytes = b"".join(f.read_bytes() for f in store.path.rglob("*") if f.is_file())
    text = str(store.sql("FROM failures").fetchall()) + str(
        store.sql("FROM images").fetchall()
    )
    for secret in ("Nightingale", "Florence", "SECRET-4711", "18200512"):
        assert secret.encode() not in store_bytes
        assert secret not in text
