"""Messages of the pipeline in the words of the command line.

The pipeline names a parameter as Python does, in backticks: `split_seed`. Here it
becomes the option that a user of the terminal types: --split-seed.
"""

import re

__all__ = ["PARAMETERS", "in_options"]

#: Parameter -> option, where the name alone does not tell.
_RENAMED = {
    "compiled": "--compile",
    "continued": "--continue",
    "description_set": "--descriptions",
    "options": "--set",
    "settings": "--set",
    "output_dtype": "--dtype",
    "finding_columns": "--findings",
    "bounds": "--bounds",
    "set_name": "--set",
    "mapping": "--map",
    "map_file": "--map",
    "k": "-k",
    "without": "--not",
}
#: Parameters whose option is spelled alike, with dashes.
_ALIKE = (
    "accept_anyway", "across_encoders", "adaptor", "add", "address", "age_column",
    "allow_contaminated", "allow_erased", "allow_leakage", "allow_pickle", "allow_read",
    "allow_write", "anew", "append", "backbone", "backbone_name", "backbone_version",
    "base_url", "batch_size", "birth_date_column", "blank", "by_position", "caution",
    "columns", "coverage", "dataset", "datasets", "date_column", "dates_from_dicom",
    "decode", "descriptions", "device", "device_column", "drop_missing", "dry_run",
    "dtype", "encode_with", "engine", "epochs", "figure", "file", "findings",
    "fingerprint", "follow_links", "from_copies", "hide_paths", "ids",
    "ignore_official_splits", "join", "keep", "labels", "layer", "layout",
    "learn_scale", "learning_rate", "long",
    "markdown", "method", "methods", "min_positives", "moved", "num_gpus",
    "operating_point", "order", "out", "path_column", "path_prefix", "patience",
    "patient_column", "patient_is_image", "per_patient", "placement", "pooling",
    "precision", "preprocessing", "preset", "propose", "pseudonymize", "read_only",
    "resume", "retry_failed", "scenario", "score", "seed", "seeds", "series_column",
    "sex_column", "shots", "site_column", "source", "split", "split_column",
    "split_seed", "store", "stream", "study_column", "subtract", "tasks", "template",
    "texts", "threshold", "time_column", "timeout", "to", "un_forget", "uncertain",
    "vectors", "view_column", "visible", "votes", "wait", "where", "workers", "write",
)  # fmt: skip
PARAMETERS = {name: "--" + name.replace("_", "-") for name in _ALIKE} | _RENAMED


def in_options(text: str) -> str:
    """A message with its parameters spelled as options.

    >>> in_options("Divide patients anew with `split_seed`; `retune-cli status` helps.")
    'Divide patients anew with --split-seed; `retune-cli status` helps.'
    """

    def spelled(match: re.Match[str]) -> str:
        return PARAMETERS.get(match.group(1), match.group(0))

    return re.sub(r"`([a-z_]+)`", spelled, text)
