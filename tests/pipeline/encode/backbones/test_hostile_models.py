"""Configurations, tokenizers and weights from elsewhere are data: none of it runs.

Each hostile folder holds Python that would leave a file behind if it ran.
"""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import pytest
import torch
from image_samples import TINY_CONFIG, write_tiny_backbone

from retune.pipeline.encode.backbones.configuration import check_config
from retune.pipeline.encode.backbones.hub import read_hub_configs
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.model_folder import (
    folder_files,
    read_model_config,
    vetted_folder,
)
from retune.pipeline.encode.backbones.source import source_of
from retune.pipeline.encode.backbones.text_tower import (
    checked_tokenizer,
    checked_tower,
)
from retune.store.errors import BackboneError

_BIOMEDCLIP: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 512,
        "vision_cfg": {
            "timm_model_name": "vit_base_patch16_224", "timm_model_pretrained": False,
            "timm_pool": "", "timm_proj": "linear", "image_size": 224,
        },
        "text_cfg": {
            "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
            "hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler",
            "context_length": 256,
        },
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
    },
}  # fmt: skip
_TOWER = {
    "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 24, "pad_token_id": 0,
}  # fmt: skip
_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "edema", "mass")


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    """A file that code of a hostile folder would make."""
    return tmp_path / "code-ran"


@pytest.fixture
def folder(tmp_path: Path, sentinel: Path) -> Path:
    """A working folder, with Python beside its files."""
    folder_path = tmp_path / "model"
    write_tiny_backbone(folder_path)
    code = f"open({str(sentinel)!r}, 'w')\n"
    for name in ("tokenization_own", "modeling_own", "processing_own", "__init__"):
        (folder_path / f"{name}.py").write_text(
            code
            + "class Own:\n"
            + "    def __init__(self, *a, **k): pass\n"
            + "    from_pretrained = classmethod(lambda cls, *a, **k: cls())\n"
        )
    return folder_path


def _write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content))


def _config(**changes: Any) -> dict[str, Any]:
    """The tiny configuration, with other values in its text tower."""
    model = TINY_CONFIG["model_cfg"]
    assert isinstance(model["text_cfg"], dict)
    return {
        **TINY_CONFIG,
        "model_cfg": {**model, "text_cfg": model["text_cfg"] | changes},
    }


def _load(folder: Path, **options: Any) -> Any:
    source = source_of(
        f"local-dir:{folder}", precision="float32", output_dtype="float16", **options
    )
    return load_backbone(source, precision="float32", device="cpu")


def _refused(folder: Path, said: str, sentinel: Path, **options: Any) -> None:
    with pytest.raises(BackboneError, match=said) as caught:
        _load(folder, **options)
    assert caught.value.hint
    assert not sentinel.exists()


def test_a_tokenizer_of_its_own_by_trust_remote_code(
    folder: Path, sentinel: Path
) -> None:
    _write(
        folder / "open_clip_config.json",
        _config(hf_tokenizer_name="own", tokenizer_kwargs={"trust_remote_code": True}),
    )
    _write(
        folder / "tokenizer_config.json",
        {"auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}},
    )
    _refused(folder, "tokenizer_kwargs has the key 'trust_remote_code'", sentinel)


def test_a_tokenizer_of_its_own_by_auto_map(folder: Path, sentinel: Path) -> None:
    _write(folder / "open_clip_config.json", _config(hf_tokenizer_name="own"))
    _write(
        folder / "tokenizer_config.json",
        {"auto_map": {"AutoTokenizer": ["tokenization_own.Own", None]}},
    )
    _refused(folder, "has the key 'auto_map', which is not on the list", sentinel)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"tokenizer_class": "tokenization_own.Own"}, "tokenizer_class is"),
        ({"tokenizer_class": "../own"}, "tokenizer_class is"),
        ({"vocab_file": "/etc/hostname"}, "the key 'vocab_file'"),
        ({"tokenizer_file": "/etc/hostname"}, "the key 'tokenizer_file'"),
        ({"trust_remote_code": True}, "the key 'trust_remote_code'"),
        ({"do_lower_case": "yes"}, "do_lower_case is 'yes': expected true"),
        ({"pad_token": 3}, "pad_token is 3: expected a token"),
    ],
)
def test_what_a_tokenizers_configuration_may_not_say(
    folder: Path, sentinel: Path, content: dict[str, Any], said: str
) -> None:
    _write(folder / "open_clip_config.json", _config(hf_tokenizer_name="own"))
    _write(folder / "tokenizer_config.json", content)
    _refused(folder, said, sentinel)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"auto_map": {"AutoConfig": "modeling_own.Own"}}, "the key 'auto_map'"),
        ({"attn_implementation": "somebody/kernel"}, "key 'attn_implementation'"),
        ({"quantization_config": {"quant_method": "own"}}, "'quantization_config'"),
        ({"model_type": "own"}, "model_type is 'own': expected one of"),
        (
            {"num_hidden_layers": 10**6},
            "num_hidden_layers is 1000000: expected a whole",
        ),
        ({"hidden_size": 10**9}, "hidden_size is 1000000000"),
        ({"vocab_size": 2_000_000, "hidden_size": 4096}, "numbers, but its weights"),
    ],
)
def test_what_a_text_towers_configuration_may_not_say(
    folder: Path, sentinel: Path, content: dict[str, Any], said: str
) -> None:
    _write(folder / "open_clip_config.json", _config(hf_model_name="own/tower"))
    _write(folder / "config.json", {**_TOWER, **content})
    _refused(folder, said, sentinel)


