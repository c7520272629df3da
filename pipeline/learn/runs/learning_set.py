"""Images, labels, descriptions and where they come from: the one way into learning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from retune.store import (
    EncoderRow,
    EncoderSpec,
    FeatureStore,
    LabelledImages,
    choose_encoder,
    read_descriptions,
    read_labelled_images,
)
from retune.store.opening.kept_catalogs import opening_once
from retune.store.plural import counted
from retune.store.queries.tables import table_names

from ...datasets.contamination import read_trained_on
from ...datasets.leakage import check_leakage, read_populations
from ...datasets.splits import resplit
from ...findings import canonical_name
from ..problem.features import SET_ASIDE, SPLITS, Features, Prompts
from .image_list import ImageList
from .selection import (
    Provenance,
    Selection,
    SplitImages,
    contributions_of,
    images_digest,
)

__all__ = [
    "ImageSet",
    "LearningSet",
    "load_images",
    "load_learning_set",
    "named_findings",
    "place_images",
]

Names = npt.NDArray[np.object_]
#: Images whose names are made into objects together.
_PART_ROWS = 65_536


@dataclass(frozen=True)
class ImageSet:
    """Images of a store in splits, and where they come from.

    Attributes:
        encoder: Whose vectors these are.
        features: The images.
        images: The catalog's columns of the same images, for subgroups.
        listed: The same images by name.
        provenance: What was asked for, and what it turned out to be.
    """

    encoder: EncoderRow
    features: Features
    images: pa.Table
    listed: ImageList
    provenance: Provenance

    def __repr__(self) -> str:
        counts = ", ".join(
            f"{one.n_images} {name}" for name, one in self.provenance.splits.items()
        )
        return (
            f"{type(self).__name__}({self.encoder.backbone}, D={self.encoder.dim}: "
            f"{counts}; {counted(len(self.features.findings), 'finding')})"
        )


@dataclass(frozen=True, repr=False)
class LearningSet(ImageSet):
    """All that a run starts from.

    Attributes:
        prompts: The descriptions of all findings.
    """

    prompts: Prompts


@opening_once
def load_images(
    store: FeatureStore,
    selection: Selection,
    *,
    backbone: str | None = None,
    fingerprint: str | None = None,
    stream: bool = False,
) -> ImageSet:
    """Read the images of one encoder that a selection has.

    Images in validation or test whose patients the backbone was trained on are set
    aside, unless the selection allows them.

    Args:
        store: Where to read.
        selection: Which images.
        backbone: Name given at `embed`; None if it does not matter.
        fingerprint: The encoder's digest or its beginning; None if it does not matter.
        stream: Leave the vectors in a file; see `read_labelled_images`.

    Raises:
        ConfigurationError: The encoder or a dataset is not there, or no image fits.
        LeakageError: Splits share patients or pictures and the selection does not allow
            it; with a `split_seed` patients are divided anew and cannot be shared.
        QueryError: `where` is no condition.
    """
    encoder = choose_encoder(store, backbone=backbone, fingerprint=fingerprint)
    if selection.split_seed is None and not selection.allow_leakage:
        check_leakage(store, datasets=selection.datasets, where=selection.where)
    read = read_labelled_images(
        store,
        encoder.fingerprint,
        datasets=selection.datasets,
        where=selection.where,
        in_file=stream,
    )
    split = _column(read.images, "split")
    if selection.split_seed is not None:
        # By the id alone, as ingest does it: two datasets may share patients.
        patients = _column(read.images, "patient_id")
        split = np.asarray(resplit(patients, seed=selection.split_seed), dtype=object)
    return place_images(store, encoder, read, split, selection)


@opening_once
def load_learning_set(
    store: FeatureStore,
    selection: Selection,
    *,
    backbone: str | None = None,
    fingerprint: str | None = None,
    stream: bool = False,
) -> LearningSet:
    """Read images and descriptions of one encoder; see `load_images`.

    An encoder that knows images only has no descriptions.

    Raises:
        ConfigurationError: The encoder, a dataset or the set is not there.
        LeakageError: Splits share patients or pictures.
        QueryError: `where` is no condition.
    """
    images = load_images(
        store, selection, backbone=backbone, fingerprint=fingerprint, stream=stream
    )
    if images.encoder.image_only:
        return LearningSet(**vars(images), prompts=Prompts.none(images.encoder.dim))
    findings = images.features.findings
    read = read_descriptions(
        store, images.encoder.fingerprint, selection.description_set, findings
    )
    number_of = {name: index for index, name in enumerate(findings)}
    prompts = Prompts(
        read.embedding.astype(np.float32),
        np.array([number_of[name] for name in read.finding], dtype=np.int64),
        read.positive,
    )
    return LearningSet(**vars(images), prompts=prompts)


@opening_once
def place_images(
    store: FeatureStore,
    encoder: EncoderRow,
    read: LabelledImages,
    split: Names,
    selection: Selection,
) -> ImageSet:
    """Put images that were read into splits, and note where they come from.

    Args:
        store: Where they were read.
        encoder: Whose vectors they have.
        read: N images.
        split: Shape (N,), names in `SPLITS`.
        selection: What was asked for.
    """
    images = read.images.select(_KEPT)
    populations = read_populations(store)
    dataset, patient_id = (_column(images, name) for name in ("dataset", "patient_id"))
    population = _renamed(dataset, populations)
    known, unknown_because = _contaminated(store, encoder, images, populations)
    known &= split != "train"
    if not selection.allow_contaminated:
        split = np.where(known, SET_ASIDE, split).astype(object)
    # Patient 17 of one hospital is not patient 17 of another.
    owner = dataset if selection.allow_leakage else population
    features = Features(
        _column(images, "image_id"),
        _patients(owner, patient_id),
        split,
        read.embedding,
        read.findings,
        read.states,
    )
    datasets = tuple(sorted(set(dataset.tolist())))
    provenance = Provenance(
        replace(selection, datasets=datasets),
        _label_versions(store, datasets),
        {
            name: SplitImages(len(rows), images_digest(features.image_id[rows]))
            for name in SPLITS
            for rows in [features.rows(name)]
        },
        contributions_of(images["dataset"], images["content_digest"]),
        int(known.sum()),
        unknown_because,
    )
    listed = ImageList.of(
        images["image_id"],
        population,
        images["patient_id"],
        images["content_digest"],
        split,
    )
    return ImageSet(encoder, features, images, listed, provenance)


#: Columns that runs need: of millions of images, each counts.
_KEPT = (
    "image_id", "dataset", "patient_id", "view", "sex", "age", "split",
    "content_digest",
)  # fmt: skip
#: Columns whose every value is another one.
_UNIQUE = ("image_id", "content_digest")


def _column(images: pa.Table, name: str) -> Names:
    """A column as objects; equal names are the same object, of which millions are."""
    column = images[name]
    if name in _UNIQUE:
        return np.asarray(column.to_pylist(), dtype=object)
    return _objects(column.combine_chunks().dictionary_encode("encode"))


def _objects(encoded: pa.DictionaryArray) -> Names:
    names = np.array([*encoded.dictionary.to_pylist(), None], dtype=object)
    texts: Names = names[encoded.indices.to_numpy()]
    return texts


def _renamed(names: Names, new: Mapping[str, str]) -> Names:
    """Each name's new one.

    >>> _renamed(np.array(["a", "b", "a"], object), {"a": "x", "b": "y"}).tolist()
    ['x', 'y', 'x']
    """
    encoded = pa.array(names, pa.string()).dictionary_encode()
    renamed = pa.array([new[name] for name in encoded.dictionary.to_pylist()])
    return _objects(pa.DictionaryArray.from_arrays(encoded.indices, renamed))


def _patients(owner: Names, patient_id: Names) -> Names:
    """Ids that are unique across owners, each one object however often it stands.

    >>> _patients(np.array(["a", "b"], object), np.array(["7", "7"], object)).tolist()
    ['a/7', 'b/7']
    """
    parts = (pa.array(names, pa.string()) for names in (owner, patient_id))
    return _objects(pc.binary_join_element_wise(*parts, "/").dictionary_encode())


def _contaminated(
    store: FeatureStore,
    encoder: EncoderRow,
    images: pa.Table,
    populations: Mapping[str, str],
) -> tuple[npt.NDArray[np.bool_], str]:
    """Which images the backbone knows, and why that cannot be told in full."""
    trained_on = read_trained_on(store, encoder.fingerprint)
    parts = EncoderSpec.from_json(encoder.spec).parts if encoder.spec else ()
    silent = not trained_on or not all(read_trained_on(store, one) for one in parts)
    unsaid = f"backbone {encoder.backbone} does not say whom it knows" if silent else ""
    if not trained_on:
        return np.zeros(len(images), dtype=bool), unsaid
    known = [
        trained_on.knows(
            [populations[name] for name in part["dataset"].to_pylist()],
            part["patient_id"].to_pylist(),
            part["content_digest"].to_pylist(),
        )
        for part in images.to_batches(max_chunksize=_PART_ROWS)
    ]
    hidden = _pseudonymised(store) & set(images["dataset"].unique().to_pylist())
    because = f"ids of {', '.join(sorted(hidden))} are pseudonyms" if hidden else ""
    return np.concatenate([np.empty(0, dtype=bool), *known]), unsaid or because


def _pseudonymised(store: FeatureStore) -> set[str]:
    if "pseudonym_keys" not in table_names(store):
        return set()
    rows = store.rows("SELECT dataset FROM pseudonym_keys")
    return {dataset for (dataset,) in rows}


def _label_versions(store: FeatureStore, datasets: Sequence[str]) -> dict[str, int]:
    if "label_versions" not in table_names(store):
        return {}
    rows = store.rows(
        "SELECT dataset, max(version) FROM label_versions GROUP BY dataset"
    )
    return {dataset: int(version) for dataset, version in rows if dataset in datasets}


def named_findings(
    names: Sequence[str] | None, known: Sequence[str]
) -> tuple[str, ...] | None:
    """Users' spellings of findings as the store spells them.

    Raises:
        ConfigurationError: One is unknown; close names are suggested.
    """
    if names is None:
        return None
    return tuple(canonical_name(name, known) for name in names)
