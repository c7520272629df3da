"""Croissant: what a data set holds, in JSON that machines read.

The format is that of https://docs.mlcommons.org/croissant/docs/croissant-spec.html.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

__all__ = ["describe"]

_CONTEXT: Final = {
    "@language": "en", "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs", "column": "cr:column", "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "extract": "cr:extract", "field": "cr:field",
    "fileObject": "cr:fileObject", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isArray": "cr:isArray", "arrayShape": "cr:arrayShape",
    "recordSet": "cr:recordSet", "sc": "https://schema.org/", "source": "cr:source",
}  # fmt: skip
_MIME: Final = {
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.file", ".csv": "text/csv",
    ".npy": "application/x-npy", ".npz": "application/x-npz",
    ".h5": "application/x-hdf5",
}  # fmt: skip


def describe(
    name: str, schema: pa.Schema, files: Sequence[Path], notes: Mapping[str, str]
) -> dict[str, Any]:
    """The description of files that were written.

    Args:
        name: Name of the data set.
        schema: Columns of its rows, with the vectors.
        files: Files and folders that hold them; each file's SHA-256 is in the text.
        notes: What else is known: the encoder.
    """
    first = files[0].name
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": "Vectors of chest X-rays, written by retune-cli export. "
        + "; ".join(f"{key}: {value}" for key, value in notes.items()),
        "distribution": [_distribution(path) for path in files],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "images",
                "name": "images",
                "field": [_field(one, first) for one in schema],
            }
        ],
    }


def _distribution(path: Path) -> dict[str, Any]:
    if path.is_dir():
        return {
            "@type": "cr:FileSet",
            "@id": path.name,
            "name": path.name,
            "encodingFormat": "application/vnd.apache.arrow.stream",
            "includes": f"{path.name}/**",
        }
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": _MIME.get(path.suffix, "application/octet-stream"),
        "sha256": digest,
    }


def _field(column: pa.Field, file: str) -> dict[str, Any]:
    described: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"images/{column.name}",
        "name": column.name,
        "source": {"fileObject": {"@id": file}, "extract": {"column": column.name}},
    }
    value_type = column.type
    if pa.types.is_fixed_size_list(value_type):
        described |= {"isArray": True, "arrayShape": str(value_type.list_size)}
        value_type = value_type.value_type
    if pa.types.is_floating(value_type):
        return described | {"dataType": "sc:Float"}
    return described | {
        "dataType": "sc:Text" if pa.types.is_string(value_type) else "sc:Integer"
    }