def test_a_processor_beside_the_model_is_not_looked_at(
    folder: Path, sentinel: Path
) -> None:
    own = {
        "auto_map": {"AutoProcessor": "processing_own.Own"},
        "processor_class": "Own",
    }
    for name in ("preprocessor_config.json", "processor_config.json"):
        _write(folder / name, own)
    assert _load(folder).spec.dim == 16
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("size", 10**6, "size is 1000000"),
        ("mean", [0.5], "mean is"),
        ("std", [0, 0, 0], "std is"),
        ("std", [float("nan")] * 3, "std is"),
        ("mode", "L", "mode is 'L': expected one of \"RGB\""),
        ("resize_mode", "own", "resize_mode is 'own'"),
        ("transform", "processing_own.Own", "the key 'transform'"),
    ],
)
def test_what_preprocessing_may_not_say(
    folder: Path, sentinel: Path, key: str, value: object, said: str
) -> None:
    changed = {**TINY_CONFIG["preprocess_cfg"], key: value}
    _write(folder / "open_clip_config.json", {**TINY_CONFIG, "preprocess_cfg": changed})
    _refused(folder, said, sentinel)


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pth"])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_weights_that_are_a_pickle_run_nothing(
    folder: Path, sentinel: Path, name: str, form: str
) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    payload = {"state_dict": _Payload(sentinel), "filler": b"0" * 8_000_000}
    if form == "pickle":
        (folder / name).write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, folder / name)
    _refused(folder, "is a pickled file", sentinel)
    _refused(folder, "cannot load the backbone", sentinel, allow_pickle=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weights_that_are_torchscript_run_nothing(folder: Path, sentinel: Path) -> None:
    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.filler = torch.nn.Parameter(torch.zeros(2_000_000))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    (folder / "open_clip_model.safetensors").unlink()
    torch.jit.script(Module()).save(str(folder / "open_clip_pytorch_model.bin"))
    said = "cannot load the backbone.*TorchScript"
    _refused(folder, said, sentinel, allow_pickle=True)


def test_weights_without_code_load_from_a_bin_file_if_allowed(folder: Path) -> None:
    expected = _load(folder).spec.weights_digest
    from safetensors.torch import load_file

    weights = folder / "open_clip_model.safetensors"
    torch.save(load_file(weights), folder / "open_clip_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(BackboneError, match="is a pickled file") as caught:
        _load(folder)
    assert "weights_only=True" in caught.value.hint
    assert _load(folder, allow_pickle=True).spec.weights_digest == expected


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("", "embed_dim", 10**9),
        ("", "embed_dim", "512"),
        ("", "embed_dim", True),
        ("", "init_logit_bias", float("nan")),
        ("", "own_class", "modeling_own.Own"),
        ("vision_cfg", "layers", 10**6),
        ("vision_cfg", "layers", [1, 2, 3]),
        ("vision_cfg", "width", 10**7),
        ("vision_cfg", "image_size", [224, 10**6]),
        ("vision_cfg", "image_size", -1),
        ("vision_cfg", "timm_model_name", "hf-hub:somebody/model"),
        ("vision_cfg", "timm_model_name", "local-dir:/tmp"),
        ("text_cfg", "layers", 10**6),
        ("text_cfg", "vocab_size", 10**9),
        ("text_cfg", "context_length", 0),
        ("text_cfg", "hf_model_name", "/tmp/model"),
        ("text_cfg", "hf_tokenizer_name", "../model"),
        ("text_cfg", "hf_tokenizer_name", "https://somewhere.example/model"),
        ("text_cfg", "act_kwargs", {"approximate": "own"}),
        ("text_cfg", "norm_kwargs", {"device": "meta"}),
        ("text_cfg", "tokenizer_kwargs", {"vocab_file": "/etc/hostname"}),
        ("multimodal_cfg", "n_queries", 10**9),
    ],
)
def test_a_value_out_of_its_range_is_named_before_memory_is_taken(
    section: str, key: str, value: object
) -> None:
    config = json.loads(json.dumps(TINY_CONFIG))
    model = config["model_cfg"]
    (model.setdefault(section, {}) if section else model)[key] = value
    name = next(iter(value)) if isinstance(value, dict) else key
    with pytest.raises(BackboneError, match=name):
        check_config(config, "open_clip_config.json")


