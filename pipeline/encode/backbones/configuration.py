"""A model's configuration is data from elsewhere: what it may say, and how much.

open_clip and transformers pass what a configuration says on to constructors and to
loaders; some keys make these run Python files that lie beside it, or reach for another
repository. So every key has to be on a list here, with its type and its range, before
any library sees the file. Sizes are compared with the weights: a model that these
cannot fill is refused before memory is taken for it.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from retune.store.errors import BackboneError
from retune.store.plural import counted

__all__ = [
    "MOST_PARAMETERS",
    "Rule",
    "check_config",
    "check_keys",
    "flag",
    "least_parameters",
    "number",
    "one_of",
    "read_json",
    "text",
    "whole",
]

#: More numbers than any published image-text model has (open_clip's largest: 5e9).
MOST_PARAMETERS: Final = 20_000_000_000
_MOST_BYTES: Final = 1 << 23


@dataclass(frozen=True)
class Rule:
    """What a value may be.

    Attributes:
        expects: In words, for messages.
        fits: Whether a value does.
    """

    expects: str
    fits: Callable[[Any], bool]


def whole(least: int, most: int) -> Rule:
    """A whole number in a range.

    >>> whole(1, 8).fits(3), whole(1, 8).fits(9), whole(1, 8).fits(True)
    (True, False, False)
    """
    return Rule(
        f"a whole number from {least:,} to {most:,}",
        lambda value: type(value) is int and least <= value <= most,
    )


def number(least: float, most: float) -> Rule:
    """A number in a range; never NaN.

    >>> number(0, 1).fits(0.5), number(0, 1).fits(float("nan"))
    (True, False)
    """
    return Rule(
        f"a number from {least:g} to {most:g}",
        lambda value: type(value) in (int, float) and least <= value <= most,
    )


def one_of(*allowed: Any) -> Rule:
    """One of a few values."""
    shown = ", ".join(json.dumps(value) for value in allowed)
    return Rule(
        f"one of {shown}",
        lambda value: any(type(value) is type(a) and value == a for a in allowed),
    )


def text(
    pattern: str = r"[^\x00-\x1f\x7f]{0,200}", called: str = "a short text"
) -> Rule:
    """A text that fits a pattern as a whole."""
    return Rule(
        called,
        lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value)),
    )


def _several(rule: Rule, *lengths: int) -> Rule:
    """A list of one of these lengths."""
    counts = " or ".join(map(str, lengths))
    return Rule(
        f"a list of {counts}, each {rule.expects}",
        lambda value: (
            isinstance(value, list)
            and len(value) in lengths
            and all(map(rule.fits, value))
        ),
    )


def _either(*rules: Rule) -> Rule:
    return Rule(
        " or ".join(rule.expects for rule in rules),
        lambda value: any(rule.fits(value) for rule in rules),
    )


flag: Final = Rule("true or false", lambda value: isinstance(value, bool))
_NOTHING: Final = Rule("null", lambda value: value is None)
_SIZE: Final = _either(whole(1, 4_096), _several(whole(1, 4_096), 2))
#: A repository's name on the hub; neither an address nor a path.
_REPOSITORY: Final = text(
    r"(?!.*\.\.)[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?",
    "a name on the hub, as ORG/NAME",
)
_OPTIONAL_NAME: Final = _either(_REPOSITORY, text("", "an empty text"), _NOTHING)
_LAYER_SCALE: Final = _either(number(0, 10), _NOTHING)
_ACTIVATION: Final[Mapping[str, Rule]] = {"approximate": one_of("tanh", "none")}
_NORM: Final[Mapping[str, Rule]] = {
    "eps": number(0, 1), "elementwise_affine": flag, "bias": flag,
}  # fmt: skip
_TOKENIZER: Final[Mapping[str, Rule]] = {
    "clean": one_of("canonicalize", "lower", "whitespace"),
    "strip_sep_token": flag,
    "language": _either(text(r"[A-Za-z_-]{1,20}", "a code of a language"), _NOTHING),
    "add_prefix_space": flag, "do_lower_case": flag, "use_fast": flag,
    "padding_side": one_of("left", "right"),
    "truncation_side": one_of("left", "right"),
    "model_max_length": whole(1, 65_536),
}  # fmt: skip
_BLOCK: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(
        ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner",
         "scale_attn", "scale_fc", "final_ln_after_pool", "output_tokens"), flag,
    ),
    "block_type": _either(one_of("default", "custom"), _NOTHING),
    "mlp_ratio": number(0.1, 64), "ls_init_value": _LAYER_SCALE,
}  # fmt: skip
_VISION: Final[Mapping[str, Rule]] = {
    **_BLOCK,
    "layers": _either(whole(1, 256), _several(whole(1, 256), 4)),
    "width": whole(1, 16_384), "head_width": whole(1, 16_384),
    "patch_size": _either(whole(1, 1_024), _NOTHING), "image_size": _SIZE,
    "patch_dropout": number(0, 1),
    "attentional_pool": _either(flag, one_of("parallel", "cascade")),
    "attn_pooler_queries": whole(1, 4_096), "attn_pooler_heads": whole(1, 1_024),
    "no_ln_pre": flag, "pos_embed_type": one_of("learnable", "sin_cos_2d", "none"),
    "pool_type": one_of("tok", "avg", "none", ""),
    "timm_model_name": _either(
        text(r"[A-Za-z0-9][A-Za-z0-9_.]{0,95}", "the name of one of timm's models"),
        _NOTHING,
    ),
    "timm_model_pretrained": flag,
    "timm_pool": _either(text(r"[a-z_]{0,20}", "one of timm's poolings"), _NOTHING),
    "timm_proj": _either(one_of("linear", "mlp", "none", ""), _NOTHING),
    "timm_proj_bias": flag, "timm_drop": number(0, 1),
    "timm_drop_path": _either(number(0, 1), _NOTHING),
}  # fmt: skip
_TEXT: Final[Mapping[str, Rule]] = {
    **_BLOCK,
    "context_length": whole(1, 8_192), "vocab_size": whole(1, 2_000_000),
    "width": whole(1, 16_384), "heads": whole(1, 1_024), "layers": whole(1, 256),
    "hf_tokenizer_name": _OPTIONAL_NAME, "hf_model_name": _OPTIONAL_NAME,
    "tokenizer_mode": _either(one_of("clips", ""), _NOTHING),
    "embed_cls": flag, "pad_id": whole(0, 2_000_000), "eos_id": whole(0, 2_000_000),
    "no_causal_mask": flag, "proj_bias": flag,
    "pool_type": one_of("argmax", "first", "last", "eos", "none", ""),
    "proj_type": one_of("linear", "none"), "hf_model_pretrained": flag,
    "hf_proj_type": _either(one_of("linear", "mlp"), _NOTHING),
    "hf_pooler_type": _either(
        one_of(
            "mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler"
        ),
        _NOTHING,
    ),
    # Older releases of open_clip wrote these.
    "proj": one_of("linear", "mlp"), "pooler_type": one_of("mean_pooler", "cls_pooler"),
}  # fmt: skip
_DECODER: Final[Mapping[str, Rule]] = {
    **_TEXT, "dim_head": whole(1, 16_384), "n_queries": whole(1, 4_096),
    "attn_pooler_heads": whole(1, 1_024),
}  # fmt: skip
_MODEL: Final[Mapping[str, Rule]] = {
    "embed_dim": whole(1, 16_384), "quick_gelu": flag, "custom_text": flag,
    "init_logit_scale": number(-100, 100), "nonscalar_logit_scale": flag,
    "init_logit_bias": _either(number(-100, 100), _NOTHING),
    "pad_id": whole(0, 2_000_000), "output_dict": flag,
}  # fmt: skip
_PREPROCESS: Final[Mapping[str, Rule]] = {
    "size": _SIZE, "mode": one_of("RGB"),
    "mean": _several(number(-10, 10), 3), "std": _several(number(1e-6, 10), 3),
    "interpolation": one_of("bicubic", "bilinear", "nearest", "random"),
    "resize_mode": one_of("shortest", "longest", "squash"),
    "fill_color": whole(0, 255),
}  # fmt: skip
#: Section -> its rules, and the tables inside it.
_SECTIONS: Final[Mapping[str, Mapping[str, Rule]]] = {
    "vision_cfg": _VISION, "text_cfg": _TEXT, "multimodal_cfg": _DECODER,
}  # fmt: skip
_TABLES: Final[Mapping[str, Mapping[str, Rule]]] = {
    "act_kwargs": _ACTIVATION, "norm_kwargs": _NORM, "tokenizer_kwargs": _TOKENIZER,
}  # fmt: skip
_HINT: Final = (
    "A configuration is data: it may name sizes and published parts, never code, paths "
    "or other settings. Take the key out, or use a folder as open_clip publishes it."
)


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a small file.

    Raises:
        BackboneError: The file cannot be read, is too large or holds no JSON object.
    """
    try:
        size = file.stat().st_size
        if size > _MOST_BYTES:
            raise BackboneError(
                f"{file} is not usable: {size:,} bytes; a configuration has at most "
                f"{_MOST_BYTES:,}",
                _HINT,
            )
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"{file} is not usable: {error!r}", _HINT) from error
    if not isinstance(content, dict):
        raise BackboneError(f"{file} is not usable: it holds no JSON object", _HINT)
    return content


