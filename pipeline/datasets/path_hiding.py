"""Paths of image files leave a plan; digests of them stay (`hide_paths`)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import ConfigurationError
from retune.store.hidden_paths import PathKeys, new_path_keys, read_path_keys

from .ingest import IngestPlan

__all__ = ["HiddenPlan", "hide_paths"]

#: What may be a path in running text.
_WORD = re.compile(r"[^\s'\",;:()]+")


@dataclass(frozen=True)
class HiddenPlan:
    """A plan that names no path, and the file that names them.

    Attributes:
        plan: What is stored.
        file: Where the paths stand.
        keys: What to write there, before the plan is stored.
    """

    plan: IngestPlan
    file: Path
    keys: PathKeys


def hide_paths(plan: IngestPlan, file: Path) -> HiddenPlan:
    """Put digests in the place of a plan's paths.

    Image ids are made of the digests, too, unless they are pseudonyms. The same file
    gives the same digests again.

    Args:
        plan: With paths.
        file: File of hidden paths; made if there is none.

    Raises:
        ConfigurationError: The file is another kind of file, or lies in the dataset's
            own folder, or belongs to another folder.
    """
    file = file.absolute()
    known = read_path_keys(file) if file.exists() else new_path_keys(plan.root)
    if known.folder != str(plan.root):
        raise ConfigurationError(
            f"{file} holds the paths of {known.folder}, not of {plan.root}",
            "Use a file for each dataset.",
        )
    if not file.parent.is_dir():
        raise ConfigurationError(
            f"{file} lies in no folder that exists", "Choose another place."
        )
    paths = plan.images.column("path").to_pylist()
    digests = [known.digest(path) for path in paths]
    named = dict(zip(digests, paths, strict=True))
    keys = replace(known, paths={**known.paths, **named})
    hidden = pa.array(digests, pa.string())
    images = _with(plan.images, "path", hidden)
    if plan.key_check is None:
        ids = pc.binary_join_element_wise(plan.dataset, hidden, "/")
        images = _with(images, "image_id", ids)
    digest_of = {path: digest for digest, path in named.items()}
    warnings = tuple(_without_paths(text, digest_of) for text in plan.warnings)
    return HiddenPlan(
        replace(plan, root=file, images=images, warnings=warnings), file, keys
    )


def _with(images: pa.Table, name: str, values: pa.Array) -> pa.Table:
    position = images.column_names.index(name)
    return images.set_column(position, images.schema.field(name), values)


def _without_paths(text: str, digest_of: Mapping[str, str]) -> str:
    """A warning with digests in the place of paths.

    >>> _without_paths("no file: 'a/b.png', c.png", {"a/b.png": "17", "c.png": "18"})
    "no file: '17', 18"
    """
    return _WORD.sub(lambda word: digest_of.get(word[0], word[0]), text)