def test_a_model_that_its_weights_cannot_fill_is_refused(
    folder: Path, sentinel: Path
) -> None:
    _write(folder / "open_clip_config.json", _config(width=4096, layers=20))
    _refused(folder, r"describes at least [\d,]+ numbers, but its weights", sentinel)


def test_more_numbers_than_any_model_has_are_refused() -> None:
    with pytest.raises(BackboneError, match="at most 20,000,000,000 are loaded"):
        check_config(_config(width=16_384, layers=256), "c")
    with pytest.raises(BackboneError, match="at most 20,000,000,000 are loaded"):
        checked_tower({**_TOWER, "vocab_size": 2_000_000, "hidden_size": 65_536}, "c")


@pytest.mark.parametrize("name", open_clip.list_models())
def test_every_configuration_that_open_clip_ships_passes(name: str) -> None:
    check_config({"model_cfg": open_clip.get_model_config(name)}, name)


def test_biomedclips_configurations_pass() -> None:
    check_config(_BIOMEDCLIP, "biomedclip")
    published = {
        "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1,
        "gradient_checkpointing": False, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
        "intermediate_size": 3072, "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512, "model_type": "bert",
        "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0,
        "position_embedding_type": "absolute", "transformers_version": "4.6.0.dev0",
        "type_vocab_size": 2, "use_cache": True, "vocab_size": 30522,
    }  # fmt: skip
    assert checked_tower(published, "config.json") == published
    words = {
        "clean_up_tokenization_spaces": True, "cls_token": "[CLS]",
        "do_basic_tokenize": True, "do_lower_case": True, "mask_token": "[MASK]",
        "model_max_length": 1000000000000000019884624838656, "never_split": None,
        "pad_token": "[PAD]", "sep_token": "[SEP]", "strip_accents": None,
        "tokenize_chinese_chars": True, "tokenizer_class": "BertTokenizer",
        "unk_token": "[UNK]", "name_or_path": "/somewhere",
        "special_tokens_map_file": None,
    }  # fmt: skip
    assert checked_tokenizer(words, "t")["tokenizer_class"] == "BertTokenizer"


def test_a_text_tower_and_tokenizer_of_transformers_still_load(
    tmp_path: Path, sentinel: Path
) -> None:
    folder = tmp_path / "bert"
    folder.mkdir()
    text = {"hf_model_name": "own/tower", "hf_tokenizer_name": "own/tower",
            "hf_proj_type": "linear", "hf_pooler_type": "cls_pooler",
            "context_length": 12}  # fmt: skip
    config = json.loads(json.dumps(TINY_CONFIG))
    config["model_cfg"]["text_cfg"] = text
    _write(folder / "open_clip_config.json", config)
    _write(folder / "config.json", _TOWER)
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    (folder / "vocab.txt").write_text("\n".join(_WORDS))
    from safetensors.torch import save_file

    own = {**text, "hf_model_name": str(folder), "hf_model_pretrained": False}
    model = open_clip.CustomTextCLIP(**{**config["model_cfg"], "text_cfg": own})
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    backbone = _load(folder)
    assert backbone.encode_texts(["no edema", "mass"]).shape == (2, 16)
    recorded = backbone.spec.model_config["text_cfg"]
    assert recorded["hf_model_name"] == "own/tower"


