"""Kill commands at every kind of moment and see that nothing is lost; run by hand.

    make kills [KILLS=60] [SEED=0]

Commands: `ingest` into a new and into a filled store, `train`, `merge`, `repair` and
`describe import`. Each is ended by SIGKILL, half of the times before a step that
changes the store's folder (a file is opened for writing, renamed, linked or removed;
the kills are spread over all steps), half at a random moment. A third of them happens
beside a disk that is nearly full: a tmpfs where one may be mounted, else a limit on the
size of files.

After each kill the store must answer at once (but for a damaged catalog that `repair`
has not mended yet) and hold every row and every file of a run that it held before. The
same command again must give what an undisturbed one gives, and `verify` finds nothing
once something was written.

A kill is `held` or `LOST`, or a full disk was `refused` by name before it; those that
come `late` do not count. Exit code 1 if anything was lost, refused or unexpected.
"""

import argparse
import collections
import contextlib
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from erasure_samples import learnable_store
from image_samples import write_dataset

from retune.pipeline.app.describing.description_sets import (
    ImportRequest,
    enter_set,
    read_draft,
)
from retune.pipeline.app.ingest import IngestRequest, ingest
from retune.pipeline.app.merge import MergeRequest, merge
from retune.pipeline.app.train import TrainRequest, train
from retune.pipeline.learn.runs.selection import Selection
from retune.store import FeatureStore
from retune.store.errors import RetuneError

_N_PATIENTS = 20
_DISK_BYTES = 64_000_000
_DONE, _REFUSED, _FAILED = 0, 10, 11
_WRITING = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.truncate"}
_SENTENCES = """set: wards
language: en
generator: a person
created_at: "2026-01"
findings:
  Edema:
    positive: [The film shows oedema of both lungs.]
    negative: [There is no oedema of the lungs.]
  Mass:
    positive: [A mass lies in the upper lobe of the right lung.]
    negative: [There is no mass in either of the lungs.]
"""
_VARYING = {"run_id", "seconds", "created_at"}
_COLUMNS = """SELECT table_name, column_name, data_type FROM duckdb_columns()
WHERE NOT internal AND schema_name = 'main' AND table_name NOT IN
    ('shards', 'shard_checksums', 'features', 'catalog_state')
ORDER BY ALL"""
Rows = dict[str, collections.Counter[str]]


@dataclass(frozen=True)
class Job:
    """A command, what it starts from, and whether its store may be read at once.

    Attributes:
        name: As people call the command.
        template: Folder that is copied before each kill.
        act: Given the copy of the folder.
        makes_a_run: Whether each repetition adds a run of its own.
        broken_before: Whether the catalog cannot be read until the command is done.
    """

    name: str
    template: Path
    act: Callable[[Path], object]
    makes_a_run: bool = False
    broken_before: bool = False


def _ingest(root: Path) -> None:
    ingest(root / "s", IngestRequest(root / "data", "table"))


def _train(root: Path) -> None:
    request = TrainRequest("label", method="finetune", epochs=1, bounds=False)
    train(FeatureStore(root / "s"), request)


def _merge(root: Path) -> None:
    store = FeatureStore(root / "s")
    rows = store.sql("SELECT run_id FROM runs ORDER BY started_at LIMIT 2").fetchall()
    merge(store, MergeRequest(tuple(name for (name,) in rows), bounds=False))


def _repair(root: Path) -> None:
    store = FeatureStore(root / "s")
    try:
        store.sql("SELECT 1")
    except RetuneError:
        store.repair(from_copies=(store.path / "catalog.duckdb").exists())
    else:
        store.repair()


def _import(root: Path) -> None:
    draft = read_draft(root / "s", ImportRequest(_SENTENCES, "wards.yaml"))
    enter_set(root / "s", draft, "import", accept_anyway=True)


