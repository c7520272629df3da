"""`retune-cli predict`: a run's adaptors on new images."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from .terminal.options import (
    CoverageOption,
    ErasedOption,
    OperatingPointOption,
    PickleOption,
    QuietOption,
    StoreOption,
)
from .terminal.printing import print_line, print_table, progress_bar, remark

if TYPE_CHECKING:
    from retune.pipeline.app.predicting.prediction import DecisionRule, ImagePrediction
    from retune.pipeline.app.predicting.prediction_output import Output, Write

__all__ = ["predict_command"]

_UNUSABLE_IMAGE = 4
#: Images with a table each; further images have a line each.
_MOST_TABLES = 10


def predict_command(
    run: Annotated[
        str,
        typer.Argument(
            help="Run id, its first digits, latest, or a state file of any run: then no"
            " store is needed."
        ),
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, patterns; - reads a list, one name a line, from "
            "standard input."
        ),
    ],
    store: StoreOption = Path("feature-store"),
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "--encode-with",
            help="Where the run's backbone is now; for imported vectors, the"
            " backbone that made them.",
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device", help="Device to encode on: auto, cpu, cuda or cuda:N."
        ),
    ] = "auto",
    allow_pickle: PickleOption = False,
    allow_erased: ErasedOption = False,
    operating_point: OperatingPointOption = None,
    coverage: CoverageOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write a .csv, .json or .parquet file instead."),
    ] = None,
    sr: Annotated[
        Path | None,
        typer.Option(
            "--sr",
            metavar="FOLDER",
            help="Also write a DICOM structured report (TID 1500) for each DICOM file;"
            " research only, not for diagnosis.",
        ),
    ] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV, one row per image and finding.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, one object per image.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Predict findings of images. For research only, never for a patient's care.

    Folders are searched with all folders in them for PNG, JPEG, TIFF, BMP and DICOM
    files. A finding is positive from the run's threshold on, which was chosen on its
    validation images; "default" marks 0.5, where none of these had the finding, and
    "transferred" an image of another dataset of the store. Runs of `analytic` also say
    how uncertain a score is for lack of images like this one, and whether the image is
    out of distribution: unlike all that they were trained on. Exit code 4 if an image
    could not be used.

    Example: retune-cli predict latest xray.png

    Example: retune-cli predict state.safetensors scans --out found.csv

    Example: find scans -name "*.dcm" | retune-cli predict latest - --out found.parquet
    """
    from retune.pipeline.platform.memory import keep_freed_memory

    keep_freed_memory()  # before the imports below start threads

    from retune.pipeline.app.predict import PredictRequest, predict_images, state_file
    from retune.store import FeatureStore

    output = _output(out, as_csv=csv, as_json=json)
    unreported: list[str] = []
    if sr is not None:
        from retune.pipeline.app.predicting.dicom_report import also_reports

        output = also_reports(output, sr, unreported)
    request = PredictRequest(
        run,
        _names(images),
        backbone,
        device,
        allow_erased,
        operating_point,
        coverage,
        allow_pickle,
    )
    with progress_bar(quiet=quiet) as show:
        chosen_store = None if state_file(run) else FeatureStore(store)
        summary = predict_images(chosen_store, request, output, show)
    if out is not None:
        rate = summary.n_images / summary.image_seconds
        print_line(
            f"{counted(summary.n_images, 'image')} at {rate:.0f} images/s in {out}"
        )
    if summary.n_out_of_distribution:
        remark(
            "out of distribution, unlike all that the run was trained on: "
            f"{summary.n_out_of_distribution:,} of "
            f"{counted(summary.n_images, 'image')}",
            quiet=quiet,
        )
    if unreported:
        text = f"{counted(len(unreported), 'image', 'have')} no report; {unreported[0]}"
        remark(text, quiet=quiet)
    if summary.n_unusable:
        text = (
            f"{summary.n_unusable:,} of {counted(summary.n_images, 'image')} not usable"
        )
        remark(text, quiet=quiet)
    if not json and not csv:
        remark("Research software, not a medical device.", quiet=quiet)
    if summary.n_unusable:
        raise typer.Exit(_UNUSABLE_IMAGE)


