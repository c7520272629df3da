"""Hospital tables whose truth is known, written in every way: none is silently wrong.

``python tests/fuzz/mangled.py [COUNT] [SEED]`` makes tables in a mixture of languages,
delimiters, encodings, decimal signs and kinds of dates, reads them, and holds each cell
against what was meant. It ends with 1 if a cell is wrong, or unknown without a word.
"""

import csv
import io
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from retune.pipeline.datasets.contract import LabelTable, TableOptions
from retune.pipeline.datasets.layouts import read_layout
from retune.pipeline.findings import alias_of, known_spelling
from retune.store.errors import RetuneError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN

__all__ = ["Mangled", "mangled_tables"]

#: Language -> yes, no, perhaps; women, men; columns; findings.
_LANGUAGES: dict[str, dict[str, list[str]]] = {
    "numbers": {
        "labels": ["1", "0", "-1"], "sexes": ["F", "M"],
        "columns": ["path", "patient_id", "sex", "age", "date", "device"],
        "findings": ["Edema", "Pleural_Effusion", "cervical rib"],
    },
    "English": {
        "labels": ["yes", "no", "uncertain"], "sexes": ["female", "male"],
        "columns": ["File name", "Patient ID", "Gender", "Age", "Study Date", "Device"],
        "findings": ["Edema", "Effusion", "Pseudonodule"],
    },
    "German": {
        "labels": ["ja", "nein", "fraglich"], "sexes": ["w", "m"],
        "columns": [
            "Bildpfad", "Patienten-ID", "Geschlecht", "Alter", "Aufnahmedatum", "Gerät",
        ],
        "findings": ["Pleuraerguss", "Überblähung", "Kardiomegalie"],
    },
    "French": {
        "labels": ["oui", "non", "incertain"], "sexes": ["Femme", "Homme"],
        "columns": [
            "Fichier", "Num patient", "Sexe", "Age", "Date examen", "Appareil",
        ],
        "findings": ["Épanchement pleural", "Cardiomégalie", "Pneumothorax"],
    },
    "Spanish": {
        "labels": ["sí", "no", "dudoso"], "sexes": ["M", "H"],
        "columns": ["Ruta", "ID paciente", "Sexo", "Edad", "Fecha", "Equipo"],
        "findings": ["Derrame pleural", "Neumonía", "Masa"],
    },
    "Italian": {
        "labels": ["sì", "no", "incerto"], "sexes": ["Femmina", "Maschio"],
        "columns": [
            "Percorso", "ID paziente", "Sesso", "Età", "Data esame", "Apparecchio",
        ],
        "findings": ["Versamento pleurico", "Polmonite", "Enfisema"],
    },
    "Portuguese": {
        "labels": ["sim", "não", "?"], "sexes": ["feminino", "masculino"],
        "columns": [
            "Caminho", "ID paciente", "Gênero", "Idade", "Data exame", "Aparelho",
        ],
        "findings": ["Nódulo", "Consolidação", "Atelectasia"],
    },
    "letters": {
        "labels": ["j", "n", ""], "sexes": ["W", "M"],
        "columns": ["Datei", "PatNr", "Geschlecht", "Alter", "Datum", "device"],
        "findings": ["Erguss", "Stauung", "Fraktur"],
    },
    "crosses": {
        "labels": ["x", "", ""], "sexes": ["f", "m"],
        "columns": ["Image", "MRN", "Sex", "Age", "Exam Date", "Station Name"],
        "findings": ["Mass", "Nodule", "Hernia"],
    },
    "words": {
        "labels": ["TRUE", "FALSE", ""], "sexes": ["Frau", "Mann"],
        "columns": ["filepath", "subject", "gender", "Patient Age", "Date", "Scanner"],
        "findings": ["Fibrosis", "Tuberkulose", "Skoliose"],
    },
    "signs": {
        "labels": ["pos", "neg", ""], "sexes": ["F", "M"],
        "columns": ["img", "patient", "sex", "age", "acquired_at", "device"],
        "findings": ["Emphysem", "Infiltrat", "Rundherd"],
    },
}  # fmt: skip
_AGES: tuple[Callable[[int], str], ...] = (
    str,
    lambda age: f"{age},0",
    lambda age: f"{age}.0",
    lambda age: f"{age:03d}Y" if age else "000D",
    lambda age: f"{12 * age}M" if 0 < age < 80 else str(age),
    lambda age: f"{age} Jahre",
)
_DATES = ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d %H:%M:%S")
_ODD = ("siehe Text", "???", "k. A. mehr", "2x", "n.b.")
_ENCODINGS = ("utf-8", "utf-8-sig", "cp1252", "utf-16", "latin-1", "cp850")


