"""Mutated label tables of every layout: read, or refused with a named error.

``python tests/fuzz/tables.py [COUNT] [SEED]`` prints counts by layout and outcome, the
longest time and the peak of memory, and ends with 1 if anything else came out.
"""

import gzip
import io
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from memory import own_peak_bytes
from reference_labels import (
    BRAX_HEADER,
    CHEXPERT_HEADER,
    CHEXPERT_LABELS,
    CHEXPERT_PLUS_HEADER,
    NIH_HEADER,
    PADCHEST_HEADER,
    brax_row,
    chexpert_plus_row,
    chexpert_row,
    nih_row,
    padchest_row,
)

from retune.pipeline.datasets.ingest import read_dataset
from retune.store.errors import RetuneError

__all__ = ["Tally", "fuzz_tables"]

_SECONDS = 20
#: File name -> content.
Files = dict[str, bytes]


@dataclass
class Tally:
    """What came of N tables."""

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest: float = 0.0

    def report(self) -> str:
        """Counts by layout and outcome, one a line."""
        lines = [
            f"{layout:<14} {outcome:<24} {count:>6,}"
            for (layout, outcome), count in sorted(self.outcomes.items())
        ]
        peak = own_peak_bytes() / 2**30
        return "\n".join(
            [
                *lines,
                f"{self.outcomes.total():,} tables, longest {self.longest:.2f} s, peak "
                f"{peak:.2f} GiB, tracebacks and hangs: {len(self.failures)}",
            ]
        )


def _csv(header: str, rows: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in (header, *rows)).encode()


def _samples() -> dict[str, Files]:
    """A small sound dataset of each layout."""
    paths = [f"train/patient0000{n}/study1/view1_frontal.jpg" for n in range(4)]
    mimic = [f"d{n},1000{n}000,5000{n}000" for n in range(4)]
    labels = ",".join([""] * 13 + ["1.0"])
    table = "path,patient_id,study_id,view,sex,age,split,Edema,Mass"
    plus = [
        json.dumps({"path_to_image": path, **dict.fromkeys(CHEXPERT_LABELS.split(","))})
        for path in paths
    ]
    report = (
        '<eCitation><uId id="CXR{n}"/><MeSH><major>Cardiomegaly/mild</major></MeSH>'
        '<parentImage id="CXR{n}_IM-1"/></eCitation>'
    )
    return {
        "nih": {
            "Data_Entry_2017_v2020.csv": _csv(
                NIH_HEADER, [nih_row(f"{n}.png", "Mass|Hernia") for n in range(4)]
            ),
            "test_list.txt": b"1.png\n2.png\n",
        },
        "chexpert": {
            "train.csv": _csv(
                CHEXPERT_HEADER, [chexpert_row(path, Edema="-1.0") for path in paths]
            )
        },
        "chexpert-plus": {
            "df_chexpert_plus_240401.csv": _csv(
                CHEXPERT_PLUS_HEADER, [chexpert_plus_row(path) for path in paths]
            ),
            "report_fixed.json": "\n".join(plus).encode(),
        },
        "mimic": {
            "mimic-cxr-2.0.0-metadata.csv": _csv(
                "dicom_id,subject_id,study_id,ViewPosition", [f"{m},PA" for m in mimic]
            ),
            "mimic-cxr-2.0.0-chexpert.csv": _csv(
                f"subject_id,study_id,{CHEXPERT_LABELS}",
                [f"{m.split(',', 1)[1]},{labels}" for m in mimic],
            ),
            "mimic-cxr-2.0.0-split.csv": _csv(
                "dicom_id,subject_id,study_id,split", [f"{m},train" for m in mimic]
            ),
        },
        "padchest": {
            "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv": _csv(
                PADCHEST_HEADER,
                [padchest_row(f"{n}.png", "['pneumonia', '']") for n in range(4)],
            )
        },
        "vindr": {
            "train.csv": _csv(
                "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max",
                [f"{n // 3},Edema,1,R{n % 3},1,2,3,4" for n in range(9)],
            )
        },
        "openi": {
            f"{n}.xml": report.replace("{n}", str(n)).encode() for n in range(1, 4)
        },
        "brax": {
            "master_spreadsheet_update.csv": _csv(
                BRAX_HEADER,
                [brax_row(f"images/{n}.png", Edema="1.0") for n in range(4)],
            )
        },
        "table": {
            "t.csv": _csv(
                table, [f"{n}.png,{n},{n},PA,F,60,test,1,-1" for n in range(4)]
            )
        },
    }


#: Put somewhere into a table.
_TOKENS = (
    b'"', b"'", b"\0", b"\r", b"\n", b",", b";", b"\t", b"\xff", b"\xef\xbb\xbf",
    b"\x1b[2J", "\u202e".encode(), "\u0301".encode(), b"..", b"/etc/passwd", b"../",
    b"nan", b"NaN", b"inf", b"-1e400", b"9" * 400, b"1.0.0", b"=cmd()", b"[]", b"{",
    b"['a'", b"[" * 3_000, b"x" * 200_000, b"2026-13-45", b"true", b"-", b"\\",
    b"&lol;", b"<!ENTITY a 'b'>", b"<a>" * 2_000, b"\xc2", b"0x10", b"%00", b"|",
)  # fmt: skip


def _flip(content: bytearray, own: random.Random) -> bytearray:
    for _ in range(own.randint(1, 8)):
        if content:
            content[own.randrange(len(content))] ^= 1 << own.randrange(8)
    return content