def _jobs(folder: Path) -> list[Job]:
    new, filled, broken = (folder / name for name in ("new", "filled", "broken"))
    write_dataset(new / "data", 12)
    write_dataset(filled / "data", 12)
    store = learnable_store(filled / "s", _N_PATIENTS)
    for condition in ("image_id <", "image_id >="):
        where = f"{condition} 'ward/scans/patient-{_N_PATIENTS // 2:05d}'"
        request = TrainRequest(
            "joint", Selection(where=where), method="analytic", bounds=False
        )
        train(store, request)
    shutil.copytree(filled, broken)
    (broken / "s" / "catalog.duckdb").write_bytes(b"garbage" * 4000)
    return [
        Job("ingest, a new store", new, _ingest),
        Job("ingest", filled, _ingest),
        Job("train", filled, _train, makes_a_run=True),
        Job("merge", filled, _merge, makes_a_run=True),
        Job("repair", broken, _repair, broken_before=True),
        Job("describe import", filled, _import),
    ]


def _rows(root: Path, *, timeless: bool) -> Rows:
    """Table -> its rows as text; without times and ids of runs if `timeless`.

    Where vectors lie is for the store to decide: they are read through its views.
    """
    store = FeatureStore(root / "s")
    columns: dict[str, list[str]] = collections.defaultdict(list)
    rows: Rows = {}
    with contextlib.closing(store.connect()) as connection:
        for table, column, sql_type in connection.execute(_COLUMNS).fetchall():
            varies = sql_type.startswith("TIMESTAMP") or column in _VARYING
            if not (timeless and varies):
                columns[table].append(f'"{column}"')
        for table, names in columns.items():
            query = f"SELECT {', '.join(names)} FROM {table}"
            stored = connection.execute(query).fetchall()
            texts = (repr(row).replace(str(root), "") for row in stored)
            rows[table] = collections.Counter(texts)
    if not timeless:
        runs = store.path / "runs"
        rows["files of runs"] = collections.Counter(
            f"{path.relative_to(runs)} {path.read_bytes()!r}"
            for path in sorted(runs.rglob("*"))
            if path.is_file()
        )
    return rows


def _lost(before: Rows, after: Rows) -> list[str]:
    """What was there and is not."""
    return [
        f"{table}: {row[:200]}"
        for table, rows in before.items()
        for row in rows - after.get(table, collections.Counter())
    ]