@dataclass
class Mangled:
    """What came of N tables.

    Attributes:
        cells: Cells by what became of them: right, told, refused.
        wrong: What is silently wrong, with the table's number.
        refused: Tables that were refused.
    """

    cells: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Case:
    """A table, its options, and what is meant by it."""

    name: str
    content: bytes
    options: TableOptions
    columns: list[str]
    truth: dict[str, list[Any]]
    findings: list[str]
    written: list[list[str]]


def _case(own: random.Random) -> _Case:
    language = own.choice(sorted(_LANGUAGES))
    words = _LANGUAGES[language]
    n_rows = own.randint(6, 40)
    yes, no, perhaps = words["labels"]
    states = {yes: POSITIVE, no: NEGATIVE, perhaps: UNCERTAIN, "": ABSENT}
    prefix = own.choice(("", "", "C:\\PACS\\", "\\\\srv\\bilder\\", "/mnt/pacs/"))
    mark = "\\" if "\\" in prefix or own.random() < 0.2 else "/"
    form, way = own.choice(_DATES), own.choice(_AGES)
    truth: dict[str, list[Any]] = {"path": [], "patient": [], "sex": [], "age": []}
    truth |= {"date": [], "device": []} | {name: [] for name in words["findings"]}
    rows = []
    for n in range(n_rows):
        age, sex = own.randint(1, 99), own.choice("FM")
        day = datetime(2020, 1, 1) + timedelta(days=own.randint(0, 2000))
        device = own.choice(("Röntgen 1", "Gerät; alt", "Siemens, mobil", "C-Bogen"))
        row = [
            f"{prefix}s{n % 3}{mark}bild {n}.dcm", f"{n // 2:05d}",
            words["sexes"][sex == "M"], way(age), day.strftime(form), device,
        ]  # fmt: skip
        meant = (
            f"s{n % 3}/bild {n}.dcm",
            f"{n // 2:05d}",
            sex,
            age,
            day.date(),
            device,
        )
        for name, value in zip(truth, meant, strict=False):
            truth[name].append(value)
        for name in words["findings"]:
            word = own.choice([yes, no, yes, no, perhaps, ""])
            truth[name].append(states[word])
            row.append(own.choice((word, word.upper(), f" {word}")) if word else "")
        rows.append(row)
    for name in words["findings"]:  # each has both, or cannot be told from a note
        column = 6 + words["findings"].index(name)
        for n, word in enumerate((yes, no)):
            rows[n][column], truth[name][n] = word, states[word]
    _spoil(rows, truth, own)
    columns = [*words["columns"], *words["findings"]]
    order = list(range(len(columns)))
    own.shuffle(order)
    shuffled = [[row[column] for column in order] for row in rows]
    name, content = _written([columns[column] for column in order], shuffled, own)
    options = TableOptions(path_prefix=((prefix, ""),) if prefix else ())
    if language == "words":  # no hospital's list of names is complete
        options = TableOptions(path_prefix=options.path_prefix, device_column="Scanner")
    return _Case(name, content, options, columns, truth, words["findings"], rows)


