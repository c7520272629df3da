"""Label tables read and written the slow, obvious way.

Reading is the oracle for the readers: `csv`, one row and one `if` at a time. Writing
makes single rows of the public layouts for tests.
"""

import csv
import html
import re
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
CHEXPERT_PLUS_HEADER = (
    "path_to_image,path_to_dcm,frontal_lateral,ap_pa,deid_patient_id,section_findings,"
    "section_impression,age,sex,race,split"
)
PADCHEST_HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,"
    "Projection,MethodLabel,Labels"
)
BRAX_HEADER = (
    f"DicomPath,PngPath,PatientID,PatientSex,PatientAge,{CHEXPERT_LABELS},StudyDate,"
    "AccessionNumber,ViewPosition,Rows,Columns,Manufacturer"
)


def chexpert_plus_row(path: str, *, split: str = "train", age: str = "68.0") -> str:
    patient = path.split("/")[1]
    dicom = path.replace(".jpg", ".dcm")
    report = '"Lungs are clear.\nNo ""acute"" finding, none.",Normal.'
    return f"{path},{dicom},Frontal,AP,{patient},{report},{age},Male,White,{split}"


def padchest_row(
    name: str,
    labels: str = "['normal']",
    *,
    patient: str = "1",
    birth: str = "1930.0",
    sex: str = "F",
    view: str = "PA",
) -> str:
    ids = f"0,{name},7,20140915,s{patient},{patient}"
    return f'{ids},{birth},{sex},{view},Physician,"{labels}"'


def brax_row(path: str, *, age: str = "45", **labels: str) -> str:
    names = CHEXPERT_LABELS.split(",")
    values = ",".join(labels.get(name.replace(" ", "_"), "") for name in names)
    dicom = path.replace(".png", ".dcm")
    return f"{dicom},{path},id_1,F,{age},{values},20150101,acc-1,PA,2000,2000,X"


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


def padchest_rows(file: Path) -> list[dict[str, object]]:
    """One dict per image: ids, sex, age, view and the set of its labels."""
    rows = []
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            listed = set()
            for part in row["Labels"].strip("[]").split(","):
                listed.add(part.strip().strip("'").strip())
            listed -= {"", "nan"}
            age = None
            if row["PatientBirth"]:
                age = float(row["StudyDate_DICOM"][:4]) - float(row["PatientBirth"])
            rows.append(
                {
                    "path": row["ImageDir"] + "/" + row["ImageID"],
                    "patient_id": row["PatientID"],
                    "study_id": row["StudyID"],
                    "view": row["Projection"].upper(),
                    "sex": {"M": "M", "F": "F"}.get(row["PatientSex_DICOM"]),
                    "age": age,
                    "labels": listed,
                }
            )
    return rows


def vindr_votes(file: Path) -> dict[str, dict[str, set[str]]]:
    """Image -> reader -> the classes that this reader marked."""
    votes: dict[str, dict[str, set[str]]] = {}
    with file.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            of_image = votes.setdefault(row["image_id"], {})
            seen = of_image.setdefault(row["rad_id"], set())
            if row["class_name"] != "No finding":
                seen.add(row["class_name"])
    return votes


def openi_reports(folder: Path) -> dict[str, tuple[str, set[str]]]:
    """Image id -> report id and MeSH headings, found by searching the text."""
    images = {}
    for file in folder.glob("*.xml"):
        text = file.read_text(encoding="utf-8")
        uid = re.findall(r'<uId id="([^"]+)"', text)[0]
        majors = {html.unescape(m) for m in re.findall(r"<major>([^<]*)</major>", text)}
        for image in re.findall(r'<parentImage id="([^"]+)"', text):
            images[image] = (uid, majors)
    return images
