"""`make bench`: each figure as a ratio against a peer or a limit in the same run.

Machines are shared and noisy, so every pair is timed in turns and the median ratio is
given. Absolute times are only of this machine and moment.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from retune.pipeline.platform.memory import share_one_heap

#: Samples of the tests.
sys.path.append(str(Path(__file__).resolve().parents[1]))
share_one_heap()  # as `embed` does, before the imports below start threads

# ruff: noqa: E402
from avalanche_benchmark import avalanche_rows
from busy_benchmark import busy_rows
from decode_benchmark import decode_rows
from encode_benchmark import encode_rows
from exchange_benchmark import exchange_rows
from forget_benchmark import forget_rows
from gallery_benchmark import gallery_rows
from ingest_benchmark import ingest_rows
from learn_benchmark import curve_rows, learn_rows
from measuring import Row, print_rows
from peer_benchmark import peer_rows
from predict_benchmark import predict_rows
from query_benchmark import query_rows
from read_benchmark import read_rows
from scale_benchmark import scale_rows
from search_benchmark import search_rows
from sink_benchmark import overlap_rows, publish_rows


def main() -> None:
    """Run all benchmarks and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000, help="rows of the store")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=1_000_000, help="of --only scale")
    kinds = [
        "ingest", "read", "query", "search", "gallery", "encode", "decode", "exchange",
        "sink", "peer",
        "predict", "learn", "busy", "curve", "forget", "scale",
    ]  # fmt: skip
    parser.add_argument("--only", choices=kinds)
    arguments = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if arguments.only in (None, "ingest"):
            rows += ingest_rows(root)
        if arguments.only in (None, "read", "query"):
            rows += read_rows(root, arguments.rows, arguments.repeats)
            rows += query_rows(root, arguments.repeats)
        if arguments.only in (None, "forget"):
            rows += forget_rows(root)
        if arguments.only in (None, "exchange"):
            rows += exchange_rows(root)
        if arguments.only in (None, "search"):
            rows += search_rows(root, arguments.repeats)
        if arguments.only in (None, "gallery"):
            rows += gallery_rows(root)
        if arguments.only in (None, "encode", "decode"):
            rows += decode_rows(root, arguments.repeats)
        if arguments.only in (None, "encode"):
            rows += encode_rows(root, arguments.repeats)
        if arguments.only in (None, "encode", "sink"):
            rows += publish_rows(root)
            rows += overlap_rows(root, max(3, arguments.repeats // 2))
        if arguments.only in (None, "peer"):
            rows += peer_rows(root, max(3, arguments.repeats // 2))
        if arguments.only in (None, "predict"):
            rows += predict_rows(root, arguments.repeats)
        if arguments.only in (None, "learn"):
            rows += learn_rows(root, arguments.repeats)
            rows += avalanche_rows()
        if arguments.only in (None, "learn", "busy"):
            rows += busy_rows(arguments.repeats)
        if arguments.only in (None, "scale"):
            rows += scale_rows(root, arguments.images)
        if arguments.only in (None, "curve"):
            rows += curve_rows()
    print_rows(rows)
    missed = [row.name for row in rows if row.goal is not None and row.ratio < row.goal]
    if missed:
        sys.stderr.write(f"below its goal: {', '.join(missed)}\n")


if __name__ == "__main__":
    main()
