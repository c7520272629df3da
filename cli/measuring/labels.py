"""`retune-cli audit labels`: labels that the pictures contradict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from retune.store.plural import counted

from ..terminal.options import (
    BackboneOption,
    BlankOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    QuietOption,
    StoreOption,
    UncertainOption,
    WhereOption,
    split_names,
)
from ..terminal.printing import (
    print_csv,
    print_json,
    print_line,
    print_table,
    remark,
)
from ..terminal.selection import announce_selection

if TYPE_CHECKING:
    from retune.pipeline.app.measuring.label_audit import LabelAudit

__all__ = ["labels_command"]


def labels_command(
    store: StoreOption = Path("feature-store"),
    k: Annotated[int, typer.Option("-k", min=1, help="Number of labels to show.")] = 20,
    findings: Annotated[
        str | None,
        typer.Option("--findings", help="Only these, separated by commas."),
    ] = None,
    uncertain: UncertainOption = "ignore",
    blank: BlankOption = "negative",
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    descriptions: Annotated[
        str, typer.Option("--descriptions", help="Description set to use.")
    ] = "default",
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    json: JsonOption = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV instead of a table.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Rank labels by how much the images of other patients contradict them.

    The most doubtful labels, of all splits, go to the table label_audits. A label
    that is in doubt is one to look at, not one that is wrong.

    Example: retune-cli audit labels --findings Pneumonia -k 50 --csv
    """
    from retune.pipeline.app.measuring.label_audit import (
        LabelAuditRequest,
        audit_labels,
    )
    from retune.pipeline.learn.runs.selection import Selection
    from retune.store import FeatureStore
    from retune.store.errors import ConfigurationError

    if json and csv:
        raise ConfigurationError("--json and --csv exclude each other", "Give one.")
    feature_store = FeatureStore(store)
    names = split_names(datasets)
    announce_selection(feature_store, names, where, quiet=quiet)
    request = LabelAuditRequest(
        Selection(names, where, None, descriptions, allow_leakage=True),
        split_names(findings),
        cast("Any", uncertain),  # checked where they are used
        cast("Any", blank),
        k,
        backbone,
        fingerprint,
    )
    audit = audit_labels(feature_store, request)
    if audit.n_known:
        remark(
            f"Note: {counted(audit.n_known, 'image')} of validation and test, and "
            "more of "
            "training, are of patients that the backbone was trained on: it may have "
            "learned their labels, right or wrong",
            quiet=quiet,
        )
    if json:
        print_json(
            {
                "audit_id": audit.audit_id,
                "n_labels": audit.n_labels,
                "findings": audit.findings.records(),
                "labels": audit.labels.records(),
            }
        )
    elif csv:
        print_csv(audit.labels.columns, audit.labels.cells())
    else:
        _print(audit, store)


def _print(audit: "LabelAudit", store: Path) -> None:
    print_table(audit.labels.columns, audit.labels.cells())
    print_line()
    print_table(audit.findings.columns, audit.findings.cells())
    print_line()
    print_line(
        f"{counted(audit.n_labels, 'label')} compared; probability: by other patients' "
        "images; suspected: by the rule of confident learning"
    )
    print_line(f"audit {audit.audit_id} in the table label_audits of {store}")
