"""Start-up and SQL: what a person waits for."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from measuring import Row, in_turns, seconds

from retune.store import FeatureStore

_COMMAND = [sys.executable, "-c", "from retune.cli.main import main; main()"]


def _run(*arguments: str) -> None:
    subprocess.run([*_COMMAND, *arguments], check=True, capture_output=True)


def query_rows(root: Path, repeats: int) -> list[Row]:
    """Whole processes against their limits in seconds; top-3 against NumPy."""
    store = FeatureStore(root / "store")
    limits = {
        "retune-cli --help": (["--help"], 0.3),
        "retune-cli sql count": (
            ["sql", "SELECT count(*) FROM images", "--store", str(store.path)], 1.0,
        ),
    }  # fmt: skip
    rows = []
    for name, (arguments, limit) in limits.items():
        times = sorted(seconds(lambda a=arguments: _run(*a)) for _ in range(repeats))
        median = times[len(times) // 2]
        rows.append(Row(name, median, limit, "s", limit / median, 1.0))
    rows.append(_top_three(store, repeats))
    return rows


def _top_three(store: FeatureStore, repeats: int) -> Row:
    """The three nearest of 200,000 vectors, in SQL and by hand."""
    from retune.store import read_vectors

    (fingerprint,) = store.sql("SELECT fingerprint FROM encoders").fetchall()[0]
    _, vectors = read_vectors(store, fingerprint)
    wanted = vectors[7].astype(np.float32)
    some = vectors[:200_000]
    connection = store.connect()

    def in_sql() -> None:
        connection.execute(
            """SELECT item_id FROM (FROM features LIMIT 200000)
            ORDER BY array_cosine_similarity(
                shard_vector_512(shard_id, "row"), ?::FLOAT[512]) DESC LIMIT 3""",
            [wanted.tolist()],
        ).fetchall()

    def by_hand() -> None:
        full = some.astype(np.float32)
        cosine = full @ wanted / np.linalg.norm(full, axis=1)
        np.argpartition(-cosine, 3)[:3]

    ours, theirs, ratio = in_turns(in_sql, by_hand, repeats)
    connection.close()
    return Row("top-3 cosine of 200,000 x 512 in SQL: NumPy", ours, theirs, "s", ratio)
