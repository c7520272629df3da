"""Label tables read and written the slow, obvious way.

Reading is the oracle for the readers: `csv`, one row and one `if` at a time. Writing
makes single rows of the public layouts for tests.
"""

import csv
from pathlib import Path

POSITIVE, NEGATIVE, UNCERTAIN, ABSENT = 1, 0, -1, -2

CHEXPERT_FINDINGS = [
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
]

#: Canonical name -> NIH's token.
NIH_FINDINGS = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Pleural Effusion": "Effusion",
    "Emphysema": "Emphysema",
    "Fibrosis": "Fibrosis",
    "Hernia": "Hernia",
    "Infiltration": "Infiltration",
    "Mass": "Mass",
    "Nodule": "Nodule",
    "Pleural Thickening": "Pleural_Thickening",
    "Pneumonia": "Pneumonia",
    "Pneumothorax": "Pneumothorax",
}


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
CHEXPERT_LABELS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,"
    "Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,"
    "Fracture,Support Devices"
)
CHEXPERT_HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{CHEXPERT_LABELS}"


def nih_row(
    name: str,
    labels: str = "No Finding",
    *,
    patient: str = "1",
    visit: str = "0",
    age: str = "58",
    sex: str = "F",
    view: str = "PA",
) -> str:
    return f"{name},{labels},{visit},{patient},{age},{sex},{view},2500,2048,0.168,0.168"


def chexpert_row(
    path: str,
    *,
    sex: str = "Male",
    age: str = "68",
    side: str = "Frontal",
    view: str = "AP",
    **labels: str,
) -> str:
    """A row whose labels are blank unless given, as in ``Edema="1.0"``."""
    names = CHEXPERT_LABELS.split(",")
    values = [labels.get(name.replace(" ", "_"), "") for name in names]
    assert set(labels) <= {name.replace(" ", "_") for name in names}
    return ",".join([path, sex, age, side, view, *values])


def chexpert_state(cell: str) -> int:
    if cell == "":
        return ABSENT
    value = float(cell)
    if value == 1.0:
        return POSITIVE
    if value == 0.0:
        return NEGATIVE
    assert value == -1.0
    return UNCERTAIN


def chexpert_rows(file: Path) -> list[dict[str, object]]:
    """One dict per image: ids, sex, age, view and a dict of states."""
    rows = []
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            release, split, patient, study, name = row["Path"].split("/")
            assert release.startswith("CheXpert-v1.0")
            view = row["AP/PA"] or row["Frontal/Lateral"].upper()
            rows.append(
                {
                    "path": f"{split}/{patient}/{study}/{name}",
                    "patient_id": patient,
                    "study_id": f"{patient}/{study}",
                    "view": view,
                    "sex": {"Male": "M", "Female": "F"}.get(row["Sex"]),
                    "age": float(row["Age"]),
                    "states": {f: chexpert_state(row[f]) for f in CHEXPERT_FINDINGS},
                }
            )
    return rows


def nih_rows(file: Path) -> list[dict[str, object]]:
    """One dict per image: ids, sex, age, view and a dict of states."""
    rows = []
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            listed = row["Finding Labels"].split("|")
            states = {}
            for finding, token in NIH_FINDINGS.items():
                states[finding] = POSITIVE if token in listed else NEGATIVE
            rows.append(
                {
                    "path": "images/" + row["Image Index"],
                    "patient_id": row["Patient ID"],
                    "study_id": row["Patient ID"] + "_" + row["Follow-up #"],
                    "view": row["View Position"],
                    "sex": row["Patient Gender"],
                    "age": float(row["Patient Age"]),
                    "states": states,
                }
            )
    return rows
