"""Images of a store as a table: what is known of each, its labels and its vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from retune.store import FeatureStore, choose_encoder
from retune.store.errors import ConfigurationError
from retune.store.queries.labelled import checked_condition, count_images

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

__all__ = [
    "ImageQuery",
    "check_split",
    "image_table",
    "names",
    "to_pandas",
    "to_polars",
]

_SPLITS = ("train", "validation", "test")
_COLUMNS = "image_id, dataset, path, patient_id, study_id, view, sex, age, split"


@dataclass(frozen=True)
class ImageQuery:
    """Which images, and what of them.

    Attributes:
        split: ``train``, ``validation`` or ``test``; None for all.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.
        labels: A column per finding: 1, 0, −1 (uncertain), nothing where unknown.
        vectors: The column `embedding`; only images that have one are left.
        backbone: Whose vectors; None if the store has those of one encoder.
        fingerprint: Fingerprint of the encoder, or its beginning.
    """

    split: str | None = None
    datasets: tuple[str, ...] | None = None
    where: str | None = None
    labels: bool = False
    vectors: bool = False
    backbone: str | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        check_split(self.split)


def check_split(split: str | None) -> None:
    """Refuse a split that no image can be in.

    Raises:
        ConfigurationError: It is none of the three.
    """
    if split is not None and split not in _SPLITS:
        raise ConfigurationError(
            f"unknown `split` {split!r}", f"Use one of {', '.join(_SPLITS)}, or None."
        )


def image_table(store: FeatureStore, query: ImageQuery) -> pa.Table:
    """Read images, ordered by image_id.

    Returns:
        The catalog's columns; a column per finding, int8, with `labels`; `embedding`,
        a fixed-size list of D float32, with `vectors`. No rows if no image fits.

    Raises:
        ConfigurationError: A dataset or encoder is unknown, or several encoders fit.
        QueryError: `where` is no condition over `images`.
    """
    count_images(store, datasets=query.datasets, where=query.where)  # checks both
    with store.catalog.read() as connection:
        condition = checked_condition(connection, query.where)
    columns, joins = ["images.*"], ""
    if query.labels:
        columns.append("label_matrix.* EXCLUDE (image_id)")
        joins += " LEFT JOIN label_matrix USING (image_id)"
    parameters: dict[str, object] = {
        "datasets": query.datasets and list(query.datasets),
        "split": query.split,
    }
    if query.vectors:
        encoder = choose_encoder(
            store, backbone=query.backbone, fingerprint=query.fingerprint
        )
        parameters["fingerprint"] = encoder.fingerprint
        columns.append("vectors.embedding")
        joins += f""" JOIN (SELECT image_id, embedding
            FROM image_features_{encoder.dim} WHERE fingerprint = $fingerprint)
            AS vectors USING (image_id)"""
    # The outer query gives a finding that is spelled like a column another name.
    return store.sql(
        f"""SELECT * FROM (SELECT {", ".join(columns)}
            FROM (SELECT {_COLUMNS} FROM (FROM images WHERE {condition})
                WHERE ($datasets::VARCHAR[] IS NULL
                    OR list_contains($datasets::VARCHAR[], dataset))
                AND ($split::VARCHAR IS NULL OR split = $split)) AS images{joins})
        ORDER BY image_id""",
        parameters,
    ).to_arrow_table()


def to_pandas(table: pa.Table) -> "pd.DataFrame":
    """A pandas DataFrame; vectors become one array per row.

    Raises:
        ConfigurationError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigurationError(
            f"a data frame needs pandas: {error}",
            "pip install pandas, or use `arrow` instead of `frame`.",
        ) from error
    frame: pd.DataFrame = table.to_pandas()
    return frame


def to_polars(table: pa.Table) -> "pl.DataFrame":
    """A polars DataFrame.

    Raises:
        ConfigurationError: polars is not installed.
    """
    try:
        import polars as pl
    except ImportError as error:
        raise ConfigurationError(
            "a polars frame needs the package polars",
            "pip install 'retune-cli[polars]'",
        ) from error
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def names(given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    """One name or several as a tuple.

    >>> names("nih"), names(["nih", "brax"]), names(None)
    (('nih',), ('nih', 'brax'), None)
    """
    return (
        None if given is None else (given,) if isinstance(given, str) else tuple(given)
    )
