"""A folder as transformers publishes it: which of its files are read, and as what.

As for open_clip's folders, the library is handed another one, with configurations that
were checked and links to the few files that hold weights and words. Configurations are
data: plain values under plain names, of an architecture that transformers itself has.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from retune.store.errors import BackboneError
from retune.store.plural import counted

from ..configuration import check_keys, flag, number, one_of, read_json, text, whole
from ..model_folder import own_file, pickled_refused
from ..text_tower import TOKENIZER_FILES, checked_tokenizer

__all__ = ["CONFIG", "PROCESSOR", "folder_weights", "vetted_transformers"]

CONFIG: Final = "config.json"
PROCESSOR: Final = "preprocessor_config.json"
_SAFE: Final = "*.safetensors"
_PICKLED: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_WORD: Final = re.compile(r"[^\x00-\x1f\x7f]{0,200}")
#: Keys by which transformers would import code, fetch files or change arithmetic.
_BANNED: Final = re.compile(
    r"auto_map|custom_\w*|trust_\w*|\w*_implementation\w*|quantization_\w*|\w*_file"
    r"|\w*_url|\w*_path|adapter_\w*|use_kernels?|kernel_config|auto_class|pruned_heads"
)
_ALLOWED: Final = ("_name_or_path", "name_or_path")
_MOST: Final = 1e12
_MOST_DEPTH, _MOST_ITEMS = 4, 50_000
_PIXELS: Final = whole(1, 4_096)
_SIZE_KEYS: Final = dict.fromkeys(
    ("height", "width", "shortest_edge", "longest_edge"), whole(1, 4_096)
)
_PROCESSOR_RULES: Final = {
    **dict.fromkeys(
        ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb",
         "do_pad"), flag,
    ),
    "resample": whole(0, 5), "rescale_factor": number(1e-6, 1),
    **dict.fromkeys(
        ("image_processor_type", "feature_extractor_type", "processor_class"),
        text(r"[A-Za-z][A-Za-z0-9]{0,95}", "the name of a class"),
    ),
    "crop_pct": number(0.01, 1), "data_format": one_of("channels_first"),
}  # fmt: skip
_HINT: Final = (
    "A configuration is data: it may describe an architecture of transformers, never "
    "code, files or places. Use the folder as its authors publish it, without remote "
    "code."
)


def folder_weights(folder: Path, *, allow_pickle: bool) -> list[Path]:
    """The files with a folder's weights.

    Args:
        folder: As somebody published it.
        allow_pickle: Take .bin and .pt files if there are no safetensors.

    Raises:
        BackboneError: There are none, or only pickled ones that are not allowed.
    """
    safe = sorted(folder.glob(_SAFE))
    if safe:
        return [own_file(folder, path) for path in safe]
    pickled = [path for pattern in _PICKLED for path in sorted(folder.glob(pattern))]
    if not pickled:
        raise BackboneError(
            f"{folder} has no weights", "It needs a file such as model.safetensors."
        )
    if not allow_pickle:
        raise pickled_refused(pickled[0])
    return [own_file(folder, path) for path in pickled]


@contextmanager
def vetted_transformers(
    folder: Path, *, allow_pickle: bool
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder that holds what may be read of another, and its configuration.

    Raises:
        BackboneError: A file is missing, leaves the folder, or says what it may not.
    """
    for name in (CONFIG, PROCESSOR):
        if not (folder / name).is_file():
            raise BackboneError(
                f"{folder} has no {name}",
                "A folder of transformers has config.json, preprocessor_config.json, "
                "model.safetensors and, if the model reads, files of a tokenizer.",
            )
    config = read_json(own_file(folder, folder / CONFIG))
    _check_plain(config, str(folder / CONFIG))
    processor = read_json(own_file(folder, folder / PROCESSOR))
    _check_processor(processor, str(folder / PROCESSOR))
    weights = folder_weights(folder, allow_pickle=allow_pickle)
    n_bytes = sum(path.stat().st_size for path in weights)
    _check_size(config, n_bytes, folder)
    with TemporaryDirectory(prefix="retune-backbone-") as made:
        folder_made = Path(made)
        (folder_made / CONFIG).write_text(json.dumps(config), encoding="utf-8")
        (folder_made / PROCESSOR).write_text(json.dumps(processor), encoding="utf-8")
        words = folder / "tokenizer_config.json"
        if words.is_file():
            checked = checked_tokenizer(read_json(own_file(folder, words)), words)
            (folder_made / words.name).write_text(json.dumps(checked), encoding="utf-8")
        index = folder / "model.safetensors.index.json"
        if index.is_file():
            (folder_made / index.name).write_text(
                json.dumps(_checked_index(index, weights)), encoding="utf-8"
            )
        linked = [*weights, *(folder / name for name in TOKENIZER_FILES)]
        for path in linked:
            if path.is_file():
                (folder_made / path.name).symlink_to(own_file(folder, path).resolve())
        yield folder_made, config