def _in_child(act: Callable[[], object], kill_after: float | None = None) -> int:
    """Exit code of an action in a process of its own, negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        code = _FAILED
        try:
            act()
            code = _DONE
        except RetuneError as error:
            print(f"    {error.message}", file=sys.stderr)
            code = _REFUSED
        except BaseException:  # noqa: BLE001 - that is what is counted
            traceback.print_exc()
        os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _before_each_step(root: Path, act: Callable[[], object]) -> None:
    """Call something before each step by which this process changes a folder."""

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        changes = event in _WRITING
        if event == "open" and isinstance(arguments[2], int):
            changes = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if changes and str(arguments[0]).startswith(str(root)):
            act()

    sys.addaudithook(hear)


def _dying_at(act: Callable[[], object], step: int, root: Path) -> Callable[[], object]:
    """The action, ended before a step that changes a file below a folder."""
    steps = itertools.count()

    def die() -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def whole() -> None:
        _before_each_step(root, die)
        act()

    return whole


def _count_steps(job: Job, folder: Path) -> tuple[int, float, Rows]:
    """How many steps a job takes, its seconds, and what it leaves."""
    root = folder / "undisturbed"
    shutil.copytree(job.template, root)
    reader, writer = os.pipe()

    def counting() -> None:
        steps = itertools.count()
        _before_each_step(root, lambda: next(steps))
        job.act(root)
        os.write(writer, str(next(steps)).encode())

    started = time.perf_counter()
    assert _in_child(counting) == _DONE, job.name
    seconds = time.perf_counter() - started
    n_steps = int(os.read(reader, 100))
    os.close(reader)
    os.close(writer)
    rows = _rows(root, timeless=True)
    shutil.rmtree(root)
    return n_steps, seconds, rows


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of its own, if this user may mount one."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(folder)]
    try:
        subprocess.run(["mount", *options], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(disk: Path, left_bytes: int) -> Path:
    """A file that leaves that much room."""
    filler = disk / "filler"
    state = os.statvfs(disk)
    size = max(1, state.f_bavail * state.f_frsize - left_bytes)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return filler


def _limited(act: Callable[[], object], root: Path, left_bytes: int) -> None:
    """The action, in a process whose files grow little beyond the largest one."""
    sizes = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    limit = max(sizes) // 4 + left_bytes
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    act()


@dataclass
class _Kills:
    """Kills of one job."""

    job: Job
    n_steps: int
    seconds: float
    expected: Rows
    random: random.Random

    def one(self, root: Path, *, at_step: bool, part: float, full: bool) -> list[str]:
        """What is wrong after one kill; ``late`` or ``refused`` if it ended before."""
        shutil.copytree(self.job.template, root)
        readable = (root / "s").exists() and not self.job.broken_before
        before = _rows(root, timeless=False) if readable else {}
        act: Callable[[], object] = lambda: self.job.act(root)  # noqa: E731
        filler = None
        if full:
            left = self.random.randrange(0, 1_500_000)
            if root.parent.is_mount():
                filler = _fill(root.parent, left)
            else:
                act = lambda: _limited(lambda: self.job.act(root), root, left)  # noqa: E731
        if at_step:
            code = _in_child(_dying_at(act, int(part * self.n_steps), root))
        else:
            code = _in_child(act, part * self.seconds)
        if filler is not None:
            filler.unlink()
        wrong = [] if code in (-signal.SIGKILL, _DONE, _REFUSED) else [f"exit {code}"]
        wrong += self._after(root, before, ended=code)
        shutil.rmtree(root)
        return wrong or {_DONE: ["late"], _REFUSED: ["refused"]}.get(code, [])

    def _after(self, root: Path, before: Rows, *, ended: int) -> list[str]:
        """Read at once, do it again, and compare."""
        wrong = []
        try:
            if before:
                wrong += _lost(before, _rows(root, timeless=False))
            entered = self.job.name == "describe import" and _has_set(root)
            if not entered and _in_child(lambda: self.job.act(root)) != _DONE:
                return [*wrong, "the same command again fails"]
            after = _rows(root, timeless=True)
            wrong += _lost(self.expected, after)
            if not self.job.makes_a_run:
                wrong += [f"too much: {row}" for row in _lost(after, self.expected)]
            if before:
                wrong += _lost(before, _rows(root, timeless=False))
            store = FeatureStore(root / "s")
            with store.writer("test"):  # which removes what the killed one left
                pass
            report = store.verify()
            if report:
                wrong.append(f"verify: {report}")
        except RetuneError as error:
            wrong.append(f"after {ended}: {error.message}")
        return wrong


def _has_set(root: Path) -> bool:
    query = "SELECT count(*) FROM descriptions WHERE set_name = 'wards'"
    return FeatureStore(root / "s").sql(query).fetchall() != [(0,)]


def main() -> int:
    """Kill, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    drawn = random.Random(given.seed)
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    with (
        tempfile.TemporaryDirectory(prefix="kills-") as name,
        _small_disk(Path(name) / "disk") as disk,
    ):
        folder = Path(name)
        print("full disk:", "a tmpfs" if disk else "a limit on the size of files")
        jobs = _jobs(folder / "templates")
        measured = [
            _Kills(job, *_count_steps(job, folder), random=drawn) for job in jobs
        ]
        n_turns = max(1, given.kills // len(jobs))
        for number in itertools.count():
            if sum(n for (_, word), n in counts.items() if word != "late") >= (
                given.kills
            ):
                break
            index, turn = number % len(jobs), number // len(jobs)
            full = (index + turn) % 3 == 2
            at_step = (index // 3 + turn) % 2 == 0
            part = drawn.random()
            if at_step:
                part = (turn % n_turns + part) / n_turns
            root = (disk if full and disk else folder) / f"kill-{number}"
            wrong = measured[index].one(root, at_step=at_step, part=part, full=full)
            name = f"{jobs[index].name}, {'full disk' if full else 'room'}"
            word = wrong[0] if wrong in (["late"], ["refused"]) else "LOST"
            counts[name, word if wrong else "held"] += 1
            if wrong and word == "LOST":
                print(f"{name}, kill {number}:")
                print(*(f"    {line}" for line in wrong[:5]), sep="\n")
    for (job_name, word), count in sorted(counts.items()):
        print(f"{job_name:34} {word:6} {count:4}")
    return int(any(word == "LOST" for _, word in counts))


if __name__ == "__main__":
    sys.exit(main())
