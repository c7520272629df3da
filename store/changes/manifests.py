"""Checksums of the files of a folder, in a file beside them."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ..atomic_files import TEMPORARY_PREFIX, write_atomically

__all__ = ["MANIFEST_NAME", "check_manifest", "file_digest", "write_manifest"]

MANIFEST_NAME = "manifest.json"
_PART_BYTES = 1 << 20


def write_manifest(folder: Path) -> None:
    """Write `manifest.json`: name -> size and digest of each file of a folder.

    Write it last: it then stands for a folder that is whole. Folders inside the folder
    and temporary files are left out.

    Raises:
        OSError: A file cannot be read.
        StoreWriteError: The disk refused.
    """
    files = {
        path.name: {"bytes": path.stat().st_size, "blake2b": file_digest(path)}
        for path in _files(folder)
    }
    described = {"files": files, "digest": _digest_of(files)}
    write_atomically(
        folder / MANIFEST_NAME, json.dumps(described, indent=1, sort_keys=True).encode()
    )


def check_manifest(folder: Path) -> list[str]:
    """Compare the files of a folder with its manifest; a sentence per difference.

    Returns:
        Nothing if every file is as it was written, or if the folder has no manifest.
    """
    path = folder / MANIFEST_NAME
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        files: dict[str, dict[str, Any]] = described["files"]
        if described["digest"] != _digest_of(files):
            return [f"{path} does not match its own checksum"]
        wanted = {
            name: (int(entry["bytes"]), str(entry["blake2b"]))
            for name, entry in files.items()
        }
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{path} cannot be read: {error}"]
    problems = [
        f"{folder / name}: it is not in the manifest"
        for name in sorted({path.name for path in _files(folder)} - set(wanted))
    ]
    for name, (n_bytes, digest) in sorted(wanted.items()):
        problem = _problem(folder / name, n_bytes, digest)
        problems += [f"{folder / name}: {problem}"] if problem else []
    return problems


def file_digest(path: Path) -> str:
    """BLAKE2b, 16 bytes in hex, of a file's content.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            digest.update(part)
    return digest.hexdigest()


def _problem(path: Path, n_bytes: int, digest: str) -> str:
    try:
        if path.stat().st_size != n_bytes:
            return f"it has {path.stat().st_size:,} bytes, not {n_bytes:,}"
        if file_digest(path) != digest:
            return "it does not match its checksum"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return ""


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.name != MANIFEST_NAME
        and not path.name.startswith(TEMPORARY_PREFIX)
    )


def _digest_of(files: dict[str, dict[str, Any]]) -> str:
    text = json.dumps(files, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
