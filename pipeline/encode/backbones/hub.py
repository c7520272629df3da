"""The hub client, told at once when there is no network.

Left to itself it asks for a file six times, with pauses that add up to half a minute,
even when the file is in its cache. Told to be offline it takes what is in the cache and
says at once what is not.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .configuration import check_config, read_json
from .text_tower import TOKENIZER_FILES, checked_tokenizer, checked_tower, known_tower

__all__ = [
    "fetch_model",
    "go_offline_without_network",
    "is_reachable",
    "read_hub_configs",
]

_ENDPOINT = "https://huggingface.co"
_PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def is_reachable(endpoint: str, environment: Mapping[str, str]) -> bool:
    """Whether a hub's name can be resolved; behind a proxy, which resolves it, yes.

    Args:
        endpoint: The hub's address.
        environment: With the names of proxies, if any.
    """
    if any(environment.get(name) for name in _PROXIES):
        return True
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, 443)
    except OSError:
        return False
    return True


def go_offline_without_network() -> bool:
    """Set ``HF_HUB_OFFLINE`` if the hub cannot be reached; a user's own choice stands.

    To be called before anything imports ``huggingface_hub``, which looks only once.

    Returns:
        Whether the client is offline.
    """
    if "HF_HUB_OFFLINE" not in os.environ:
        endpoint = os.environ.get("HF_ENDPOINT", _ENDPOINT)
        if not is_reachable(endpoint, os.environ):
            os.environ["HF_HUB_OFFLINE"] = "1"
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def read_hub_configs(name: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The checked configurations of a model on the hub.

    Args:
        name: ``ORG/NAME``.

    Returns:
        Its `open_clip_config.json`, and its text tower's `config.json` or None.

    Raises:
        BackboneError: One of them, or its tokenizer's, is refused.
        OSError: The hub or its cache does not have the first one.
    """
    from huggingface_hub import hf_hub_download

    config = read_json(Path(hf_hub_download(name, "open_clip_config.json")))
    check_config(config, f"hf-hub:{name}")
    text_cfg = config["model_cfg"]["text_cfg"]
    words = text_cfg.get("hf_tokenizer_name")
    if words:
        _refuse_folder(words)
        for file in ("tokenizer_config.json", "config.json"):
            hub_config = _optional(words, file)
            if hub_config is not None and file == "tokenizer_config.json":
                checked_tokenizer(hub_config, f"hf-hub:{words}, {file}")
            elif hub_config is not None:
                checked_tower(hub_config, f"hf-hub:{words}, {file}")
    tower = text_cfg.get("hf_model_name")
    if not tower:
        return config, None
    hub_config = _optional(tower, "config.json") or known_tower(tower)
    if hub_config is None:
        raise FileNotFoundError(f"the hub has no config.json of {tower}")
    return config, checked_tower(hub_config, f"hf-hub:{tower}, config.json")


def fetch_model(name: str, *, allow_pickle: bool) -> Path:
    """The folder of a model of transformers, fetched into the hub's cache.

    Only configurations, tokenizers and weights are fetched, never code.

    Args:
        name: ``ORG/NAME``.
        allow_pickle: Also fetch .bin files.

    Raises:
        OSError: The hub or its cache does not have it.
    """
    from huggingface_hub import snapshot_download

    wanted = [
        "config.json", "preprocessor_config.json", "tokenizer_config.json",
        "*.safetensors", "model.safetensors.index.json", *TOKENIZER_FILES,
    ]  # fmt: skip
    if allow_pickle:
        wanted.append("*.bin")
    return Path(snapshot_download(name, allow_patterns=wanted))


def _optional(name: str, file: str) -> dict[str, Any] | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return read_json(Path(hf_hub_download(name, file)))
    except EntryNotFoundError:
        return None


def _refuse_folder(name: str) -> None:
    """Transformers takes a folder of that name for the repository."""
    if Path(name).exists():
        raise FileExistsError(
            f"a folder {name} lies here and would be taken for the hub's tokenizer"
        )
