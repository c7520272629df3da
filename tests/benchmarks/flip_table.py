"""Flip single bits in every file of a store and count what happens; run by hand.

    python tests/benchmarks/flip_table.py --flips 2000 --seed 0

The store has images, labels, vectors, descriptions and two trained runs. Each flip is
tried in a process of its own: reading everything and scoring with every run gives the
same numbers (`same`), an error of ours (`error`), other numbers (`SILENT`), another
exception (`TRACEBACK`) or the process ends (`CRASH`); `verify` finds the flip or does
not. A flip that nothing notices may lie in a free block of the catalog: then the whole
block is overwritten, and if nothing notices that either, the flip counts as `unused`.
Exit code 1 if anything was silent, unexpected or not found.
"""

import argparse
import collections
import os
import random
import sys
import tempfile
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from damage_samples import answers
from erasure_samples import learnable_store

from retune.pipeline.app.train import TrainRequest, train
from retune.pipeline.learn.runs.reopened import (
    find_state,
    load_run_model,
    reopen_run,
)
from retune.pipeline.learn.runs.saved_model import predict
from retune.pipeline.learn.runs.saving import run_folder
from retune.pipeline.learn.runs.state import STATE_FILE
from retune.store import FeatureStore, Run, find_run, read_vectors
from retune.store.catalog import CATALOG_NAME
from retune.store.errors import RetuneError

_UNCHECKED = {"writer.lock", "lock"}
#: Small files are hit as if they had the first size, large ones the second.
_LEAST_BYTES = 20_000
_MOST_BYTES = 400_000
#: Of DuckDB: blocks come after three headers.
_HEADER_BYTES = 3 * 4096
_BLOCK_BYTES = 1 << 18
_WORDS = ("same", "error", "SILENT", "TRACEBACK")


def _trained_store(root: Path) -> FeatureStore:
    """A store with a run of each kind of file."""
    store = learnable_store(root, 20)
    train(store, TrainRequest("joint", method="analytic", bounds=False))
    train(store, TrainRequest("label", method="finetune", epochs=1, bounds=False))
    return store


def _everything(store: FeatureStore) -> list[object]:
    """All that a store and its runs say, as values that can be compared."""
    said = answers(store)
    for (run_id,) in store.sql("SELECT run_id FROM runs ORDER BY 1").fetchall():
        said += _answers_of_run(store, find_run(store, run_id))
    return said


def _answers_of_run(store: FeatureStore, run: Run) -> list[object]:
    """Its images, what its model says of them, and its state."""
    listed = reopen_run(store, run).listed
    saved = load_run_model(store, run)
    _, vectors = read_vectors(store, run.fingerprint)
    scored = predict(saved.model, vectors)
    said: list[object] = [saved.thresholds.tolist(), saved.findings, saved.config]
    said += [scored.score.tobytes(), scored.probability.tobytes()]
    said += [column.to_pylist() for column in listed.table.columns]
    if (run_folder(store, run.run_id) / STATE_FILE).exists():
        state = find_state(store, run.run_id)
        said += [state.contributions, state.prompts.embedding.tobytes()]
        said += [tensor.numpy().tobytes() for tensor in state.tensors.values()]
    return said


def _outcome(root: Path, truth: list[object]) -> tuple[str, bool]:
    """What reading gives, and whether `verify` finds something."""
    try:
        store = FeatureStore(root)
    except RetuneError:
        return "error", True
    try:
        word = "same" if _everything(store) == truth else "SILENT"
    except RetuneError:
        word = "error"
    try:
        return word, bool(store.verify())
    except RetuneError:
        return word, True


def _in_child(root: Path, truth: list[object]) -> tuple[str, bool]:
    child = os.fork()
    if child == 0:
        code = 2 * len(_WORDS)
        try:
            word, seen = _outcome(root, truth)
            code = 2 * _WORDS.index(word) + seen
        except BaseException:  # noqa: BLE001 - that is what is counted
            traceback.print_exc()
            code = 2 * _WORDS.index("TRACEBACK")
        os._exit(code)
    _, status = os.waitpid(child, 0)
    if not os.WIFEXITED(status) or os.WEXITSTATUS(status) >= 2 * len(_WORDS):
        return "CRASH", False
    return _WORDS[os.WEXITSTATUS(status) // 2], bool(os.WEXITSTATUS(status) % 2)


def _is_unused(root: Path, path: Path, offset: int, truth: list[object]) -> bool:
    """Whether nothing asks for the catalog's block that a byte lies in."""
    if path.name != CATALOG_NAME or offset < _HEADER_BYTES:
        return False
    start = offset - (offset - _HEADER_BYTES) % _BLOCK_BYTES
    with path.open("r+b") as file:
        file.seek(start)
        file.write(b"\xa5" * _BLOCK_BYTES)
    return _in_child(root, truth) == ("same", False)


def main() -> int:
    """Flip, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # torch crashes in a fork that lacks its other threads
    drawn = random.Random(arguments.seed)
    counts: collections.Counter[tuple[str, str, bool]] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "s"
        truth = _everything(_trained_store(root))
        files = [p for p in sorted(root.rglob("*")) if p.is_file()]
        files = [path for path in files if path.name not in _UNCHECKED]
        sizes = [path.stat().st_size for path in files]
        weights = [min(max(size, _LEAST_BYTES), _MOST_BYTES) for size in sizes]
        for _ in range(arguments.flips):
            (path,) = drawn.choices(files, weights)
            whole = path.read_bytes()
            content = bytearray(whole)
            offset, bit = drawn.randrange(len(whole)), drawn.randrange(8)
            content[offset] ^= 1 << bit
            path.write_bytes(content)
            word, seen = _in_child(root, truth)
            file_type = path.suffix if path.suffix in (".h5", ".parquet") else path.name
            if (word, seen) == ("same", False) and _is_unused(
                root, path, offset, truth
            ):
                word = "unused"
            elif word.isupper() or not seen:
                print(f"{path.name}: bit {bit} of byte {offset}: {word}, found: {seen}")
            counts[file_type, word, seen] += 1
            path.write_bytes(whole)
    for (file_type, word, seen), count in sorted(counts.items()):
        print(
            f"{file_type:18} {word:10} {'found' if seen else 'NOT FOUND':10} {count:6,}"
        )
    missed = [
        key
        for key in counts
        # A smaller number in commits.json accuses nobody and changes no answer.
        if key[1].isupper()
        or not (key[2] or key[1] == "unused" or key[0] == "commits.json")
    ]
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
