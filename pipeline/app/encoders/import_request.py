"""Which vectors an import takes from files, and what it did with them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.store.errors import ConfigurationError

__all__ = ["ImportRequest", "ImportSummary", "check_request"]


@dataclass(frozen=True)
class ImportRequest:
    """Which vectors to take, and what they are.

    Attributes:
        files: Files and folders with vectors of images; see
            `retune.pipeline.exchange.readers.sources`.
        backbone_name: What the encoder is called from now on.
        ids: The column that says which image a vector is of.
        vectors: The column of the vectors; None: the only one that can be.
        join: How ids name images: ``image_id``, ``path``, ``name`` (a file's name),
            ``digest``, or ``auto``.
        by_position: Row n is image n, in the order of image ids.
        datasets: Only images of these; None for all.
        backbone_version: Version of the backbone; part of the fingerprint.
        preprocessing: How pictures were prepared, in words; part of the fingerprint.
        source: Where the vectors come from, such as a model's name and revision. It
            takes the place of the files' digest in the fingerprint, so that two stores
            that import files of one encoder can exchange runs.
        output_dtype: ``float16`` or ``float32``; None: as in the files.
        texts: Files with vectors of texts, with the columns finding and polarity.
        set_name: Name of the descriptions that the texts make; None: the backbone's
            name.
        add: Add to the encoder of this name that the store has.
    """

    files: tuple[Path, ...]
    backbone_name: str
    ids: str | None = None
    vectors: str | None = None
    join: str = "auto"
    by_position: bool = False
    datasets: tuple[str, ...] | None = None
    backbone_version: str = ""
    preprocessing: str = ""
    source: str | None = None
    output_dtype: str | None = None
    texts: tuple[Path, ...] = ()
    set_name: str | None = None
    add: bool = False


@dataclass(frozen=True)
class ImportSummary:
    """What an import did.

    Attributes:
        fingerprint: Fingerprint of the encoder.
        backbone: Its name.
        dim: D.
        dtype: ``float16`` or ``float32``.
        join: How ids named images.
        rows: Rows in the files.
        imported: Vectors that are new in the store.
        known: Vectors that the store had.
        failed: Rows that are no vectors; each stands in `failures`.
        failures: What was wrong with the first of them.
        unmatched: Rows whose id is of no image, or of several.
        unmatched_ids: The first of them.
        double: Rows whose image has had a row before; the first counts.
        double_ids: The first of them.
        images_without: Images that have no vector of this encoder now.
        texts: Vectors of texts that are new in the store.
        set_name: The description set that they belong to; None: there are none.
    """

    fingerprint: str
    backbone: str
    dim: int
    dtype: str
    join: str
    rows: int
    imported: int
    known: int
    failed: int
    failures: tuple[str, ...]
    unmatched: int
    unmatched_ids: tuple[str, ...]
    double: int
    double_ids: tuple[str, ...]
    images_without: int
    texts: int
    set_name: str | None

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return dict(vars(self))


def check_request(request: ImportRequest) -> None:
    """Refuse a request that contradicts itself, before a file is opened.

    Raises:
        ConfigurationError: There is nothing to take, the name cannot be one, or two
            of the choices exclude each other.
    """
    if not request.files and not request.texts:
        raise ConfigurationError(
            "no files to import", "Name files with vectors of images, or `texts`."
        )
    if not request.backbone_name.strip() or not request.backbone_name.isprintable():
        raise ConfigurationError(
            f"{request.backbone_name!r} cannot name a backbone",
            "Use a name such as medsiglip-448.",
        )
    if request.by_position and request.ids is not None:
        raise ConfigurationError(
            "`by_position` and `ids` exclude each other", "Leave one of them out."
        )
    if request.output_dtype not in (None, "float16", "float32"):
        raise ConfigurationError(
            f"unknown `output_dtype` {request.output_dtype}", "Use float16 or float32."
        )
