"""Models that open_clip builds of files, and the folders that the hub gives.

Configurations are checked before they are used, and weights are read as tensors only.
"""

import json
from pathlib import Path
from typing import Any

from retune.store.errors import BackboneError

from ..hub import fetch_model, read_hub_configs
from ..model_folder import (
    pickled_refused,
    read_model_config,
    tower_overrides,
    vetted_folder,
)
from ..source import HUB_PREFIX, LOCAL_PREFIX, BackboneSource, mini_files

__all__ = ["fetched_folder", "open_clip_model"]

OpenedModel = tuple[Any, Any, Any, dict[str, Any]]
_OFFLINE_HINT = (
    "Without a network: copy the model's folder (open_clip_config.json, weights, "
    "tokenizer files) to this machine and use `backbone` local-dir:PATH, or use "
    "`backbone` mini, which needs no download."
)


def fetched_folder(source: BackboneSource) -> Path:
    """The files of a model on the hub, in its cache.

    Args:
        source: Its origin is ``hf``, its location a name on the hub.

    Raises:
        BackboneError: The hub does not give the files.
    """
    try:
        return fetch_model(source.location, allow_pickle=source.allow_pickle)
    except Exception as error:  # of the hub's client, and of what it is made of
        raise _unusable(source, source.location, error) from error


def open_clip_model(source: BackboneSource) -> OpenedModel:
    """Have open_clip build the model of a source.

    Args:
        source: Its origin is ``mini``, ``local``, ``hub`` or ``tag``.

    Returns:
        The model, the transform of its pictures, its tokenizer and its `model_cfg`.

    Raises:
        BackboneError: Weights, configuration or tokenizer cannot be had.
    """
    if source.origin == "mini":
        from ..mini import build_mini

        return build_mini(*mini_files())
    if source.origin == "local":
        folder = Path(source.location)
        config = read_model_config(folder)
        with vetted_folder(folder, config, allow_pickle=source.allow_pickle) as vetted:
            tower = vetted / "config.json"
            named = json.loads(tower.read_bytes()) if tower.is_file() else None
            full = LOCAL_PREFIX + str(vetted)
            return _open(source, full, config["model_cfg"], tower=named)
    if source.origin == "hub":
        return _load_from_hub(source)
    return _load_tag(source)


def _load_from_hub(source: BackboneSource) -> OpenedModel:
    """A model of the hub; its configurations are checked before they are used."""
    try:
        config, tower = read_hub_configs(source.location.removeprefix(HUB_PREFIX))
    except BackboneError:
        raise
    except Exception as error:  # of the hub's client, and of what it is made of
        raise _unusable(source, source.location, error) from error
    return _open(source, source.location, config["model_cfg"], tower=tower)


def _load_tag(source: BackboneSource) -> OpenedModel:
    import open_clip

    full, _, pretrained = source.location.partition(":")
    config = open_clip.get_model_config(full)
    if config is None:
        raise BackboneError(
            f"open_clip has no model '{full}'",
            "`python -c 'import open_clip; print(open_clip.list_models())'` lists "
            "them. " + _OFFLINE_HINT,
        )
    file = Path(pretrained)
    if file.is_file() and file.suffix != ".safetensors" and not source.allow_pickle:
        raise pickled_refused(file)
    return _open(source, full, config, pretrained)


def _open(
    source: BackboneSource,
    full: str,
    config: dict[str, Any],
    pretrained: str | None = None,
    tower: dict[str, Any] | None = None,
) -> OpenedModel:
    """Have open_clip build a model whose configuration is in order.

    Weights are tensors only: safetensors, or what torch reads with weights_only, which
    executes nothing and refuses other pickles and TorchScript.
    """
    import open_clip

    text_cfg = config["text_cfg"]
    # Said outright: transformers would ask on a terminal.
    no_code = {"trust_remote_code": False} if text_cfg.get("hf_tokenizer_name") else {}
    try:
        with tower_overrides(text_cfg, tower) as overrides:
            model, transform = open_clip.create_model_from_pretrained(
                full, pretrained, weights_only=True, **overrides
            )
            tokenizer = open_clip.get_tokenizer(full, **no_code)
    # Files from elsewhere may make open_clip, torch, safetensors, transformers or the
    # hub's client raise anything at all.
    except Exception as error:
        raise _unusable(source, full, error) from error
    return model, transform, tokenizer, dict(config)


def _unusable(source: BackboneSource, full: str, error: Exception) -> BackboneError:
    said = f"cannot load the backbone '{source.name}' ({full}): {_first_line(error)}"
    if source.origin == "local":
        said = f"cannot load the backbone '{source.name}': {_first_line(error)}"
    return BackboneError(said, _OFFLINE_HINT)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
