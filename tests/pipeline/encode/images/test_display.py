"""What containers say of their display; each right picture is worked out by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from dicom_samples import dicom, saved
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from retune.pipeline.encode.images.bounds import check_memory, check_size
from retune.pipeline.encode.images.grey import bit_depth
from retune.pipeline.encode.images.picture import AS_STORED, Picture
from retune.pipeline.encode.images.rules import display_of_before
from retune.pipeline.encode.images.unpacking import decode_here
from retune.store.errors import ImageError

LIMIT = 1_000_000
HEIGHT, WIDTH = 24, 40
_RAMP = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype("u1")


def shown(content: bytes | FileDataset) -> np.ndarray:
    return np.asarray(picture(content).image)


def picture(content: bytes | FileDataset) -> Picture:
    data = saved(content) if isinstance(content, FileDataset) else content
    return decode_here(data, LIMIT)


def near(one: np.ndarray, other: np.ndarray, most: int = 1) -> bool:
    return one.shape == other.shape and np.abs(one.astype(int) - other).max() <= most


def spread(values: np.ndarray) -> np.ndarray:
    wide = values.astype(float)
    return np.rint((wide - wide.min()) / (wide.max() - wide.min()) * 255)


def file_of(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def png(samples: np.ndarray, colour_type: int, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits, written by hand."""

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", head), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def tiff(samples: np.ndarray, order: str = "<", **tags: int) -> bytes:
    """A TIFF of 16 bits, uncompressed, written by hand."""
    height, width = samples.shape[:2]
    n_samples = samples.shape[2] if samples.ndim == 3 else 1
    pixels = samples.astype(f"{order}u2").tobytes()
    entries = {
        256: width, 257: height, 258: 16, 259: 1, 262: 2 if n_samples == 3 else 1,
        273: 8, 277: n_samples, 278: height, 279: len(pixels),
    } | {int(name[1:]): value for name, value in tags.items()}  # fmt: skip
    end = 8 + len(pixels)
    body, far = b"", b""
    for tag, value in sorted(entries.items()):
        if tag == 258 and n_samples > 2:
            offset = end + 2 + 12 * len(entries) + 4 + len(far)
            body += struct.pack(f"{order}HHII", tag, 3, n_samples, offset)
            far += struct.pack(f"{order}{n_samples}H", *[16] * n_samples)
        elif tag == 258 and n_samples == 2:
            body += struct.pack(f"{order}HHIHH", tag, 3, 2, 16, 16)
        else:
            body += struct.pack(f"{order}HHII", tag, 4, 1, value)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(entries)) + body + bytes(4) + far
    return mark + struct.pack(f"{order}I", end) + pixels + directory


# DICOM: padding, bits, contrast


@pytest.mark.parametrize("source_format", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("padding", "signed", "bits", "elements"),
    [
        (0, False, 12, {}),
        (4095, False, 12, {}),
        (65535, False, 16, {}),
        (-2000, True, 16, {}),
        (-2048, True, 12, {}),
        (0xF830, False, 12, {}),  # -2000 beside 12 bits, as converters write it
        (5, False, 12, {"PixelPaddingRangeLimit": 0}),
        (0, False, 12, {"WindowCenter": 2000, "WindowWidth": 3000}),
    ],
)
def test_padding_is_black_and_stays_out_of_the_grey_scale(
    source_format: str, padding: int, signed: bool, bits: int, elements: dict[str, int]
) -> None:
    native = _RAMP.astype("i2" if signed else "u2") * 4 + 700
    values = native.copy()
    values[:6] = padding % (1 << 16) if not signed else padding
    expected = spread(native[6:])
    expected = 255 - expected if source_format == "MONOCHROME1" else expected
    read_picture = picture(
        dicom(values, source_format, bits=bits, PixelPaddingValue=padding, **elements)
    )
    pixels = np.asarray(read_picture.image)
    assert not pixels[:6].any()
    assert near(pixels[6:], expected)
    assert "padding" in read_picture.display


def test_a_picture_of_padding_shows_nothing() -> None:
    with pytest.raises(ImageError, match="all its pixels are padding"):
        shown(dicom(np.zeros((8, 8), "u2"), bits=12, PixelPaddingValue=0))


