"""Looking for damage in every file of a store, and repairing what can be repaired."""

import uuid
from pathlib import Path

import duckdb

from ..atomic_files import TEMPORARY_PREFIX, make_private
from ..catalog import Catalog, scalar
from ..commits import check_commits, entered_commits, read_commits, set_commits
from ..errors import ConfigurationError, StoreCorruptError
from ..schema import quoted
from ..vectors.shard_verification import verify_shard
from .catalog_copies import check_copies, copied_commits, rebuild_catalog
from .manifests import check_manifest
from .pending_runs import find_pending, read_pending
from .reconcile import (
    DAMAGED_FOLDER,
    ReconcileReport,
    apply_reconcile,
    inspect,
    known_checksums,
    missing_folders,
    refuse_missing_folders,
)

__all__ = ["check_catalog", "repair_store", "verify_store"]


def verify_store(
    root: Path, catalog: Catalog, *, every_checksum: bool = True
) -> ReconcileReport:
    """Say what is wrong with a store; changes nothing. See `FeatureStore.verify`."""
    report = ReconcileReport()
    _check_files(root, report)
    try:
        with catalog.read(checked=False) as connection:
            try:
                check_commits(root, connection)
            except StoreCorruptError as error:
                report.catalog.append(error.message)
            if every_checksum:
                report.catalog += check_catalog(connection)
            plan, files = inspect(root, connection)
            gone = missing_folders(root, connection)
            report.copies_behind = _behind(root, read_commits(connection))
            checksums = known_checksums(connection)
            report.dropped_rows = scalar(
                connection,
                "SELECT count(*) FROM features WHERE list_contains(?, shard_id)",
                [list(plan.drop)],
            )
    except StoreCorruptError as error:
        report.catalog.append(error.message)
        return report
    report.missing_folders = [str(folder) for folder in gone]
    report.adopted_shards = len(plan.adopt)
    report.dropped_shards = len(plan.drop)
    report.temporary_files = len(plan.temporary)
    for shard_id, path in sorted(files.items()):
        if every_checksum or shard_id in plan.adopt:
            try:
                header = verify_shard(path, checksums.get(shard_id))
            except StoreCorruptError as error:
                report.damaged[str(path)] = error.message
                continue
            if shard_id in plan.adopt:
                report.adopted_rows += header.n_rows
    return report


def check_catalog(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Read every value of every table: DuckDB compares each block that it reads.

    Returns:
        A sentence for each table that cannot be read.
    """
    try:
        tables = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT temporary"
        ).fetchall()
    except duckdb.Error as error:
        return [f"the catalog's list of tables cannot be read: {_first_line(error)}"]
    problems = []
    for schema, table in tables:
        name = f"{quoted(schema)}.{quoted(table)}"
        try:
            connection.execute(f"SELECT sum(hash(t)) FROM {name} AS t").fetchall()
        except duckdb.Error as error:
            problems.append(f"the table {table} cannot be read: {_first_line(error)}")
    return problems


def repair_store(
    root: Path, catalog: Catalog, *, from_copies: bool, drop_missing: bool
) -> ReconcileReport:
    """Repair under the writer lock. See `FeatureStore.repair`."""
    notes = []
    if from_copies or not catalog.path.exists():
        notes = _bring_back(root, catalog, required=from_copies)
    else:
        _check_count(root, catalog)
    if not drop_missing:
        with catalog.read() as connection:
            refuse_missing_folders(root, connection)
    with catalog.write() as connection:
        report = apply_reconcile(root, connection, every_checksum=True)
    report.catalog += notes
    return report


def _check_files(root: Path, report: ReconcileReport) -> None:
    """What can be checked without the catalog: copies, runs, and runs that wait."""
    report.catalog += check_copies(root)
    for folder in sorted((root / "runs").glob("*")):
        if folder.is_dir():
            for problem in check_manifest(folder):
                report.runs[problem.partition(": ")[0]] = problem
    for path in find_pending(root):
        try:
            read_pending(path)
        except StoreCorruptError as error:
            report.catalog.append(error.message)


def _check_count(root: Path, catalog: Catalog) -> None:
    """Accept a catalog that has lost transactions only if no copies know better."""
    with catalog.read(checked=False) as connection:
        counted = read_commits(connection)
        try:
            check_commits(root, connection)
        except StoreCorruptError:
            if _entered(root) and _copied(root) > counted:
                raise
        else:
            return
    set_commits(root, counted)


def _behind(root: Path, counted: int) -> int:
    """Transactions that the copies lack; 0 where there are none or they are damaged."""
    try:
        copied = copied_commits(root)
    except StoreCorruptError:
        return 0
    return 0 if copied is None else max(0, counted - copied)


def _copied(root: Path) -> int:
    try:
        return copied_commits(root) or 0
    except StoreCorruptError:
        return 0


def _bring_back(root: Path, catalog: Catalog, *, required: bool) -> list[str]:
    """Put a catalog made from the copies in the place of the one that is there."""
    copied = copied_commits(root)
    if copied is None and required:
        raise ConfigurationError(
            f"the store {root} has no copies of its catalog",
            "`retune-cli repair` without `from_copies` brings back what shards hold.",
        )
    counted = 0
    if catalog.path.exists():
        counted = _counted_of_whole(catalog)
    temporary = root / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        problems = rebuild_catalog(root, temporary)
        _exchange(root, catalog.path, temporary)
    finally:
        temporary.unlink(missing_ok=True)
    number = _entered(root)
    with catalog.write(checked=False) as connection:
        connection.execute(
            "UPDATE catalog_state SET commits = greatest(commits, ?)",
            [max(number, copied or 0, counted)],
        )
    if copied is not None and number > copied:
        problems.append(
            f"the catalog comes from its copies, which lacked the last "
            f"{number - copied:,} of {number:,} transactions"
        )
    return problems


def _counted_of_whole(catalog: Catalog) -> int:
    """How far a damaged catalog had counted.

    Raises:
        ConfigurationError: It is not damaged.
        StoreError: It is held, or may not be read: nobody knows whether it is damaged.
    """
    try:
        with catalog.read(checked=False) as connection:
            counted = read_commits(connection)
            check_commits(catalog.path.parent, connection)
            if check_catalog(connection):
                return counted
    except StoreCorruptError:
        return 0
    raise ConfigurationError(
        f"the catalog {catalog.path} is whole: there is nothing to rebuild",
        "`retune-cli repair` without `from_copies` repairs the shards.",
    )


def _exchange(root: Path, path: Path, temporary: Path) -> None:
    """Set the old catalog aside and give the new one its name."""
    folder = root / DAMAGED_FOLDER
    make_private(folder)
    mark = uuid.uuid4().hex[:8]
    # First: DuckDB would apply the old catalog's newest transactions to the new one.
    for old in (path.with_name(f"{path.name}.wal"), path):
        if old.exists():
            old.replace(folder / f"{mark}-{old.name}")
    temporary.replace(path)


def _entered(root: Path) -> int:
    """The number of transactions that were entered, as far as is known."""
    try:
        return entered_commits(root) or 0
    except StoreCorruptError:
        return 0


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]
