"""`retune-cli sql` and `status`: looking at a store."""

import io
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import JsonOption, StoreOption
from .terminal.printing import print_json, print_line, print_table

__all__ = ["sql_command", "status_command"]


def sql_command(
    query: Annotated[str, typer.Argument(help="One SQL statement; - reads stdin.")],
    store: StoreOption = Path("feature-store"),
    json: Annotated[
        bool, typer.Option("--json", help="Print a list of objects.")
    ] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Let the statement change the catalog.")
    ] = False,
    rows: Annotated[
        int, typer.Option("--rows", min=1, help="Rows of the table to show.")
    ] = 50,
    allow_read: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="A file or folder that it may read; repeatable."
        ),
    ] = None,
    allow_write: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="A file or folder that it may write; repeatable."
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
    from retune.store import FeatureStore

    text = sys.stdin.read() if query == "-" else query
    relation = FeatureStore(store).sql(
        text, write=write, allow_read=allow_read or (), allow_write=allow_write or ()
    )
    if json:
        print_json(relation.to_arrow_table().to_pylist())
        return
    shown = io.StringIO()
    with redirect_stdout(shown):
        relation.show(max_rows=rows, max_width=200)
    for line in shown.getvalue().splitlines():
        print_line(visible(line))


def status_command(
    store: StoreOption = Path("feature-store"),
    json: JsonOption = False,
) -> None:
    """Say what is in a store: datasets, encoders, failures, runs, leakage.

    Example: retune-cli status
    """
    from retune.pipeline.datasets.leakage import find_leaks
    from retune.store import FeatureStore

    feature_store = FeatureStore(store)
    leaks = [vars(leak) for leak in find_leaks(feature_store)]
    parts = {name: feature_store.sql(query) for name, query in _STATUS_QUERIES.items()}
    if json:
        print_json(
            {name: part.to_arrow_table().to_pylist() for name, part in parts.items()}
            | {"leakage": leaks}
        )
        return
    print_line(visible(f"feature store {feature_store.path}"))
    for name, part in parts.items():
        rows = part.fetchall()
        print_line()
        print_line(name if rows else f"{name}: none")
        if rows:
            print_table(part.columns, _visible_rows(rows))
    print_line()
    if not leaks:
        print_line("leakage: none; no patient and no picture is in two splits")
        return
    print_line("leakage: in more than one split, so train refuses them together")
    print_table(
        ("what", "datasets", "shared", "images", "such as"),
        _visible_rows(
            (leak["kind"], ", ".join(leak["datasets"]), leak["n_shared"],
             leak["n_images"], leak["examples"][0])
            for leak in leaks
        ),
    )  # fmt: skip


def visible(text: str) -> str:
    r"""A text in which a terminal finds no commands.

    >>> visible("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def _visible_rows(rows: Iterable[Sequence[object]]) -> list[list[object]]:
    return [
        [visible(value) if isinstance(value, str) else value for value in row]
        for row in rows
    ]


_STATUS_QUERIES = {
    "datasets": """SELECT dataset, layout, count(*) AS images,
            count(DISTINCT patient_id) AS patients,
            count(*) FILTER (split = 'train') AS train,
            count(*) FILTER (split = 'validation') AS validation,
            count(*) FILTER (split = 'test') AS test, any_value(root) AS root
        FROM images JOIN datasets USING (dataset) GROUP BY ALL ORDER BY dataset""",
    "encoders": """SELECT fingerprint, backbone, precision, dim,
            count(item_id) FILTER (modality = 'image') AS image_vectors,
            count(item_id) FILTER (modality = 'text') AS text_vectors
        FROM encoders LEFT JOIN features USING (fingerprint)
        GROUP BY ALL ORDER BY any_value(added_at)""",
    "labels": """SELECT finding, count(*) FILTER (state = 'positive') AS positive,
            count(*) FILTER (state = 'negative') AS negative,
            count(*) FILTER (state = 'uncertain') AS uncertain,
            count(*) FILTER (state = 'absent') AS not_mentioned
        FROM labels GROUP BY finding ORDER BY positive DESC, finding""",
    "images that could not be used": """SELECT stage, error,
            count(DISTINCT image_id) AS images
        FROM failures GROUP BY ALL ORDER BY images DESC, error LIMIT 10""",
    "runs": """SELECT run_id, scenario, method, seed, round(seconds, 2) AS seconds,
            (SELECT round(value, 4) FROM metrics WHERE metrics.run_id = runs.run_id
             AND metric = 'final_auroc' AND finding IS NULL LIMIT 1) AS final_auroc
        FROM runs ORDER BY started_at DESC LIMIT 10""",
}
