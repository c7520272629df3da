"""A backbone's folder: which of its files are read, and as what.

A library that is handed a folder reads what it likes from it. So it is handed another
one, made for the occasion, with the configurations that were checked and links to the
few files that hold weights and words.
"""

import json
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from retune.store.errors import BackboneError
from retune.store.plural import counted

from .configuration import check_config, least_parameters, read_json
from .text_tower import (
    TOKENIZER_FILES,
    checked_tokenizer,
    checked_tower,
    known_tower,
    least_tower_parameters,
)

__all__ = [
    "folder_files",
    "own_file",
    "pickled_refused",
    "read_model_config",
    "tower_overrides",
    "vetted_folder",
]

_CONFIG: Final = "open_clip_config.json"
_SAFE: Final = "*.safetensors"
_PICKLED: Final = ("*.bin", "*.pth")


def read_model_config(folder: Path) -> dict[str, Any]:
    """The checked `open_clip_config.json` of a local folder.

    Raises:
        BackboneError: There is no such folder or file, or `check_config` refuses it.
    """
    path = folder / _CONFIG
    if not folder.is_dir():
        raise BackboneError(f"no folder {folder}", "Check the path after local-dir:.")
    if not path.is_file():
        raise BackboneError(
            f"{folder} has no open_clip_config.json",
            "A local backbone is a folder as open_clip publishes it: "
            "open_clip_config.json, weights, and tokenizer files.",
        )
    config = read_json(own_file(folder, path))
    check_config(config, str(path))
    return config


def pickled_refused(path: Path) -> BackboneError:
    """Why weights that are pickled are not read, and how to convert them."""
    return BackboneError(
        f"{path} is a pickled file; weights are read from safetensors",
        'Convert it in its folder: python -c "import torch, safetensors.torch as s; '
        "s.save_file({k: v.contiguous().clone() for k, v in torch.load("
        f"'{path.name}', weights_only=True).items()}}, "
        f"'{path.stem}.safetensors')\"; or say `allow_pickle`: "
        "it reads tensors only.",
    )


def folder_files(folder: Path) -> list[Path]:
    """The regular files of a folder, by name.

    Raises:
        BackboneError: One is a link to somewhere outside the folder.
    """
    return [
        own_file(folder, path) for path in sorted(folder.iterdir()) if path.is_file()
    ]


@contextmanager
def vetted_folder(
    folder: Path, config: Mapping[str, Any], *, allow_pickle: bool = False
) -> Iterator[Path]:
    """A folder that holds what may be read of another, and nothing else.

    Args:
        folder: As somebody published it.
        config: Its checked `open_clip_config.json`.
        allow_pickle: Take .bin and .pth files if there are no safetensors.

    Yields:
        The other folder, for as long as the context lasts.

    Raises:
        BackboneError: A file is a link to outside, a configuration is refused, or the
            model that is described has more numbers than the weights have bytes.
    """
    weights = sorted(folder.glob(_SAFE)) or [
        path for pattern in _PICKLED for path in sorted(folder.glob(pattern))
    ]
    if weights and not weights[0].name.endswith(".safetensors") and not allow_pickle:
        raise pickled_refused(weights[0])
    tower = _tower(folder, config["model_cfg"]["text_cfg"])
    if weights:
        _check_size(folder, weights, config["model_cfg"], tower)
    with TemporaryDirectory(prefix="retune-backbone-") as made:
        vetted = Path(made)
        _write(vetted / _CONFIG, config)
        if tower is not None:
            _write(vetted / "config.json", tower)
        words = folder / "tokenizer_config.json"
        if words.is_file():
            checked = checked_tokenizer(read_json(own_file(folder, words)), words)
            _write(vetted / words.name, checked)
        for path in [*weights, *(folder / name for name in TOKENIZER_FILES)]:
            if path.is_file():
                (vetted / path.name).symlink_to(own_file(folder, path).resolve())
            elif path.exists():
                raise BackboneError(f"{path} is no regular file", "Remove it.")
        yield vetted


@contextmanager
def tower_overrides(
    text_cfg: Mapping[str, Any], tower: Mapping[str, Any] | None
) -> Iterator[dict[str, Any]]:
    """What keeps a text tower from being looked up on the hub, for open_clip.

    Args:
        text_cfg: Configuration of the text tower of the model.
        tower: The text tower's checked configuration; None if there is none.
    """
    if tower is None:
        yield {}
        return
    with TemporaryDirectory(prefix="retune-text-tower-") as made:
        _write(Path(made) / "config.json", tower)
        # The weights come with the whole model.
        named = {"hf_model_name": made, "hf_model_pretrained": False}
        yield {"text_cfg": {**text_cfg, **named}}


def _tower(folder: Path, text_cfg: Mapping[str, Any]) -> dict[str, Any] | None:
    """The text tower's configuration: the folder's, else one that is known."""
    name = text_cfg.get("hf_model_name")
    file = folder / "config.json"
    if not name:
        return None
    if file.is_file():
        return checked_tower(read_json(own_file(folder, file)), file)
    known = known_tower(name)
    if known is None:
        raise BackboneError(
            f"{folder} has no config.json for its text tower '{name}'",
            f"Copy the config.json of {name} into that folder.",
        )
    return known


def _check_size(
    folder: Path,
    weights: list[Path],
    model: Mapping[str, Any],
    tower: Mapping[str, Any] | None,
) -> None:
    """A model has no more numbers than its weights have bytes."""
    n_bytes = max(own_file(folder, path).stat().st_size for path in weights)
    n_numbers = least_parameters(model)
    n_numbers += 0 if tower is None else least_tower_parameters(tower)
    if n_numbers > n_bytes:
        raise BackboneError(
            f"cannot load {folder}: its configuration describes at least "
            f"{counted(n_numbers, 'number')}, but its weights have {n_bytes:,} bytes",
            "Check sizes such as width and layers, or download the weights again.",
        )


def own_file(folder: Path, path: Path) -> Path:
    """The path, if what it leads to lies in the folder, and is a regular file.

    The hub's cache keeps the files of a snapshot as links into its folder `blobs`.
    """
    try:
        target, home = path.resolve(strict=True), folder.resolve(strict=True)
        is_file = stat.S_ISREG(target.stat().st_mode)
    except (OSError, RuntimeError) as error:
        raise BackboneError(
            f"cannot read {path}: {error}", "Check its rights."
        ) from error
    homes = [home]
    if home.parent.name == "snapshots":
        homes.append(home.parent.parent / "blobs")
    if not any(target.is_relative_to(one) for one in homes):
        raise BackboneError(
            f"{path} is a link that leaves the folder, to {target}",
            "Copy the file into the folder.",
        )
    if not is_file:
        raise BackboneError(f"{path} is no regular file", "Remove it.")
    return path


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")