@pytest.mark.parametrize(
    "name", ["open_clip_config.json", "open_clip_model.safetensors", "vocab.txt"]
)
def test_a_link_that_leaves_the_folder_is_refused(
    folder: Path, tmp_path: Path, sentinel: Path, name: str
) -> None:
    outside = tmp_path / "outside"
    (folder / name).touch()
    (folder / name).rename(outside)
    (folder / name).symlink_to(outside)
    _refused(folder, "is a link that leaves the folder", sentinel)


def test_links_inside_the_folder_and_those_of_the_hubs_cache_are_followed(
    folder: Path, tmp_path: Path
) -> None:
    blobs, snapshot = tmp_path / "hub" / "blobs", tmp_path / "hub" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for index, name in enumerate(
        ["open_clip_config.json", "open_clip_model.safetensors"]
    ):
        (blobs / str(index)).write_bytes((folder / name).read_bytes())
        (snapshot / name).symlink_to(f"../../blobs/{index}")
    assert len(folder_files(snapshot)) == 2
    with vetted_folder(snapshot, read_model_config(snapshot)) as vetted:
        assert {path.name for path in vetted.iterdir()} == {
            "open_clip_config.json",
            "open_clip_model.safetensors",
        }


def test_only_what_may_be_read_is_handed_on(folder: Path) -> None:
    with vetted_folder(folder, read_model_config(folder)) as vetted:
        assert not list(vetted.glob("*.py"))
    assert not vetted.exists()


def test_a_pipe_among_the_tokenizers_files_is_refused(
    folder: Path, sentinel: Path
) -> None:
    os.mkfifo(folder / "vocab.txt")
    _refused(folder, r"vocab\.txt is no regular file", sentinel)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "holds no JSON object"),
        (b"\xff", "not usable"),
        (b"[" * 100_000, "not usable"),
        (b" " * 9_000_000, "at most 8,388,608"),
    ],
)
def test_a_configuration_that_is_none(
    folder: Path, sentinel: Path, content: bytes, said: str
) -> None:
    (folder / "open_clip_config.json").write_bytes(content)
    _refused(folder, said, sentinel)


class _Hub:
    """Stands in for the hub: repository/file -> content."""

    def __init__(self, folder: Path, files: dict[str, object]) -> None:
        self.folder, self.files = folder, files

    def __call__(self, repository: str, filename: str, **_: object) -> str:
        key = f"{repository}/{filename}"
        if key not in self.files:
            raise huggingface_hub.errors.LocalEntryNotFoundError(key)
        path = self.folder / key.replace("/", "-")
        _write(path, self.files[key])
        return str(path)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("o/m/open_clip_config.json", {"auto_map": {}}, "the key 'auto_map'"),
        ("o/t/config.json", {**_TOWER, "auto_map": {}}, "the key 'auto_map'"),
        ("o/t/tokenizer_config.json", {"auto_map": {}}, "the key 'auto_map'"),
        ("o/t/tokenizer_config.json", {"tokenizer_class": "a.B"}, "tokenizer_class"),
    ],
)
def test_the_hubs_configurations_pass_through_the_same_check(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    content: dict[str, Any],
    said: str,
) -> None:
    sound = _config(hf_model_name="o/t", hf_tokenizer_name="o/t")
    files: dict[str, object] = {
        "o/m/open_clip_config.json": sound,
        "o/t/config.json": _TOWER,
        "o/t/tokenizer_config.json": {"do_lower_case": True},
    }
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", _Hub(tmp_path, files))
    assert read_hub_configs("o/m") == (sound, _TOWER)
    whole = sound if file.endswith("open_clip_config.json") else {}
    files[file] = {**whole, **content}
    with pytest.raises(BackboneError, match=said):
        read_hub_configs("o/m")


def test_a_folder_named_like_the_hubs_tokenizer_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "o" / "t").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    files: dict[str, object] = {
        "o/m/open_clip_config.json": _config(hf_tokenizer_name="o/t")
    }
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", _Hub(tmp_path, files))
    with pytest.raises(FileExistsError, match="a folder o/t lies here"):
        read_hub_configs("o/m")
