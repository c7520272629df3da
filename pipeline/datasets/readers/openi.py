"""Open-i, the Indiana University collection: XML reports, or Kaggle's two tables.

Indexers described each report with MeSH headings and qualifiers, such as
``Opacity/lung/base/left`` (Demner-Fushman et al., JAMIA 2016). Only these are read, not
the automatic ones. One report is one study of one patient.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.plural import counted

from ...findings import VOCABULARY
from ..arrangements import choose_arrangement
from ..contract import LabelTable, TableOptions, image_columns
from ..tables.cells import text_or_null
from ..tables.delimited import Places, read_csv
from ..tables.image_paths import check_paths, tidy_paths
from ..tables.listed_labels import TokenMap, count_tokens, read_lists
from ..tables.packed import find_tables, read_file

__all__ = ["OPENI_HEADINGS", "find_openi_reports", "heading_findings", "read_openi"]

_REPORT_FOLDERS: Final = ("", "ecgen-radiology", "NLMCXR_reports/ecgen-radiology")
_IMAGE_FOLDERS: Final = ("NLMCXR_png", "images", "images/images_normalized", "")
_REPORTS, _PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
_UID, _MESH, _FILE, _PROJECTION = "uid", "MeSH", "filename", "projection"
_NORMAL: Final = frozenset({"normal"})
_SILENT: Final = frozenset(
    {"No Indexing", "Technical Quality of Image Unsatisfactory", "nan"}
)

#: MeSH heading, with a qualifier where the heading alone says too little -> findings.
OPENI_HEADINGS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "Airspace Disease": ("Lung Opacity",),
        "Bullous Emphysema": ("Emphysema",),
        "Calcified Granuloma": ("Granuloma", "Calcified Granuloma"),
        "Calcinosis": ("Calcification",),
        "Cardiac Shadow/enlarged": ("Cardiomegaly",),
        "Cardiomegaly": ("Cardiomegaly",),
        "Catheters, Indwelling": ("Support Devices",),
        "Cavitation/lung": ("Lung Cavity",),
        "Consolidation": ("Consolidation",),
        "Emphysema": ("Emphysema",),
        "Fractures, Bone": ("Fracture",),
        "Granuloma": ("Granuloma",),
        "Hemopneumothorax": ("Pneumothorax", "Pleural Effusion"),
        "Hemothorax": ("Pleural Effusion",),
        "Hernia, Diaphragmatic": ("Hernia",),
        "Hernia, Hiatal": ("Hernia",),
        "Hydropneumothorax": ("Pneumothorax", "Pleural Effusion"),
        "Implanted Medical Device": ("Support Devices",),
        "Infiltrate": ("Infiltration",),
        "Lung Diseases, Interstitial": ("Interstitial Lung Disease",),
        "Mass/lung": ("Mass",),
        "Medical Device": ("Support Devices",),
        "Nodule/lung": ("Nodule",),
        "Opacity/lung": ("Lung Opacity",),
        "Pleural Effusion": ("Pleural Effusion",),
        "Pneumonia": ("Pneumonia",),
        "Pneumothorax": ("Pneumothorax",),
        "Pulmonary Atelectasis": ("Atelectasis",),
        "Pulmonary Disease, Chronic Obstructive": (
            "Chronic Obstructive Pulmonary Disease",
        ),
        "Pulmonary Edema": ("Edema",),
        "Pulmonary Emphysema": ("Emphysema",),
        "Pulmonary Fibrosis": ("Fibrosis",),
        "Scoliosis": ("Scoliosis",),
        "Thickening/pleura": ("Pleural Thickening",),
        "Tube, Inserted": ("Support Devices",),
        "Tuberculosis": ("Tuberculosis",),
    }
)
_FINDINGS: Final = tuple(
    name
    for name in VOCABULARY
    if any(name in names for names in OPENI_HEADINGS.values())
)


def heading_findings(token: str) -> tuple[str, ...]:
    """What a heading with its qualifiers stands for; every part is compared exactly.

    >>> heading_findings("Opacity/lung/base/left")
    ('Lung Opacity',)
    >>> heading_findings("Opacity/ribs"), heading_findings("Subcutaneous Emphysema")
    ((), ())
    """
    heading, *qualifiers = (part.strip() for part in token.split("/"))
    for name in (heading, *(f"{heading}/{qualifier}" for qualifier in qualifiers)):
        if name in OPENI_HEADINGS:
            return OPENI_HEADINGS[name]
    return ()


def find_openi_reports(root: Path) -> list[Path]:
    """The XML reports in `root` or a folder of the download, in numerical order."""
    for folder in _REPORT_FOLDERS:
        reports = [
            file for file in (root / folder).glob("*.xml") if file.stem.isdigit()
        ]
        if reports:
            return sorted(reports, key=lambda file: int(file.stem))
    return []


def read_openi(root: Path, options: TableOptions) -> LabelTable:
    """Read Open-i: Kaggle's tables where they are there, else the XML reports.

    Raises:
        DatasetError: Neither is there, or one cannot be read.
    """
    del options  # none apply
    if find_tables(root, _REPORTS):
        images, mesh, places = _from_kaggle(root)
        warnings: list[str] = []
    else:
        images, mesh, places, warnings = _from_xml(root)
    tokens = TokenMap(heading_findings, _NORMAL, _SILENT)
    labels = read_lists(mesh, lambda text: text.split(";"), tokens, _FINDINGS, places)
    if labels.unread:
        warnings.append(
            f"{len(labels.unread):,} MeSH headings are no findings here: "
            f"{count_tokens(labels.unread, 5)}"
        )
    warnings += labels.warnings("MeSH")
    return LabelTable("openi", images, _FINDINGS, labels.states, tuple(warnings))


def _from_kaggle(root: Path) -> tuple[pa.Table, pa.StringArray, Places]:
    reports = read_csv(find_tables(root, _REPORTS)[0])
    reports.require([_UID, _MESH])
    there = find_tables(root, _PROJECTIONS)
    projections = read_csv(there[0] if there else root / _PROJECTIONS)
    projections.require([_UID, _FILE, _PROJECTION])
    names = tidy_paths(projections.column(_FILE))
    check_paths(names, projections.places)
    known = pc.utf8_trim_whitespace(reports.column(_UID))
    uid = pc.utf8_trim_whitespace(projections.column(_UID))
    where = pc.index_in(uid, value_set=known)
    if where.null_count:
        row = pc.index(pc.is_null(where), True).as_py()
        raise DatasetError(
            f"{projections.places([row])[0]}: {_REPORTS} has no report {uid[row]}"
            f" ({where.null_count:,} such rows)",
            "Download both tables again.",
        )
    images = image_columns(
        path=_placed(root, names),
        patient_id=uid,
        study_id=uid,
        view=pc.utf8_upper(text_or_null(projections.column(_PROJECTION))),
    )
    return images, reports.column(_MESH).take(where), projections.places


def _from_xml(root: Path) -> tuple[pa.Table, pa.StringArray, Places, list[str]]:
    files = find_openi_reports(root)
    if not files:
        raise DatasetError(
            f"{root} holds neither {_REPORTS} nor XML reports (1.xml, …), here or in"
            f" {', '.join(folder for folder in _REPORT_FOLDERS if folder)}",
            "Give the folder that holds Open-i's reports.",
        )
    reports = [_report(file) for file in files]
    n_images = [len(images) for _, images, _ in reports]
    uid, mesh = (
        pa.array(np.repeat(np.array(values, dtype=object), n_images), pa.string())
        for values in (
            [uid for uid, _, _ in reports],
            [mesh for _, _, mesh in reports],
        )
    )
    owners = np.repeat(np.arange(len(files)), n_images).tolist()

    def places(rows: Sequence[int]) -> list[str]:
        return [str(files[owners[row]]) for row in rows]

    names = [name for _, images, _ in reports for name in images]
    if not names:
        raise DatasetError(f"the reports in {files[0].parent} name no image")
    ids = pa.array(names, pa.string())
    check_paths(ids, places)
    empty = sum(count == 0 for count in n_images)
    warnings = (
        [f"{empty:,} of {counted(len(files), 'report', 'have')} no image"]
        if empty
        else []
    )
    path = _placed(root, pc.binary_join_element_wise(ids, ".png", ""))
    images = image_columns(path=path, patient_id=uid, study_id=uid)
    return images, mesh, places, warnings


def _report(file: Path) -> tuple[str, list[str], str]:
    """Id, image ids and MeSH of one report."""
    content = read_file(file)
    # Entities could unfold to any size, or name another file; in UTF-16 and the like,
    # which have zero bytes, they would not be seen here.
    if b"<!ENTITY" in content or b"\0" in content:
        raise DatasetError(
            f"{file} declares entities or is not UTF-8, unlike Open-i's reports",
            "Download the reports again.",
        )
    try:
        root = ET.fromstring(content)  # noqa: S314 - entities were refused above
    except ET.ParseError as error:
        line = error.position[0]
        raise DatasetError(
            f"{file}, line {line}: no XML: {error}", "Download the reports again."
        ) from error
    uid = root.find("uId")
    if uid is None or not uid.get("id"):
        raise DatasetError(f"{file}: no uId", "Download the reports again.")
    images = [image.get("id", "") for image in root.iter("parentImage")]
    mesh = [heading.text or "" for heading in root.iterfind("MeSH/major")]
    return uid.get("id", ""), images, ";".join(mesh)


def _placed(root: Path, names: pa.StringArray) -> pa.StringArray:
    ways = [
        pc.binary_join_element_wise(folder, names, "/") if folder else names
        for folder in _IMAGE_FOLDERS
    ]
    # CXR1_1_IM-0001-3001.png was made of 1/1_IM-0001-3001.dcm.
    dicom = pc.replace_substring_regex(
        names, r"^(?:CXR(?:\d+_)?)?(\d+)(_IM[^.]*)(?:\.dcm)?\.png$", r"\1/\1\2.dcm"
    )
    dicoms = [pc.binary_join_element_wise("NLMCXR_dcm", dicom, "/"), dicom]
    return choose_arrangement(root, [*ways, *dicoms])