def _spoil(
    rows: list[list[str]], truth: dict[str, list[Any]], own: random.Random
) -> None:
    """Some cells say what nobody understands."""
    for column, name in list(enumerate(truth))[2:]:
        if name != "device" and own.random() < 0.3:
            for row in own.sample(range(2, len(rows)), max(1, len(rows) // 15)):
                rows[row][column] = own.choice(_ODD)
                truth[name][row] = None


def _written(
    columns: list[str], rows: list[list[str]], own: random.Random
) -> tuple[str, bytes]:
    chance = own.random()
    if chance < 0.1:
        arrays = [pa.array([row[n] for row in rows]) for n in range(len(columns))]
        out = io.BytesIO()
        pq.write_table(pa.Table.from_arrays(arrays, names=columns), out)
        return "t.parquet", out.getvalue()
    if chance < 0.15:
        import openpyxl

        book = openpyxl.Workbook()
        for row in (columns, *rows):
            book.active.append(row)
        out = io.BytesIO()
        book.save(out)
        return "T.XLSX", out.getvalue()
    stream = io.StringIO()
    delimiter = own.choice(",;;\t|")
    style = own.choice(("minimal", "all", "escaped", "single"))
    options: dict[str, Any] = {"delimiter": delimiter}
    options["lineterminator"] = own.choice(("\n", "\r\n"))
    if style == "all":
        options["quoting"] = csv.QUOTE_ALL
    if style == "escaped":
        options |= {"quoting": csv.QUOTE_ALL, "doublequote": False, "escapechar": "\\"}
        rows = [[cell.replace("\\", "/") for cell in row] for row in rows]
    if style == "single":
        options |= {"quotechar": "'", "quoting": csv.QUOTE_ALL}
    csv.writer(stream, **options).writerows([columns, *rows])
    text = stream.getvalue()
    if delimiter == ";" and own.random() < 0.3:
        text = f"sep=;{options['lineterminator']}{text}"
    return own.choice(("t.csv", "T.CSV", "t.tsv")), text.encode(own.choice(_ENCODINGS))


def _check(case: _Case, table: LabelTable, report: Mangled, where: str) -> None:
    told = "\n".join(table.warnings)
    images, details = table.images, table.details
    dates = details["acquired_at"].to_pylist() if details is not None else []
    devices = details["device"].to_pylist() if "device" in details.column_names else []
    read = {
        "path": images["path"].to_pylist(),
        "patient": images["patient_id"].to_pylist(),
        "sex": images["sex"].to_pylist(),
        "age": images["age"].to_pylist(),
        "date": [None if day is None else day.date() for day in dates],
        "device": devices,
    }
    names = list(table.findings)
    for name in case.findings:
        called = known_spelling(name) or alias_of(name) or name
        if called not in names:
            if repr(name) not in told:
                report.wrong.append(f"{where}: finding {name!r} not read")
            read[name] = [None] * len(case.written)
            continue
        column = table.states[:, names.index(called)].tolist()
        read[name] = [None if state == -3 else state for state in column]
    for index, (name, wanted) in enumerate(case.truth.items()):
        column = case.columns[index]
        cells = read.get(name) or [None] * len(wanted)
        for row, (meant, got) in enumerate(zip(wanted, cells, strict=True)):
            cell = case.written[row][index]
            if got == meant and meant is not None:
                report.cells["right"] += 1
            elif got is None and (
                f"column {column!r}" in told or f"{column!r}" in told
            ):
                report.cells["told"] += 1
            elif got is None and meant is None and not cell.strip():
                report.cells["right"] += 1
            else:
                report.wrong.append(f"{where}: {column!r}: {cell!r} is {got!r}")


def mangled_tables(count: int, seed: int, folder: Path) -> Mangled:
    """Read so many tables and compare them with what was meant.

    Args:
        count: How many.
        seed: The same seed gives the same tables.
        folder: Where they are written.
    """
    report = Mangled()
    for number in range(count):
        own = random.Random(f"{seed}/{number}")
        case = _case(own)
        root = folder / str(number)
        root.mkdir()
        (root / case.name).write_bytes(case.content)
        where = f"seed {seed}, table {number}"
        try:
            table = read_layout("table", root, case.options)
        except RetuneError as error:
            report.refused.append(f"{where}: {error.message}")
            report.cells["refused"] += sum(map(len, case.written))
            continue
        _check(case, table, report, where)
    return report


def main() -> int:
    """Read as many tables as the command line says, 200 by default."""
    given = [int(text) for text in sys.argv[1:3]]
    count, seed = [*given, *(200, 0)[len(given) :]]
    with tempfile.TemporaryDirectory(prefix="retune-mangled-") as folder:
        report = mangled_tables(count, seed, Path(folder))
    cells = ", ".join(f"{name} {n:,}" for name, n in sorted(report.cells.items()))
    lines = [*report.wrong[:50], *report.refused]
    lines.append(
        f"{count:,} tables: cells {cells}; refused tables {len(report.refused)}, "
        f"silently wrong {len(report.wrong)}"
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