@pytest.mark.parametrize("packed", ["native", "RLE", "JPEG 2000"])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_are_not_stored_are_not_seen(packed: str, signed: bool) -> None:
    values = _RAMP.astype("u2") * 16
    graphics = values.copy()
    graphics[3:6] |= 0x1000
    graphics[9] |= 0x8000
    expected = values.astype("i4")
    if signed:
        expected[expected >= 2048] -= 4096
    dataset = dicom(graphics, bits=12, PixelRepresentation=int(signed))
    if packed == "RLE":
        dataset.compress(RLELossless)
    elif packed == "JPEG 2000":
        stream = file_of(
            Image.fromarray(graphics), "JPEG2000", irreversible=False, no_jp2=True
        )
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
    assert near(shown(dataset), spread(expected))


def test_the_high_bit_says_where_values_stand() -> None:
    values = _RAMP.astype("u2") * 16
    dataset = dicom(values << 4 | 0xF, bits=12)
    dataset.HighBit = 15
    assert near(shown(dataset), spread(values))


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": -5000, "WindowWidth": 10},
        {"WindowCenter": 60000, "WindowWidth": 10},
        {"WindowCenter": 40, "WindowWidth": 1},
        {"RescaleSlope": 0, "RescaleIntercept": 9},
        {"WindowCenter": 500, "WindowWidth": 1000, "VOILUTFunction": "NONSENSE"},
    ],
)
def test_what_leaves_no_contrast_is_passed_over(elements: dict[str, object]) -> None:
    values = _RAMP.astype("u2") * 16
    read_picture = picture(dicom(values, bits=12, **elements))
    assert near(np.asarray(read_picture.image), spread(values))
    assert "passed over" in read_picture.display


@pytest.mark.parametrize("name", ["RescaleSlope", "WindowCenter", "WindowWidth"])
def test_a_number_that_is_none_is_passed_over(name: str) -> None:
    values = _RAMP.astype("u2") * 16
    numbers = {"RescaleSlope": "11111", "RescaleIntercept": "0"}
    numbers |= {"WindowCenter": "22222", "WindowWidth": "33333"}
    content = saved(dicom(values, bits=12, **numbers))
    broken = content.replace(numbers[name].encode(), b"a.b.c")
    assert broken != content
    read_picture = picture(broken)
    assert near(np.asarray(read_picture.image), spread(values))
    assert "passed over" in read_picture.display


def test_the_next_window_counts_where_the_first_shows_nothing() -> None:
    values = _RAMP.astype("u2") * 16
    dataset = dicom(values, bits=12, WindowCenter=[-9999, 1000], WindowWidth=[1, 501])
    assert near(shown(dataset), spread(values.clip(750, 1250)))


def test_a_large_intercept_keeps_the_contrast() -> None:
    values = _RAMP.astype("u2") * 16
    dataset = dicom(values, bits=12, RescaleSlope=1, RescaleIntercept=2_000_000_000)
    assert near(shown(dataset), spread(values))


@pytest.mark.parametrize(("bits", "dtype"), [(12, "u2"), (16, "u2"), (6, "u1")])
def test_ybr_and_rgb_of_every_depth(bits: int, dtype: str) -> None:
    top, middle = (1 << bits) - 1, 1 << bits - 1
    grey = np.rint(np.linspace(0, top, HEIGHT * WIDTH)).reshape(HEIGHT, WIDTH)
    ybr = np.stack([grey, np.full_like(grey, middle), np.full_like(grey, middle)], -1)
    pixels = shown(dicom(ybr.astype(dtype), "YBR_FULL", bits=bits))
    assert near(pixels, np.stack([grey / top * 255] * 3, -1).astype(int), 2)
    rgb = np.stack([grey] * 3, -1).astype(dtype)
    assert near(shown(dicom(rgb, "RGB", bits=bits)), pixels, 2)


# DICOM: a stream that is not what its header says


def in_jpeg(pixels: np.ndarray) -> FileDataset:
    dataset = dicom(pixels, syntax=JPEGBaseline8Bit)
    dataset.PixelData = encapsulate([file_of(Image.fromarray(pixels), "JPEG")])
    dataset["PixelData"].VR = "OB"
    return dataset


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Rows": 23}, "stream has 40×24 pixels, its header says 40×23"),
        (
            {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
            "stream has 1 samples per pixel, its header says 3",
        ),
        ({"SamplesPerPixel": 3}, "3 samples per pixel with MONOCHROME2"),
        ({"BitsStored": 9}, "9 bits stored in 8 allocated"),
    ],
)
def test_a_stream_is_compared_with_its_header(
    change: dict[str, object], said: str
) -> None:
    dataset = in_jpeg(_RAMP)
    for name, value in change.items():
        setattr(dataset, name, value)
    with pytest.raises(ImageError, match=said):
        shown(dataset)


