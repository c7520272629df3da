"""Flip single bits in every file of a store and count what happens; run by hand.

    python tests/benchmarks/flip_table.py --flips 2000 --seed 0

Each flip is tried in a process of its own: reading everything gives the same numbers
(`same`), an error of ours (`error`), other numbers (`SILENT`), another exception
(`TRACEBACK`) or the process ends (`CRASH`); `verify` finds the flip or does not.
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

from damage_samples import answers, whole_store

from retune.store import FeatureStore
from retune.store.errors import RetuneError

_UNCHECKED = {"writer.lock", "lock"}
#: Small files are hit as if they had the first size, large ones the second.
_LEAST_BYTES = 20_000
_MOST_BYTES = 400_000
_WORDS = ("same", "error", "SILENT", "TRACEBACK")


def _outcome(root: Path, truth: list[object]) -> tuple[str, bool]:
    """What reading gives, and whether `verify` finds something."""
    try:
        store = FeatureStore(root)
    except RetuneError:
        return "error", True
    try:
        word = "same" if answers(store) == truth else "SILENT"
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


def main() -> int:
    """Flip, count and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    drawn = random.Random(arguments.seed)
    counts: collections.Counter[tuple[str, str, bool]] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "s"
        truth = answers(whole_store(root))
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
            counts[file_type, word, seen] += 1
            if word.isupper() or not seen:
                print(f"{path.name}: bit {bit} of byte {offset}: {word}, found: {seen}")
            path.write_bytes(whole)
    for (file_type, word, seen), count in sorted(counts.items()):
        print(
            f"{file_type:18} {word:10} {'found' if seen else 'NOT FOUND':10} {count:6,}"
        )
    missed = [
        key
        for key in counts
        # A smaller number in commits.json accuses nobody and changes no answer.
        if key[1].isupper() or not (key[2] or key[0] == "commits.json")
    ]
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