def _names(given: Sequence[str]) -> Iterator[str]:
    """What was given, and in place of ``-`` the lines of standard input."""
    for name in given:
        if name != "-":
            yield name
            continue
        if hasattr(sys.stdin, "reconfigure"):  # file names need not be UTF-8
            sys.stdin.reconfigure(errors="surrogateescape")
        lines = (line.rstrip("\r\n") for line in sys.stdin)
        yield from (line for line in lines if line)


def _output(out: Path | None, *, as_csv: bool, as_json: bool) -> "Output":
    from retune.pipeline.app.predicting.prediction_output import (
        csv_output,
        file_output,
        json_output,
    )
    from retune.store.errors import ConfigurationError

    if (out is not None) + as_csv + as_json > 1:
        raise ConfigurationError(
            "--out, --csv and --json exclude each other", "Use one of them."
        )
    if out is not None:
        return file_output(out)
    if as_csv or as_json:
        return csv_output(sys.stdout) if as_csv else json_output(sys.stdout)
    return _tables


@contextmanager
def _tables(rule: "DecisionRule") -> "Iterator[Write]":
    """A table for each of the first images, then a line for each."""
    from retune.pipeline.app.progress_bar import beside_a_bar

    n_shown = 0

    def write(part: "Sequence[ImagePrediction]") -> None:
        nonlocal n_shown
        with beside_a_bar():
            for one in part:
                if n_shown == _MOST_TABLES:
                    print_line("further images: positive findings only")
                _print_image(one, rule, whole=n_shown < _MOST_TABLES)
                n_shown += 1

    yield write


def _print_image(one: "ImagePrediction", rule: "DecisionRule", *, whole: bool) -> None:
    path = str(one.path)
    if one.error:
        print_line(f"{path}: cannot be used: {one.error}")
    elif whole:
        print_line(path + _distance_words(one, rule))
        header, rows = _findings_table(one, rule)
        print_table(header, rows)
    else:
        findings = ", ".join(
            f"{name} {_figure(one.probabilities[name])}" for name in one.called
        )
        mark = "  OUT OF DISTRIBUTION" if one.out_of_distribution else ""
        print_line(f"{path}: {findings or 'none'}{mark}")


def _findings_table(
    one: "ImagePrediction", rule: "DecisionRule"
) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Positive findings first, then by probability."""
    spread = ("uncertainty",) if one.uncertainties else ()
    sets = (f"{rule.sets.coverage:.0%} set",) if rule.sets else ()
    ranked = sorted(
        one.probabilities,
        key=lambda name: (name not in one.called, -one.probabilities[name]),
    )
    rows: list[tuple[object, ...]] = [
        (
            f"  {name}",
            _figure(one.probabilities[name]),
            *((_spread(one.uncertainties.get(name)),) if spread else ()),
            _figure(one.thresholds[name]),
            "positive" if name in one.called else "negative",
            *((one.answers[name],) if sets else ()),
            _origin(one, rule, name),
        )
        for name in ranked
    ]
    names = ("  finding", "probability", *spread, "threshold", "decision", *sets)
    return (*names, "threshold from"), rows


def _origin(one: "ImagePrediction", rule: "DecisionRule", name: str) -> str:
    """Where a threshold comes from, and whether the image is of another dataset."""
    words = str(rule.origins[name])
    if one.threshold_from[name] == "transferred":
        return f"transferred: {words.removeprefix('transferred: ')}"
    return words


def _spread(value: float | None) -> str:
    return "-" if value is None else f"\u00b1{value:.3f}"


def _distance_words(one: "ImagePrediction", rule: "DecisionRule") -> str:
    """How unlike the images trained on it is."""
    if one.distance is None or rule.distance_limit is None:
        return ""
    if not one.out_of_distribution:
        return f"  (distance {one.distance:.2f}, limit {rule.distance_limit:.2f})"
    return (
        f"  OUT OF DISTRIBUTION: distance {one.distance:.2f}, while "
        f"{rule.alarm_rate:.1%} of images like those of validation lie beyond "
        f"{rule.distance_limit:.2f}"
    )


def _figure(value: float) -> str:
    """Three decimals, or two significant digits where these say more.

    >>> _figure(0.5), _figure(0.99971), _figure(0.000412)
    ('0.500', '0.99971', '0.00041')
    """
    if 0.001 <= value <= 0.999 or value in (0, 1):
        return f"{value:.3f}"
    decimals = 1 - math.floor(math.log10(min(value, 1 - value)))
    return f"{value:.{min(decimals, 9)}f}"