def test_missing_pixels_are_counted() -> None:
    dataset = dicom(_RAMP)
    dataset.PixelData = dataset.PixelData[:100]
    with pytest.raises(ImageError, match="100 bytes of pixels where 960 are needed"):
        shown(dataset)


# PNG and TIFF of 16 bits: one rule


_TWELVE = _RAMP.astype("u2") * 16 + 15
_OPAQUE = np.full_like(_TWELVE, 65535)
_EVERY_12_BIT = {
    "grey PNG": png(_TWELVE, 0),
    "grey and alpha PNG": png(np.dstack([_TWELVE, _OPAQUE]), 4),
    "RGB PNG": png(np.dstack([_TWELVE] * 3), 2),
    "RGBA PNG": png(np.dstack([_TWELVE] * 3 + [_OPAQUE]), 6),
    "grey TIFF": tiff(_TWELVE),
    "grey TIFF, big-endian": tiff(_TWELVE, ">"),
    "RGB TIFF": tiff(np.dstack([_TWELVE] * 3)),
    "RGB TIFF, big-endian": tiff(np.dstack([_TWELVE] * 3), ">"),
    "grey and alpha TIFF": tiff(np.dstack([_TWELVE, _OPAQUE]), t338=2),
    "grey and alpha TIFF, big-endian": tiff(np.dstack([_TWELVE, _OPAQUE]), ">"),
    "white is zero, of 12 bits": tiff(4095 - _TWELVE, t262=0),
    "white is zero, of 16 bits": tiff(65535 - _TWELVE, t262=0),
}


@pytest.mark.parametrize("name", _EVERY_12_BIT)
def test_12_bits_look_alike_in_every_file_of_16(name: str) -> None:
    pixels = shown(_EVERY_12_BIT[name])
    grey = pixels if pixels.ndim == 2 else pixels[..., 0]
    assert near(grey, _RAMP)
    if pixels.ndim == 3:
        assert (pixels == pixels[..., :1]).all()


def test_colours_of_16_bits_keep_their_lower_bytes() -> None:
    samples = np.random.default_rng(0).integers(0, 1024, (HEIGHT, WIDTH, 3))
    expected = np.rint(samples / 1023 * 255)
    for content in (png(samples, 2), tiff(samples), tiff(samples, ">")):
        assert near(shown(content), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_outlying_pixels_do_not_decide_the_brightness(channels: int) -> None:
    values = np.tile(_TWELVE, (4, 4))
    values[0, :10] = 65535  # 10 of 15,360
    samples = values if channels == 1 else np.dstack([values] * channels)
    read_picture = picture(png(samples, 0 if channels == 1 else 2))
    expected = np.tile(_RAMP, (4, 4))
    expected[0, :10] = 255
    grey = np.asarray(read_picture.image.convert("L"))
    assert near(grey, expected)
    assert "outlying" in read_picture.display
    values[0, :100] = 65535  # too many to be passed over
    assert bit_depth(values) == 16


def test_a_transparent_colour_is_black_at_every_depth() -> None:
    key = int(_TWELVE[3, 3])
    pixels = shown(png(_TWELVE, 0, (b"tRNS", struct.pack(">H", key))))
    assert pixels[3, 3] == 0
    others = np.not_equal(_TWELVE, key)
    assert near(pixels[others], _RAMP[others])
    colours = png(
        np.dstack([_TWELVE] * 3), 2, (b"tRNS", struct.pack(">3H", *[key] * 3))
    )
    assert not shown(colours)[3, 3].any()
    grey = file_of(Image.fromarray(_RAMP), "PNG", transparency=int(_RAMP[3, 3]))
    assert not shown(grey)[3, 3].any()


# Orientation, photometric interpretation, formats


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_in_every_format(form: str, orientation: int) -> None:
    undo = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.T, 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.T, 2), 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": {274: orientation}} if form == "TIFF" else {"exif": exif}
    lying = Image.fromarray(np.ascontiguousarray(undo[orientation](_RAMP)))
    quality = {"quality": 100} if form == "JPEG" else {}
    read_picture = picture(file_of(lying, form, **options, **quality))
    assert near(np.asarray(read_picture.image), _RAMP, 6 if form == "JPEG" else 0)
    assert ("orientation" in read_picture.display) == (orientation > 1)


