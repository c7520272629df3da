"""Text towers and tokenizers that transformers builds: their files, checked as data.

transformers can be told by these files to import Python code (`auto_map`,
`trust_remote_code`, kernels named in `attn_implementation`) or to read other files
(`vocab_file` and the like). None of that is on the lists here.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from retune.store.errors import BackboneError
from retune.store.plural import counted

from .configuration import (
    MOST_PARAMETERS,
    Rule,
    check_keys,
    flag,
    number,
    one_of,
    text,
    whole,
)

__all__ = [
    "TOKENIZER_FILES",
    "checked_tokenizer",
    "checked_tower",
    "known_tower",
    "least_tower_parameters",
]

#: What a tokenizer may consist of, beside its `tokenizer_config.json`.
TOKENIZER_FILES: Final = (
    "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt", "added_tokens.json",
    "special_tokens_map.json", "sentencepiece.bpe.model", "spiece.model",
    "tokenizer.model",
)  # fmt: skip
_TEXT: Final = text()
_IDENTIFIER: Final = text(
    r"[A-Za-z_][A-Za-z0-9_]{0,95}", "a name of letters and digits"
)
_CODE: Final = text("[a-z]{2,3}([_-][A-Za-z]{2,4})?", "a code of a language")
_ANY_NUMBER: Final = number(-1e31, 1e31)
_SHARE: Final = number(0, 1)
_ID: Final = Rule(
    "a token's number or null",
    lambda value: value is None or whole(-1, 2_000_000).fits(value),
)
_NAMES: Final = Rule(
    "a list of names",
    lambda value: (
        value is None
        or (
            isinstance(value, list)
            and len(value) <= 64
            and all(map(_IDENTIFIER.fits, value))
        )
    ),
)

_CLASSES: Final = Rule(
    "a table of names",
    lambda value: (
        isinstance(value, dict)
        and len(value) <= 10_000
        and all(type(one) in (str, int) for one in value.values())
    ),
)
_FLAG_OR_NULL: Final = Rule(
    "true, false or null", lambda value: value in (True, False, None)
)
_DTYPE: Final = Rule(
    "float32, float16 or bfloat16",
    lambda value: value in ("float32", "float16", "bfloat16", None),
)
_LAYERS, _WIDTH, _HEADS = whole(1, 256), whole(1, 16_384), whole(1, 1_024)
_ACTIVATION: Final = one_of(
    "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu",
    "swish", "tanh",
)  # fmt: skip
#: The keys of the architectures that open_clip takes text towers of.
_TOWER: Final[Mapping[str, Rule]] = {
    "model_type": one_of("bert", "roberta", "xlm-roberta", "mt5", "m2m_100"),
    **dict.fromkeys(("architectures",), _NAMES),
    **dict.fromkeys(("_name_or_path", "name_or_path", "transformers_version"), _TEXT),
    **dict.fromkeys(("torch_dtype", "dtype"), _DTYPE),
    **dict.fromkeys(("tokenizer_class",), _IDENTIFIER),
    **dict.fromkeys(("id2label", "label2id"), _CLASSES),
    **dict.fromkeys(
        ("hidden_size", "intermediate_size", "d_model", "d_ff", "encoder_ffn_dim",
         "decoder_ffn_dim"), whole(1, 65_536),
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers",
         "decoder_layers"), _LAYERS,
    ),
    **dict.fromkeys(
        ("num_attention_heads", "num_heads", "encoder_attention_heads",
         "decoder_attention_heads"), _HEADS,
    ),
    "d_kv": _WIDTH, "vocab_size": whole(1, 2_000_000),
    "max_position_embeddings": whole(1, 65_536), "type_vocab_size": whole(0, 64),
    **dict.fromkeys(("hidden_act", "activation_function", "dense_act_fn"), _ACTIVATION),
    "feed_forward_proj": one_of("relu", "gated-gelu"),
    "position_embedding_type": one_of(
        "absolute", "relative_key", "relative_key_query"
    ),
    **dict.fromkeys(
        ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout",
         "attention_dropout", "activation_dropout", "dropout_rate",
         "encoder_layerdrop", "decoder_layerdrop", "initializer_range",
         "layer_norm_eps", "layer_norm_epsilon"), _SHARE,
    ),
    "classifier_dropout": Rule(
        "a number from 0 to 1 or null",
        lambda value: value is None or _SHARE.fits(value),
    ),
    **dict.fromkeys(("initializer_factor", "init_std"), number(0, 100)),
    **dict.fromkeys(
        ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id",
         "decoder_start_token_id", "forced_eos_token_id"), _ID,
    ),
    **dict.fromkeys(
        ("use_cache", "gradient_checkpointing", "is_encoder_decoder", "is_decoder",
         "add_cross_attention", "tie_word_embeddings", "scale_embedding",
         "is_gated_act", "output_past", "early_stopping"), flag,
    ),
    **dict.fromkeys(
        ("relative_attention_num_buckets", "relative_attention_max_distance",
         "max_length", "num_beams"), whole(0, 65_536),
    ),
    # Published BERT configurations carry these; nothing reads them.
    "directionality": one_of("bidi"),
    **dict.fromkeys(
        ("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers",
         "pooler_size_per_head"), whole(0, 65_536),
    ),
    "pooler_type": _IDENTIFIER,
}  # fmt: skip
_TOKEN: Final = Rule(
    "a token",
    lambda value: (
        value is None
        or (isinstance(value, str) and len(value) <= 1_000)
        or (
            isinstance(value, dict)
            and set(value)
            <= {
                "__type",
                "content",
                "lstrip",
                "normalized",
                "rstrip",
                "single_word",
                "special",
            }
            and all(type(one) in (str, bool) for one in value.values())
        )
    ),
)
_TOKENS: Final = Rule(
    "a list or table of tokens",
    lambda value: (
        value is None
        or (isinstance(value, list) and all(map(_TOKEN.fits, value)))
        or (isinstance(value, dict) and all(map(_TOKEN.fits, value.values())))
    ),
)
_TOKENIZER: Final[Mapping[str, Rule]] = {
    "tokenizer_class": text(
        r"[A-Z][A-Za-z0-9]{0,60}Tokenizer(Fast)?|TokenizersBackend",
        "the name of one of transformers' tokenizers",
    ),
    **dict.fromkeys(
        ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token",
         "mask_token"), _TOKEN,
    ),
    **dict.fromkeys(
        ("additional_special_tokens", "added_tokens_decoder", "never_split",
         "extra_special_tokens", "model_input_names"), _TOKENS,
    ),
    **dict.fromkeys(
        ("model_max_length", "max_length", "max_len", "stride", "pad_to_multiple_of",
         "extra_ids", "pad_token_type_id"),
        Rule("a number or null", lambda v: v is None or _ANY_NUMBER.fits(v)),
    ),
    **dict.fromkeys(
        ("do_lower_case", "do_basic_tokenize", "tokenize_chinese_chars",
         "strip_accents", "clean_up_tokenization_spaces", "add_prefix_space",
         "trim_offsets", "legacy", "split_special_tokens", "add_bos_token",
         "add_eos_token", "keep_accents", "sp_model_kwargs", "legacy_behaviour",
         "spaces_between_special_tokens", "use_default_system_prompt", "is_local",
         "local_files_only", "use_fast"),
        Rule("true, false or null", lambda v: v in (True, False, None, {})),
    ),
    **dict.fromkeys(("padding_side", "truncation_side"), one_of("left", "right")),
    **dict.fromkeys(
        ("truncation_strategy", "errors", "pad_type", "backend"), _IDENTIFIER
    ),
    **dict.fromkeys(("src_lang", "tgt_lang"), Rule(
        "a code of a language",
        lambda v: v is None or _CODE.fits(v) or _IDENTIFIER.fits(v),
    )),
}  # fmt: skip
#: Where whoever published the file had it: nothing here, so it is left out.
_PASSED_OVER: Final = ("name_or_path", "special_tokens_map_file")

# The published BiomedCLIP folder names its text tower's architecture by a hub name
# only. These are the sizes of that BERT, so that the folder works without the hub.
_BERT_BASE: Final = {
    "model_type": "bert", "vocab_size": 30522, "hidden_size": 768,
    "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip
_KNOWN: Final = {
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract": _BERT_BASE,
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract": _BERT_BASE,
}


def known_tower(name: str) -> dict[str, Any] | None:
    """The architecture of a text tower that is known here by its hub name."""
    return _KNOWN.get(name)


def checked_tower(config: Mapping[str, Any], where: str | Path) -> dict[str, Any]:
    """A text tower's `config.json`, every key of which is on the list.

    Raises:
        BackboneError: A key is not on the list, such as `auto_map`, or a value is of
            another type or out of range.
    """
    check_keys(dict(config), _TOWER, str(where))
    if "model_type" not in config:
        raise BackboneError(
            f"{where} has no model_type", "Copy the config.json of the text tower."
        )
    n_numbers = least_tower_parameters(config)
    if n_numbers > MOST_PARAMETERS:
        raise BackboneError(
            f"{where} describes a text tower of at least "
            f"{counted(n_numbers, 'number')}; "
            f"at most {MOST_PARAMETERS:,} are loaded",
            "Copy the config.json of the text tower.",
        )
    return dict(config)


def least_tower_parameters(config: Mapping[str, Any]) -> int:
    """How many numbers a text tower has at least.

    >>> least_tower_parameters(_BERT_BASE) < 110e6
    True
    """
    width = config.get("hidden_size") or config.get("d_model") or 1
    wide = max(
        config.get(key, 1) for key in ("intermediate_size", "d_ff", "encoder_ffn_dim")
    )
    layers = max(
        config.get(key, 1)
        for key in ("num_hidden_layers", "num_layers", "encoder_layers")
    )
    words = config.get("vocab_size", 1) + config.get("max_position_embeddings", 0)
    return int(words * width + layers * 2 * width * wide)


def checked_tokenizer(config: Mapping[str, Any], where: str | Path) -> dict[str, Any]:
    """A `tokenizer_config.json`, every key of which is on the list.

    Raises:
        BackboneError: A key is not on the list, such as `auto_map` or a path, or a
            value is of another type.
    """
    kept = {key: value for key, value in config.items() if key not in _PASSED_OVER}
    empty = [
        key for key, value in kept.items() if value is None and key not in _TOKENIZER
    ]
    kept = {key: value for key, value in kept.items() if key not in empty}
    check_keys(kept, _TOKENIZER, str(where))
    return json.loads(json.dumps(kept))  # type: ignore[no-any-return]
