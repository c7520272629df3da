"""Without a network the hub's client is told so, instead of waiting half a minute."""

import os
import socket
from typing import Any

import pytest

from retune.pipeline.encode.backbones.hub import (
    go_offline_without_network,
    is_reachable,
)


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were looked up; every look-up fails."""
    asked: list[str] = []

    def refuse(host: str, *_: Any) -> None:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    # Set first, so that what the code sets is taken back after the test.
    monkeypatch.setenv("HF_HUB_OFFLINE", "")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return asked


def test_a_name_that_cannot_be_resolved_means_offline(lookups: list[str]) -> None:
    assert go_offline_without_network()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert lookups == ["huggingface.co"]


def test_another_hub_is_asked_for_by_its_name(
    lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.hospital.example:8443/models")
    assert go_offline_without_network()
    assert lookups == ["hub.hospital.example"]


def test_a_proxy_resolves_names_itself(lookups: list[str]) -> None:
    environment = {"HTTPS_PROXY": "http://proxy:3128"}
    assert is_reachable("https://huggingface.co", environment)
    assert lookups == []


@pytest.mark.parametrize(("choice", "offline"), [("0", False), ("1", True)])
def test_the_users_own_choice_stands(
    lookups: list[str], monkeypatch: pytest.MonkeyPatch, choice: str, offline: bool
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", choice)
    assert go_offline_without_network() is offline
    assert os.environ["HF_HUB_OFFLINE"] == choice
    assert lookups == []


def test_a_hub_that_answers_is_used(
    lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    assert not go_offline_without_network()
    assert "HF_HUB_OFFLINE" not in os.environ
    assert lookups == []
