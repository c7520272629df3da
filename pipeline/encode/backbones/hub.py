"""The hub client, told at once when there is no network.

Left to itself it asks for a file six times, with pauses that add up to half a minute,
even when the file is in its cache. Told to be offline it takes what is in the cache and
says at once what is not.
"""

import os
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

__all__ = ["go_offline_without_network", "is_reachable"]

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