def _checked_index(index: Path, weights: list[Path]) -> dict[str, Any]:
    content = read_json(index)
    names = {path.name for path in weights}
    table = content.get("weight_map")
    if not isinstance(table, dict) or not set(map(str, table.values())) <= names:
        raise BackboneError(f"{index} names files that are not there", _HINT)
    return {"metadata": {}, "weight_map": table}


def _check_plain(value: Any, where: str, depth: int = 0) -> None:
    """Plain values under plain names, not too many and not too deep."""
    if depth > _MOST_DEPTH:
        raise BackboneError(f"{where} is nested too deeply", _HINT)
    if isinstance(value, dict):
        if len(value) > _MOST_ITEMS:
            raise BackboneError(f"{where} has too many entries", _HINT)
        for key, inner in value.items():
            name = str(key)
            if where.endswith(("id2label", "label2id")):
                continue
            banned = _BANNED.fullmatch(name) and name not in _ALLOWED
            if not _NAME.fullmatch(name) or (banned and inner not in (None, {})):
                raise BackboneError(
                    f"{where} has the key {name[:80]!r}, which is not allowed", _HINT
                )
            _check_plain(inner, f"{where}: {name}", depth + 1)
    elif isinstance(value, list):
        if len(value) > _MOST_ITEMS:
            raise BackboneError(f"{where} has too many entries", _HINT)
        for inner in value:
            _check_plain(inner, where, depth + 1)
    elif isinstance(value, str):
        if not _WORD.fullmatch(value):
            raise BackboneError(f"{where} is no short text", _HINT)
    elif isinstance(value, int | float) and not -_MOST <= value <= _MOST:
        raise BackboneError(f"{where} is out of range: {value!r}", _HINT)


def _check_processor(processor: Mapping[str, Any], where: str) -> None:
    for name in ("size", "crop_size", "pad_size"):
        setting = processor.get(name)
        if isinstance(setting, dict):
            check_keys(
                {key: inner for key, inner in setting.items() if inner is not None},
                _SIZE_KEYS,
                f"{where}: {name}",
            )
        elif setting is not None and not _PIXELS.fits(setting):
            raise BackboneError(f"{where}: {name} is no size: {setting!r}", _HINT)
    for name in ("image_mean", "image_std"):
        setting = processor.get(name)
        numbers = number(-10, 10) if name == "image_mean" else number(1e-6, 10)
        if setting is not None and not (
            isinstance(setting, list)
            and len(setting) == 3
            and all(map(numbers.fits, setting))
        ):
            raise BackboneError(
                f"{where}: {name} is {setting!r}, no three numbers", _HINT
            )
    plain = {
        key: value
        for key, value in processor.items()
        if key not in ("size", "crop_size", "pad_size", "image_mean", "image_std")
        and value is not None
        and not key.startswith("_")
    }
    check_keys(plain, _PROCESSOR_RULES, where)


def _check_size(config: Mapping[str, Any], n_bytes: int, folder: Path) -> None:
    """A model has no more numbers than its weights have bytes."""
    n_numbers = 0
    for part in (config, config.get("vision_config"), config.get("text_config")):
        if not isinstance(part, dict):
            continue
        width, layers = (part.get(k) for k in ("hidden_size", "num_hidden_layers"))
        if isinstance(width, int) and isinstance(layers, int):
            n_numbers += 4 * width * width * layers
        words = part.get("vocab_size")
        if isinstance(width, int) and isinstance(words, int):
            n_numbers += width * words
    if n_numbers > n_bytes:
        raise BackboneError(
            f"cannot load {folder}: its configuration describes at least "
            f"{counted(n_numbers, 'number')}, but its weights have {n_bytes:,} bytes",
            "Check sizes such as hidden_size, or download the weights again.",
        )
