"""`retune-cli sql` and `status`: looking at a store."""

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from retune.store.plural import counted

from .terminal.options import JsonOption, StoreOption
from .terminal.printing import print_csv, print_json, print_line, print_table

__all__ = ["sql_command", "status_command"]


def sql_command(
    query: Annotated[str, typer.Argument(help="One SQL statement; - reads stdin.")],
    store: StoreOption = Path("feature-store"),
    json: Annotated[
        bool, typer.Option("--json", help="Print a list of objects.")
    ] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print all rows as CSV.")
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Let the statement change the catalog.")
    ] = False,
    rows: Annotated[
        int, typer.Option("--rows", min=1, help="Number of rows to show.")
    ] = 50,
    allow_read: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A file or folder that the statement may read; repeatable.",
        ),
    ] = None,
    allow_write: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="A file or folder that the statement may write; repeatable.",
        ),
    ] = None,
) -> None:
    """Query the store in SQL (DuckDB).

    Tables: datasets images labels descriptions encoders shards features failures runs
    metrics predictions. Views: image_features and text_features (with the column
    embedding FLOAT[D]), label_matrix (a column per finding).

    A query reaches the store and nothing else: no other file or database, no network,
    no environment. --allow-read and --allow-write open single files or folders.

    Example: retune-cli sql "SELECT view, count(*) FROM images GROUP BY view"

    Example: retune-cli sql "COPY (FROM metrics) TO 'metrics.csv'"
    --allow-write metrics.csv
    """
    from retune.pipeline.app.queries.sql import query as run_query
    from retune.store import FeatureStore

    if json and as_csv:
        raise typer.BadParameter("give one of --json and --csv")
    text = sys.stdin.read() if query == "-" else query
    relation = run_query(
        FeatureStore(store),
        text,
        write=write,
        allow_read=allow_read or (),
        allow_write=allow_write or (),
    )
    if json:
        print_json(relation.to_arrow_table().to_pylist())
        return
    if as_csv:
        print_csv(relation.columns, relation.fetchall())
        return
    shown = io.StringIO()
    with redirect_stdout(shown):
        relation.show(max_rows=rows, max_width=200)
    print_line(shown.getvalue().rstrip("\n"))


def status_command(
    store: StoreOption = Path("feature-store"),
    json: JsonOption = False,
) -> None:
    """Say what is in a store: datasets, encoders, failures, runs, leakage.

    Also what is not yet encoded: images of each dataset without a vector of an encoder.

    Example: retune-cli status
    """
    from retune.pipeline.app.queries.status import store_status
    from retune.store import FeatureStore

    status = store_status(FeatureStore(store))
    if json:
        print_json(status.as_json())
        return
    print_line(f"feature store {status.path}")
    for name, part in status.parts.items():
        heading = f"{name}: the last {len(part)} of {status.n_runs:,}"
        print_line()
        if not part:
            print_line(f"{name}: none")
            continue
        print_line(heading if name == "runs" else name)
        print_table(part.columns, part.cells())
    print_line()
    for one in status.contaminated:
        print_line(
            f"{counted(one.images, 'image')} of {one.dataset} are of patients that "
            f"{one.backbone} was trained on; {one.held:,} of them in validation and "
            "test count in no metric unless --allow-contaminated"
        )
    if not status.leaks:
        print_line("leakage: none; no patient and no picture is in two splits")
        return
    print_line("leakage: in more than one split, so train refuses them together")
    print_table(
        ("what", "datasets", "shared", "images", "such as"),
        [
            (leak.kind, ", ".join(leak.datasets), leak.n_shared, leak.n_images,
             leak.examples[0])
            for leak in status.leaks
        ],
    )  # fmt: skip
