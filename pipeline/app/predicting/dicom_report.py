"""Predictions as DICOM structured reports (TID 1500), for research only."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.store.errors import ConfigurationError, RetuneError, StoreWriteError

from .prediction import DecisionRule, ImagePrediction
from .prediction_output import Output, Write

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LABEL", "also_reports", "structured_report"]

#: What every report says of itself.
LABEL = "RESEARCH ONLY, NOT FOR DIAGNOSIS"
_SCHEME = "99RETUNE"
_HINT = "pip install 'retune-cli[sr]'"


def also_reports(output: Output, folder: Path, problems: list[str]) -> Output:
    """An output that writes a report beside each prediction of a DICOM file, too.

    Args:
        output: Takes the rows, as without reports.
        folder: Where reports go, made if it is not there; named after the image's
            instance UID.
        problems: Gains a sentence for each image without a report.

    Raises:
        ConfigurationError: highdicom is not installed.
        StoreWriteError: The disk refused.
    """
    try:
        import highdicom  # noqa: F401 - asked for before anything is encoded
    except ImportError as error:
        raise ConfigurationError(
            f"structured reports need a package: {error}", _HINT
        ) from error

    @contextmanager
    def opened(rule: DecisionRule) -> "Iterator[Write]":
        _make(folder)
        with output(rule) as write:

            def write_both(part: Sequence[ImagePrediction]) -> None:
                write(part)
                for one in part:
                    problem = _write_report(one, rule, folder)
                    if problem:
                        problems.append(f"{one.path}: no report: {problem}")

            yield write_both

    def output_with_reports(rule: DecisionRule) -> AbstractContextManager[Write]:
        return opened(rule)

    return output_with_reports


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreWriteError(
            f"cannot make {folder}: {error.strerror or error}", "Choose another place."
        ) from error


def _write_report(one: ImagePrediction, rule: DecisionRule, folder: Path) -> str:
    """Write the report of an image; says why there is none, or nothing."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    if one.error or one.path is None:
        return one.error or "it is a picture in memory"
    try:
        image = dcmread(one.path, stop_before_pixels=True)
    except (InvalidDicomError, OSError):
        return "it is no DICOM file"
    try:
        report = structured_report(one, rule, image)
    # highdicom meets what an image lacks with errors of many kinds.
    except (AttributeError, KeyError, TypeError, ValueError, RetuneError) as error:
        return f"its header does not do: {error}"
    file = folder / f"{image.SOPInstanceUID}.sr.dcm"
    try:
        report.save_as(file, enforce_file_format=True)
        file.chmod(0o600)
    except OSError as error:
        raise StoreWriteError(
            f"cannot write {file}: {error.strerror or error}", "Choose another place."
        ) from error
    return ""


def structured_report(one: ImagePrediction, rule: DecisionRule, image: Any) -> Any:
    """A Comprehensive SR of the template TID 1500: a group for each finding.

    Args:
        one: What the run says of the image.
        rule: By which it decided.
        image: Its DICOM header, of which patient and study are taken.

    Returns:
        A `highdicom.sr.ComprehensiveSR`, partial, preliminary and unverified.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=_uid("run", rule.model), name="retune", model_name=rule.model
        ),
    )
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=hd.sr.CodedConcept(
            "363680008", "SCT", "Radiographic imaging procedure"
        ),
        imaging_measurements=[
            _group(one, rule, finding, image) for finding in one.probabilities
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    document = hd.sr.ComprehensiveSR(
        evidence=[image],
        content=report[0],
        series_instance_uid=_uid("series", rule.model, image.StudyInstanceUID),
        series_number=9000,
        sop_instance_uid=_uid("report", rule.model, image.SOPInstanceUID),
        instance_number=1,
        manufacturer="retune",
        is_complete=False,
        is_final=False,
        is_verified=False,
    )
    document.SeriesDescription = LABEL
    return document


def _group(one: ImagePrediction, rule: DecisionRule, finding: str, image: Any) -> Any:
    """Probability, threshold, uncertainty, decision and flag of one finding."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    numbers = {
        ("probability", "Calibrated probability"): one.probabilities[finding],
        ("threshold", "Threshold of the decision"): one.thresholds[finding],
    }
    if finding in one.uncertainties:
        name = ("uncertainty", "Standard deviation of the score")
        numbers[name] = one.uncertainties[finding]
    called = finding in one.called
    answers = [
        ("decision", f"Decision of the model; {LABEL.lower()}", called),
    ]
    if one.out_of_distribution is not None:
        words = "Unlike all images that the model was trained on"
        answers.append(("unlike", words, one.out_of_distribution))
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=_uid("group", rule.model, image.SOPInstanceUID, finding),
            identifier=finding,
        ),
        finding_type=_code(_short(finding), finding),
        algorithm_id=hd.sr.AlgorithmIdentification(name="retune", version=rule.model),
        measurements=[
            hd.sr.Measurement(_code(*name), round(value, 6), codes.UCUM.NoUnits)
            for name, value in numbers.items()
        ],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(
                _code(name, words), codes.SCT.Yes if value else codes.SCT.No
            )
            for name, words, value in answers
        ],
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(
                image.SOPClassUID, image.SOPInstanceUID
            )
        ],
    )


def _code(value: str, meaning: str) -> Any:
    import highdicom as hd

    return hd.sr.CodedConcept(value, _SCHEME, meaning[:64])


def _short(name: str) -> str:
    """A code of at most 16 characters that stands for a name.

    >>> len(_short("Pleural Effusion"))
    16
    """
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()


def _uid(*parts: str) -> str:
    """The same UID for the same things."""
    from pydicom.uid import generate_uid

    return str(generate_uid(entropy_srcs=list(map(str, parts))))
