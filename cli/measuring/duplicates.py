"""`retune-cli audit duplicates`: the same picture in several places."""

from pathlib import Path
from typing import Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import (
    BackboneOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    QuietOption,
    StoreOption,
    WhereOption,
    split_names,
)
from ..terminal.printing import print_csv, print_json, print_line, print_table
from ..terminal.selection import announce_selection

__all__ = ["duplicates_command"]


def duplicates_command(
    store: StoreOption = Path("feature-store"),
    k: Annotated[int, typer.Option("-k", min=1, help="Number of pairs to show.")] = 20,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Least cosine of whitened vectors [what about one in a million pairs "
            "of different patients exceeds].",
        ),
    ] = None,
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    json: JsonOption = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV instead of a table.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Find images that may be the same picture: turned, cropped, encoded anew.

    Pairs are compared across all splits and datasets, by their vectors. They go to the
    table duplicate_audits. Films of one patient are often alike without being the same.

    Example: retune-cli audit duplicates -k 50 --json
    """
    from retune.pipeline.app.measuring.duplicate_audit import (
        DuplicateAuditRequest,
        audit_duplicates,
    )
    from retune.pipeline.learn.runs.selection import Selection
    from retune.store import FeatureStore
    from retune.store.errors import ConfigurationError

    if json and csv:
        raise ConfigurationError("--json and --csv exclude each other", "Give one.")
    feature_store = FeatureStore(store)
    names = split_names(datasets)
    announce_selection(feature_store, names, where, quiet=quiet)
    selection = Selection(names, where, allow_leakage=True)
    request = DuplicateAuditRequest(selection, threshold, k, backbone, fingerprint)
    audit = audit_duplicates(feature_store, request)
    counts = {
        "audit_id": audit.audit_id,
        "limit": audit.limit,
        "n_images": audit.n_images,
        "n_pairs": audit.n_pairs,
        "n_of_different_patients": audit.n_apart,
        "n_across_splits": audit.n_across_splits,
    }
    if json:
        print_json(counts | {"pairs": audit.pairs.records()})
        return
    if csv:
        print_csv(audit.pairs.columns, audit.pairs.cells())
        return
    print_table(audit.pairs.columns, audit.pairs.cells())
    print_line()
    print_line(
        f"{counted(audit.n_pairs, 'pair')} among {counted(audit.n_images, 'image')} "
        "reach a cosine of "
        f"{audit.limit:.3f}; {audit.n_apart:,} of different patients, "
        f"{audit.n_across_splits:,} across splits"
    )
    print_line(f"audit {audit.audit_id} in the table duplicate_audits of {store}")
