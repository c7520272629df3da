"""Which column of a hospital's table plays which part.

A column is named by an option, by a map, by the catalog's name for its part, or by one
of the names that such columns have in several languages. The image paths are also found
by what they look like.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow.compute as pc

from retune.store.errors import DatasetError

from ..contract import TableOptions
from ..table_map import ROLES, TableMap
from ..tables.delimited import TextTable

__all__ = ["Roles", "find_roles", "names_path"]

#: Option of `TableOptions` for a part.
_OPTIONS: Final[Mapping[str, str]] = {
    "path": "path_column",
    "patient_id": "patient_column",
    "study_id": "study_column",
    "series_id": "series_column",
    "view": "view_column",
    "sex": "sex_column",
    "age": "age_column",
    "birth_date": "birth_date_column",
    "date": "date_column",
    "time": "time_column",
    "device": "device_column",
    "site": "site_column",
    "split": "split_column",
}
#: Names of columns for a part, without accents, case and signs; the first found counts.
_NAMES: Final[Mapping[str, str]] = {
    "path": "path imagepath filepath file filename image imagefile imagename img "
    "bild bildpfad bilddatei dateipfad datei dateiname pfad dicompfad "
    "dicomdatei dicomfile dicompath chemin cheminimage cheminfichier "
    "fichier nomfichier ruta rutaimagen archivo imagen percorso "
    "percorsofile immagine caminho caminhoimagem arquivo imagem",
    "patient_id": "patientid patient patid patnr patno patientno patientnumber "
    "patientennr patientennummer patientenid subjectid subject mrn "
    "idpatient numpatient numeropatient ipp idpaciente paciente nhc "
    "idpaziente paziente",
    "study_id": "studyid study accession accessionnumber accessionno examid exam "
    "studyinstanceuid untersuchungsid untersuchungsnr untersuchungsnummer "
    "auftragsnr auftragsnummer idexamen idestudio estudio idesame idexame",
    "series_id": "seriesid series seriesinstanceuid serienid idserie",
    "view": "view viewposition projection projektion aufnahmerichtung strahlengang "
    "incidence proyeccion proiezione projecao incidencia",
    "sex": "sex gender patientsex patientgender geschlecht sexe sexo sesso genero",
    "age": "age patientage ageyears ageinyears alter patientenalter alterjahre "
    "alterinjahren agepatient edad edadanos eta idade",
    "birth_date": "birthdate dateofbirth dob patientbirthdate geburtsdatum gebdatum "
    "gebdat geburtstag datenaissance datedenaissance ddn fechanacimiento "
    "fechadenacimiento datadinascita datanascita datanascimento "
    "datadenascimento",
    "date": "acquiredat studydate acquisitiondate examdate date datetime "
    "untersuchungsdatum aufnahmedatum aufnahmezeitpunkt datum dateexamen "
    "datedexamen dateetude fecha fechaestudio fechaexamen dataesame "
    "dataexame dataestudo",
    "time": "studytime acquisitiontime examtime uhrzeit untersuchungszeit "
    "aufnahmezeit heureexamen horaestudio oraesame horaexame",
    "device": "device devicename devicemodel manufacturermodelname stationname "
    "geraet gerat geratename appareil equipo dispositivo apparecchio "
    "aparelho equipamento",
    "site": "site hospital hospitalname institution institutionname standort "
    "klinik krankenhaus hopital etablissement centro ospedale sede",
    "split": "split",
}
_IMAGE_FILE: Final = r"(?i)\.(dcm|dicom|png|jpe?g|tiff?|bmp)\s*$"


@dataclass(frozen=True)
class Roles:
    """Part -> column; a part without a column is left out."""

    columns: Mapping[str, str]

    def __getitem__(self, role: str) -> str | None:
        return self.columns.get(role)

    @property
    def used(self) -> set[str]:
        """The columns that have a part."""
        return set(self.columns.values())


def names_path(columns: Sequence[str]) -> bool:
    """Whether a column's name says that it holds image paths.

    >>> names_path(["Bildpfad", "Alter"]), names_path(["a", "b"])
    (True, False)
    """
    return _called(columns, "path") is not None


def find_roles(table: TextTable, options: TableOptions, mapping: TableMap) -> Roles:
    """Match columns to parts.

    Raises:
        DatasetError: An option or the map names a column that is not there; no column
            has the image paths; no patients and no `patient_is_image`, or both.
    """
    role_columns: dict[str, str] = {}
    names = [name for name in table.cells.column_names if name not in mapping.ignore]
    for role in ROLES:
        named = getattr(options, _OPTIONS[role]) or mapping.columns.get(role)
        if named is not None:
            named = _as_spelled(names, named)
            table.require([named])
            role_columns[role] = named
    for role in ROLES:
        free = [name for name in names if name not in role_columns.values()]
        called = None if role in role_columns else _called(free, role)
        if called is not None:
            role_columns[role] = called
    if "path" not in role_columns and (column := _of_image_files(table, names)):
        role_columns["path"] = column
    if "path" not in role_columns:
        listed = ", ".join(map(repr, table.cells.column_names))
        raise DatasetError(
            f"{table.file} has no column 'path'; the columns are {listed}",
            "Name the column with the image paths with `path_column`.",
        )
    _check_patients(table, role_columns.get("patient_id"), options)
    return Roles({role: role_columns[role] for role in ROLES if role in role_columns})


def _check_patients(
    table: TextTable, patients: str | None, options: TableOptions
) -> None:
    if patients is None and not options.patient_is_image:
        raise DatasetError(
            f"{table.file} has no column 'patient_id', and splits keep patients apart",
            "Name the column with the patients with `patient_column`; only if every"
            " image is of another patient, say `patient_is_image`.",
        )
    if patients is not None and options.patient_is_image:
        raise DatasetError(
            f"{table.file} has patients in column {patients!r}, so its images are"
            " not patients of their own",
            "Leave out `patient_is_image`.",
        )


def _as_spelled(columns: Sequence[str], name: str) -> str:
    """A column's name in the table's form of Unicode."""
    same = [
        column
        for column in columns
        if unicodedata.normalize("NFC", column) == unicodedata.normalize("NFC", name)
    ]
    return same[0] if len(same) == 1 and name not in columns else name


def _called(columns: Sequence[str], role: str) -> str | None:
    """The column that has a name of this part: exactly the catalog's, or another's."""
    if role in columns:
        return role
    keys = [_key(column) for column in columns]
    for name in _NAMES[role].split():
        if keys.count(name) == 1:
            return columns[keys.index(name)]
    return None


def _key(name: str) -> str:
    """A name without accents, case and signs.

    >>> _key("Patienten-ID"), _key("Gerät")
    ('patientenid', 'gerat')
    """
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(char for char in plain if char.isalnum())


def _of_image_files(table: TextTable, columns: Sequence[str]) -> str | None:
    """The one column in which every cell is the name of an image file."""
    alike = [
        name
        for name in columns
        if pc.all(pc.match_substring_regex(table.column(name), _IMAGE_FILE)).as_py()
    ]
    return alike[0] if len(alike) == 1 else None
