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
    "k": "-k",
    "without": "--not",
}
#: Parameters whose option is spelled alike, with dashes.
_ALIKE = (
    "accept_anyway", "across_encoders", "adaptor", "address", "age_column",
    "allow_contaminated", "allow_leakage", "allow_read", "allow_write", "backbone",
    "base_url", "batch_size", "blank", "dataset", "datasets", "decode",
    "descriptions", "device", "drop_missing", "dtype", "engine", "epochs", "figure",
    "file", "findings", "fingerprint", "follow_links", "from_copies",
    "ignore_official_splits", "layout", "learn_scale", "learning_rate", "long",
    "markdown", "method", "methods", "min_positives", "moved", "num_gpus", "order",
    "out", "path_column", "patience", "patient_column", "patient_is_image",
    "per_patient", "placement", "pooling",
    "precision", "preset", "pseudonymize", "resume", "retry_failed", "scenario",
    "score", "seed", "seeds", "sex_column", "shots", "split", "split_column",
    "split_seed",
    "store", "stream", "study_column", "tasks", "template", "threshold",
    "timeout", "uncertain",
    "view_column", "visible", "votes", "wait", "where", "workers", "write",
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
