"""Options that several commands share, spelled once."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "BackboneOption",
    "BlankOption",
    "BoundsOption",
    "ContaminatedOption",
    "CoverageOption",
    "DatasetsOption",
    "ErasedOption",
    "FingerprintOption",
    "JsonOption",
    "LeakageOption",
    "MinPositivesOption",
    "OperatingPointOption",
    "PickleOption",
    "QuietOption",
    "SplitSeedOption",
    "StoreOption",
    "UncertainOption",
    "WhereOption",
    "split_names",
    "store_flag",
]

StoreOption: TypeAlias = Annotated[
    Path,
    typer.Option("--store", envvar="RETUNE_STORE", help="Folder of the feature store."),
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of a table.")
]
QuietOption: TypeAlias = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no progress bar and no remarks.")
]
BackboneOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="Use the vectors of this backbone; A+B (train, curve): of both.",
    ),
]
FingerprintOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--fingerprint",
        help="Use the vectors of the encoder with this fingerprint, or "
        "its first digits.",
    ),
]
DatasetsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--datasets", "--dataset", help="Only these datasets, separated by commas."
    ),
]
UncertainOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--uncertain",
        help="How to treat uncertain labels: zeros, ones, ignore, soft or per-finding.",
    ),
]
LeakageOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-leakage", help="Run although splits share patients or pictures."
    ),
]
ContaminatedOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-contaminated",
        help="Also evaluate on patients that the backbone was trained on.",
    ),
]
PickleOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-pickle", help="Also read pickled .bin and .pt weights (tensors only)."
    ),
]
ErasedOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--allow-erased", help="Also accept a run that was trained on erased patients."
    ),
]
SplitSeedOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--split-seed",
        min=0,
        help="Seed to divide all patients anew, ignoring stored splits.",
    ),
]
BoundsOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--bounds/--no-bounds",
        help="Also train the bounds (joint, joint-observed, analytic, "
        "logistic regression).",
    ),
]
BlankOption: TypeAlias = Annotated[
    str,
    typer.Option(
        "--blank",
        help="How to treat findings that are not mentioned: negative or ignore.",
    ),
]
CoverageOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--coverage",
        help="Also give answer sets that hold the right answer with this"
        " frequency, such as 0.9.",
    ),
]
MinPositivesOption: TypeAlias = Annotated[
    int,
    typer.Option(
        "--min-positives",
        min=0,
        help="Test positives, and negatives, that a finding needs to enter a mean.",
    ),
]
OperatingPointOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--operating-point",
        metavar="RULE",
        help="Rule that chooses thresholds anew on the run's validation "
        "images: f1, youden, sensitivity=0.9 or specificity=0.9 "
        "[the run's].",
    ),
]
WhereOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--where", help="SQL condition over images: \"view = 'PA'\"."),
]


def split_names(text: str | None) -> tuple[str, ...] | None:
    """Names separated by commas.

    >>> split_names("nih, chexpert")
    ('nih', 'chexpert')
    >>> split_names(None) is None
    True
    """
    if text is None:
        return None
    return tuple(name.strip() for name in text.split(",") if name.strip())


def store_flag(store: Path) -> str:
    """What a suggested command needs to mean the same store.

    >>> store_flag(Path("feature-store")), store_flag(Path("ward"))
    ('', ' --store ward')
    """
    return "" if store == Path("feature-store") else f" --store {store}"