def _insert(content: bytearray, own: random.Random) -> bytearray:
    for _ in range(own.randint(1, 3)):
        offset = own.randint(0, len(content))
        content[offset:offset] = own.choice(_TOKENS)
    return content


def _cut(content: bytearray, own: random.Random) -> bytearray:
    start = own.randint(0, len(content))
    return content[:start] + content[own.randint(start, len(content)) :]


def _truncate(content: bytearray, own: random.Random) -> bytearray:
    return content[: own.randint(0, len(content))]


def _repeat(content: bytearray, own: random.Random) -> bytearray:
    start = own.randint(0, len(content))
    end = own.randint(start, len(content))
    return content[:end] + content[start:end] * own.choice((1, 2, 50)) + content[end:]


def _replace_cell(content: bytearray, own: random.Random) -> bytearray:
    lines = [line.split(b",") for line in bytes(content).split(b"\n")]
    line = own.choice(lines)
    line[own.randrange(len(line))] = own.choice(_TOKENS)
    return bytearray(b"\n".join(b",".join(line) for line in lines))


def _shuffle_lines(content: bytearray, own: random.Random) -> bytearray:
    lines = bytes(content).split(b"\n")
    own.shuffle(lines)
    return bytearray(b"\n".join(lines))


def _drop_column(content: bytearray, own: random.Random) -> bytearray:
    lines = [line.split(b",") for line in bytes(content).split(b"\n")]
    column = own.randrange(len(lines[0]))
    kept = [line[:column] + line[column + 1 :] for line in lines]
    return bytearray(b"\n".join(b",".join(line) for line in kept))


def _recode(content: bytearray, own: random.Random) -> bytearray:
    name = own.choice(("utf-16", "utf-32", "utf-8-sig", "latin-1", "cp1252"))
    return bytearray(content.decode("latin-1").encode(name, "replace"))


def _end_lines_otherwise(content: bytearray, own: random.Random) -> bytearray:
    return content.replace(b"\n", own.choice((b"\r", b"\r\n", b"\n\n", b"", b"\v")))


_MUTATIONS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (
    _flip, _insert, _cut, _truncate, _repeat, _replace_cell, _shuffle_lines,
    _drop_column, _recode, _end_lines_otherwise,
)  # fmt: skip


def _mutated(files: Files, own: random.Random) -> Files:
    """One file changed, perhaps packed or as Parquet, and perhaps damaged then."""
    name = own.choice(sorted(files))
    content = bytearray(files[name])
    for _ in range(own.choice((1, 1, 1, 2, 3))):
        content = own.choice(_MUTATIONS)(content, own)
    rest = {other: text for other, text in files.items() if other != name}
    if name.endswith(".csv") and own.random() < 0.2:
        packed = bytearray(gzip.compress(bytes(content), mtime=0))
        if own.random() < 0.5:
            packed = own.choice((_flip, _truncate))(packed, own)
        return {**rest, f"{name}.gz": bytes(packed)}
    if name == "t.csv" and own.random() < 0.5:
        out = io.BytesIO()
        pq.write_table(pa_csv.read_csv(io.BytesIO(files[name])), out)
        damaged = own.choice((_flip, _truncate, _cut, _insert))
        return {"t.parquet": bytes(damaged(bytearray(out.getvalue()), own))}
    return {**rest, name: bytes(content)}


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Interrupt what takes too long."""

    def overrun(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, overrun)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _outcome(root: Path, layout: str | None) -> str:
    try:
        with _limited(_SECONDS):
            plan = read_dataset(root, layout)
    except RetuneError as error:
        told = f"{error.message} {error.hint}"
        return "refused" if told.replace("\n", "").isprintable() else "unprintable"
    except BaseException as error:  # all others are what is looked for
        if isinstance(error, KeyboardInterrupt):
            raise
        _, _, trace = sys.exc_info()
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else Path(trace.tb_frame.f_code.co_filename).name
        return f"{type(error).__name__} in {where}"
    return "read, with warnings" if plan.warnings else "read"


def fuzz_tables(count: int, seed: int, folder: Path) -> Tally:
    """Read so many mutated tables, of all layouts in turn.

    Args:
        count: How many.
        seed: The same seed gives the same tables.
        folder: Where they are written; each is removed after it was read.
    """
    samples, tally = _samples(), Tally()
    layouts = sorted(samples)
    for number in range(count):
        own = random.Random(f"{seed}/{number}")
        layout = layouts[number % len(layouts)]
        root = folder / str(number)
        root.mkdir()
        for name, content in _mutated(samples[layout], own).items():
            (root / name).write_bytes(content)
        begun = time.perf_counter()
        outcome = _outcome(root, own.choice((layout, layout, None)))
        tally.longest = max(tally.longest, time.perf_counter() - begun)
        tally.outcomes[layout, outcome] += 1
        if outcome not in ("read", "read, with warnings", "refused"):
            tally.failures.append(f"{layout}, seed {seed}, table {number}: {outcome}")
        shutil.rmtree(root)
    return tally


def main() -> int:
    """Fuzz as many tables as the command line says, 500 by default."""
    given = [int(text) for text in sys.argv[1:3]]
    count, seed = [*given, *(500, 0)[len(given) :]]
    with tempfile.TemporaryDirectory(prefix="retune-fuzz-") as folder:
        tally = fuzz_tables(count, seed, Path(folder))
    sys.stdout.write("\n".join([*tally.failures, tally.report()]) + "\n")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