def check_keys(values: object, rules: Mapping[str, Rule], where: str) -> None:
    """Check a table of a configuration against its list.

    Raises:
        BackboneError: It is no table, has a key that is not on the list, or a value of
            another type or out of range; key and value are named.

    >>> check_keys({"layers": 2}, {"layers": whole(1, 8)}, "text_cfg")
    """
    if not isinstance(values, dict):
        raise BackboneError(f"{where} is no table of keys and values", _HINT)
    for key, value in values.items():
        if key not in rules:
            raise BackboneError(
                f"{where} has the key {_short(key)}, which is not on the list of keys",
                _HINT,
            )
        if not rules[key].fits(value):
            raise BackboneError(
                f"{where}.{key} is {_short(value)}: expected {rules[key].expects}",
                _HINT,
            )


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Check an `open_clip_config.json` as a whole.

    Args:
        config: With `model_cfg` and perhaps `preprocess_cfg`.
        where: Names it in messages.

    Raises:
        BackboneError: A key is missing or not on the list, a value is of another type
            or out of range, or the model would have more than `MOST_PARAMETERS`.
    """
    other = set(config) - {"model_cfg", "preprocess_cfg"}
    if other:
        check_keys(dict.fromkeys(sorted(other)), {}, where)
    model = config.get("model_cfg")
    if not isinstance(model, dict):
        raise BackboneError(f"{where} is not usable: it has no model_cfg", _HINT)
    for key in ("embed_dim", "vision_cfg", "text_cfg"):
        if key not in model:
            raise BackboneError(f"{where} is not usable: model_cfg has no {key}", _HINT)
    plain = {key: value for key, value in model.items() if key not in _SECTIONS}
    check_keys(plain, _MODEL, f"{where}: model_cfg")
    for name, rules in _SECTIONS.items():
        if name in model:
            _check_section(model[name], rules, f"{where}: {name}")
    check_keys(
        config.get("preprocess_cfg") or {}, _PREPROCESS, f"{where}: preprocess_cfg"
    )
    n_numbers = least_parameters(model)
    if n_numbers > MOST_PARAMETERS:
        raise BackboneError(
            f"{where} describes a model of at least {counted(n_numbers, 'number')}; at "
            f"most {MOST_PARAMETERS:,} are loaded",
            _HINT,
        )


def _check_section(values: object, rules: Mapping[str, Rule], where: str) -> None:
    if not isinstance(values, dict):
        raise BackboneError(f"{where} is no table of keys and values", _HINT)
    for name, inner in _TABLES.items():
        if values.get(name) is not None:
            check_keys(values[name], inner, f"{where}.{name}")
    plain = {key: value for key, value in values.items() if key not in _TABLES}
    check_keys(plain, rules, where)


def least_parameters(model: Mapping[str, Any]) -> int:
    """How many numbers a model has at least, from a configuration that was checked.

    Towers that another library describes by name count as none.

    >>> least_parameters({"embed_dim": 4, "vision_cfg": {"timm_model_name": "a"},
    ...     "text_cfg": {"width": 4, "layers": 2, "vocab_size": 10, "mlp_ratio": 4}})
    732
    """
    vision, tower = model["vision_cfg"], model["text_cfg"]
    n_parameters = 0 if vision.get("timm_model_name") else _vision_parameters(vision)
    if not tower.get("hf_model_name"):
        n_parameters += _text_parameters(tower)
    if "multimodal_cfg" in model:
        n_parameters += _text_parameters(model["multimodal_cfg"])
    return n_parameters


def _vision_parameters(vision: Mapping[str, Any]) -> int:
    width, layers = vision.get("width", 768), vision.get("layers", 12)
    if isinstance(layers, list):  # a ResNet: its stages double in width
        stages = enumerate(layers)
        return int(sum(n * 9 * (width * 2**stage) ** 2 for stage, n in stages))
    size, patch = vision.get("image_size", 224), vision.get("patch_size") or 16
    height, breadth = size if isinstance(size, list) else (size, size)
    places = (height // patch) * (breadth // patch)
    blocks = _blocks(width, layers, vision.get("mlp_ratio", 4.0))
    return blocks + int(places * width)


def _text_parameters(tower: Mapping[str, Any]) -> int:
    width = tower.get("width", 512)
    words = tower.get("vocab_size", 49_408) + tower.get("context_length", 77)
    blocks = _blocks(width, tower.get("layers", 12), tower.get("mlp_ratio", 4.0))
    return blocks + (0 if "n_queries" in tower else int(words * width))


def _blocks(width: int, layers: int, mlp_ratio: float) -> int:
    """Attention's four matrices and the two of what follows it."""
    return int(layers * width * width * (4 + 2 * mlp_ratio))


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