def test_broken_exif_is_passed_over() -> None:
    content = file_of(
        Image.fromarray(_RAMP), "PNG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"
    )
    assert near(shown(content), _RAMP, 0)


def test_white_is_zero_in_tiff_of_8_bits_and_1() -> None:
    content = bytearray(file_of(Image.fromarray(255 - _RAMP), "TIFF"))
    entry = content.index(struct.pack("<HHI", 262, 3, 1))
    content[entry + 8] = 0
    assert near(shown(bytes(content)), _RAMP, 0)


def _short(tag: int, value: int) -> bytes:
    """An entry of a TIFF's directory."""
    return struct.pack("<HHIHH", tag, 3, 1, value, 0)


_IN_PIXELS, _IN_PLANES = _short(284, 1), _short(284, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tiff(np.dstack([_TWELVE] * 3), t284=2), "3 planes of more than 8 bits"),
        (tiff(np.dstack([_TWELVE] * 2), t284=2), "without predictor"),
        (
            file_of(Image.fromarray(_RAMP).convert("LA"), "TIFF").replace(
                _IN_PIXELS, _IN_PLANES
            ),
            "alpha in its own plane",
        ),
        (
            file_of(Image.fromarray(_RAMP), "TIFF", compression="packbits").replace(
                _IN_PIXELS, _short(317, 2)
            ),
            "PackBits with predictor 2",
        ),
        (tiff(np.dstack([_TWELVE] * 2), t317=2), "without predictor"),
        (tiff(np.dstack([_TWELVE] * 2), t262=6), "photometric interpretation 6"),
        (
            file_of(Image.fromarray(_RAMP), "JPEG").replace(
                b"\xff\xc0\x00\x0b\x08", b"\xff\xc1\x00\x0b\x0c"
            ),
            "a JPEG of 12 bits a sample is not supported",
        ),
        (
            file_of(Image.fromarray(_RAMP), "JPEG").replace(b"\xff\xc0", b"\xff\xc3"),
            "lossless or hierarchical JPEG",
        ),
        (
            file_of(Image.new("L", (40, 24)), "JPEG")[:-2] + b"\xff\xda" * 200,
            "a JPEG of 201 scans",
        ),
        (file_of(Image.new("L", (9, 9), 7), "PNG"), "same value"),
        (file_of(Image.new("RGB", (9, 9), "red"), "PNG"), "same value"),
        (file_of(Image.new("L", (1, 100)), "PNG"), "one side is more than 50 times"),
    ],
)
def test_messages_name_the_cause(content: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        shown(content)


def test_what_is_too_large_is_refused_by_its_header() -> None:
    with pytest.raises(ImageError, match=r"takes about 2\.0 GB"):
        check_memory(2_000_000_000, 178_000_000)
    with pytest.raises(ImageError, match="nothing to see"):
        check_size(0, 5, 10)


def test_whether_a_file_looked_the_same_before(tmp_path) -> None:
    grey = Image.fromarray(_RAMP)
    exif = Image.Exif()
    exif[0x0112] = 6
    dataset = dicom(_RAMP.astype("u2") * 16, bits=12)
    padded = dicom(_RAMP.astype("u2") * 16, bits=12, PixelPaddingValue=0)
    files = {
        "plain.png": (file_of(grey, "PNG"), AS_STORED),
        "turned.jpg": (file_of(grey, "JPEG", exif=exif), None),
        "plain.jpg": (file_of(grey, "JPEG"), AS_STORED),
        "grey16.png": (png(_TWELVE, 0), "16 bits: 12 used"),
        "rgb16.png": (png(np.dstack([_TWELVE] * 3), 2), None),
        "plain.dcm": (saved(dataset), "MONOCHROME2"),
        "padded.dcm": (saved(padded), None),
        "broken.png": (b"\x89PNG\r\n\x1a\n................\x10", ""),
    }
    for name, (content, display) in files.items():
        (tmp_path / name).write_bytes(content)
        assert display_of_before(tmp_path / name) == display, name
    assert display_of_before(tmp_path / "gone.png") == ""
