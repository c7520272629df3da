"""The stage `describe` against a real HTTP server, well-behaved and not."""

import asyncio
import getpass
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from language_server import ChatServer, chat_server, good_answer
from store_samples import filled_store

from retune.pipeline.describe.answers import ANSWER_SCHEMA
from retune.pipeline.describe.describing import (
    DescribeRequest,
    describe,
    planned_messages,
)
from retune.pipeline.describe.instruction import digest_of
from retune.pipeline.describe.language_model import Sampling
from retune.pipeline.describe.members import find_set
from retune.pipeline.describe.validation import Problem, Requirements
from retune.store import FeatureStore
from retune.store.description_sets import list_sets
from retune.store.errors import ConfigurationError, LanguageModelError

_TWO = ("Edema", "Fracture")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def request(server: ChatServer, **changes: Any) -> DescribeRequest:
    plain = DescribeRequest(
        _TWO,
        "sample",
        server.url,
        n=8,
        set_name="mine",
        sampling=Sampling(timeout_seconds=20.0, retries=2),
    )
    return replace(plain, **changes)


def texts(store: FeatureStore, finding: str) -> dict[str, list[str]]:
    _, members = find_set(store, "mine")
    return {
        polarity: [
            m.description.text
            for m in members
            if (m.description.finding, m.description.polarity) == (finding, polarity)
        ]
        for polarity in ("positive", "negative")
    }


def test_a_set_holds_what_was_answered_and_where_it_came_from(
    store: FeatureStore, server: ChatServer
) -> None:
    asked = request(server)
    summary = describe(store, asked)
    row, members = find_set(store, "mine")
    assert texts(store, "Edema") == good_answer("Edema")
    assert (row.made_by, row.language, row.n_sentences) == ("describe", "en", 32)
    assert (summary.findings, summary.sentences, summary.refused) == (2, 32, 0)
    assert (summary.requests, summary.tokens_in, summary.tokens_out) == (2, 200, 100)
    origin = members[0].origin
    assert origin is not None
    assert origin.requested_model == "sample"
    assert origin.resolved_model == members[0].description.model == "sample-7b-resolved"
    assert origin.host == server.url.removeprefix("http://").removesuffix("/v1")
    assert json.loads(origin.parameters) == {
        "response_format": "schema", "seed": 0, "temperature": 0.7
    }  # fmt: skip
    assert origin.seed == 0
    assert (origin.template, origin.template_version) == (
        asked.instruction.template,
        asked.instruction.version,
    )
    assert origin.template_digest == asked.instruction.digest
    assert origin.prompt_digest == digest_of(planned_messages(asked)["Edema"])
    assert len(origin.response_digest) == 32
    assert origin.asked_at.startswith("20")
    assert not any(m.accepted or m.description.edited for m in members)


def test_nothing_leaves_but_finding_names_and_the_instruction(
    tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "secret-organisation")
    monkeypatch.setenv("RETUNE_LLM_KEY", "the-key")
    store = filled_store(tmp_path / "patients-of-ward-7")
    wrong = {"positive": ["The weather is fine."], "negative": []}
    server.script["Edema"] = [wrong]
    asked = request(server)
    describe(store, replace(asked, concurrency=1))
    first = [body for body in server.requests if "cannot be used" not in str(body)]
    planned = planned_messages(asked)
    schema = {"name": "descriptions", "strict": True, "schema": ANSWER_SCHEMA}
    fixed = {
        "model": "sample",
        "response_format": {"type": "json_schema", "json_schema": schema},
        "temperature": 0.7,
    }
    for body in server.requests:
        assert {k: v for k, v in body.items() if k not in ("messages", "seed")} == fixed
        assert body["seed"] in (0, 1)
    assert [body["messages"] for body in first] == list(planned.values())
    for raw in server.raw:
        line, headers, body = _parted(raw)
        assert line == "POST /v1/chat/completions HTTP/1.1"
        assert headers == {
            "host": server.url.removeprefix("http://").removesuffix("/v1"),
            "accept": "application/json",
            "accept-encoding": headers["accept-encoding"],
            "authorization": "Bearer the-key",
            "connection": "keep-alive",
            "content-length": str(len(body)),
            "content-type": "application/json",
            "user-agent": "retune",
        }
        assert set(headers["accept-encoding"].split(", ")) <= _ENCODINGS
    again = [body for body in server.requests if body not in first]
    # Asked again, the model's own sentence and its fault are all that is added.
    assert len(again) == 1
    said = again[0]["messages"][1]["content"].split("\n")
    added = [line for line in said if line.startswith("- ")]
    assert len(added) == 1
    assert added[0].startswith("- The weather is fine. (names neither Edema nor")
    everything = b"".join(server.raw).decode()
    rows = store.sql("SELECT image_id, path, patient_id FROM images").fetchall()
    private = {str(value) for row in rows for value in row if len(str(value)) > 3}
    private |= {
        *("secret-organisation", "patients-of-ward-7", str(tmp_path)),
        *(socket.gethostname(), sys.version.split()[0], sys.platform),
    }
    assert private
    assert not [value for value in private if value in everything]
    if len(getpass.getuser()) > 4:
        assert getpass.getuser() not in everything


_ENCODINGS = {"gzip", "deflate", "br", "zstd"}


def _parted(raw: bytes) -> tuple[str, dict[str, str], bytes]:
    """Request line, headers and body of a request."""
    head, body = raw.split(b"\n\n", 1)
    line, *headers = head.decode().splitlines()
    pairs = [header.split(": ", 1) for header in headers]
    return line, {name.lower(): value for name, value in pairs}, body


@pytest.mark.parametrize("deed", [429, 500, 503, "hang up", "break off"])
def test_failures_that_pass_are_asked_again(
    store: FeatureStore, server: ChatServer, deed: Any
) -> None:
    server.script["Edema"] = [deed]
    describe(store, request(server))
    assert server.asked.count("Edema") == 2
    assert texts(store, "Edema") == good_answer("Edema")


@pytest.mark.parametrize("deed", ["cut", "schema", "refuse", "broken", "html"])
def test_answers_that_hold_too_little_are_asked_again(
    store: FeatureStore, server: ChatServer, deed: str
) -> None:
    server.script["Edema"] = [deed]
    problems: list[Problem] = []
    asked = request(server, concurrency=1)
    describe(store, asked, on_refused=lambda _, problem: problems.append(problem))
    again = server.requests[1]["messages"][1]["content"]
    assert server.asked.count("Edema") == 2
    _, members = find_set(store, "mine")
    edema = [m for m in members if m.description.finding == "Edema"]
    assert len(edema) == 16
    assert edema[-1].origin is not None
    assert edema[-1].origin.seed == 1
    if deed == "cut":
        kept = [line for line in again.split("\n") if line.startswith("- ")]
        assert kept
    else:
        assert [problem.rule for problem in problems] == ["answer"]
        assert ("refused" in problems[0].reason) == (deed == "refuse")


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        (429, "answered 429: scripted 429"),
        (500, "answered 500"),
        ("hang up", "connection"),
        ("break off", "connection"),
        ("broken", "not of OpenAI's chat protocol"),
        ("html", "not of OpenAI's chat protocol"),
        ("schema", "no sentences under 'positive' and 'negative'"),
        ("refuse", "I cannot help with medical texts."),
    ],
)
def test_what_stays_broken_is_named_and_the_rest_is_kept(
    store: FeatureStore, server: ChatServer, deed: Any, said: str
) -> None:
    server.script["Edema"] = [deed] * 20
    asked = request(server, sampling=Sampling(timeout_seconds=20.0, retries=1))
    with pytest.raises(LanguageModelError) as caught:
        describe(store, asked)
    assert "Edema: " in caught.value.message
    assert said in caught.value.message
    assert "1 finding is kept" in caught.value.hint
    assert "answers came: " in caught.value.hint
    assert not list_sets(store)
    server.script.clear()
    server.asked.clear()
    summary = describe(store, asked)
    assert server.asked == ["Edema"]
    assert (summary.resumed, summary.sentences) == (1, 32)


@pytest.mark.parametrize("deed", ["slow", "drip"])
def test_a_slow_server_is_given_up_after_the_time_limit(
    store: FeatureStore, server: ChatServer, deed: str
) -> None:
    server.script["Edema"] = [deed]
    asked = request(server, sampling=Sampling(timeout_seconds=0.5, retries=0))
    with pytest.raises(LanguageModelError, match=r"did not answer within 0\.5 s"):
        describe(store, asked)


@pytest.mark.parametrize(
    ("code", "hint"), [(401, "RETUNE_LLM_KEY"), (403, "KEY"), (404, "/v1")]
)
def test_a_server_that_cannot_be_used_ends_it_at_once(
    store: FeatureStore, server: ChatServer, code: int, hint: str
) -> None:
    server.script["Edema"] = [code]
    with pytest.raises(LanguageModelError, match=f"answered {code}") as caught:
        describe(store, request(server, concurrency=1))
    assert hint in caught.value.hint
    assert server.asked == ["Edema"]


def test_a_server_without_structured_output_gets_json_mode_then_none(
    store: FeatureStore, server: ChatServer
) -> None:
    server.unsupported = ["json_schema", "json_object"]
    server.script["Edema"] = ["fence"]
    describe(store, request(server, concurrency=1))
    forms = [body.get("response_format", {}).get("type") for body in server.requests]
    assert forms == ["json_schema", "json_object", None, None]
    _, members = find_set(store, "mine")
    origin = members[0].origin
    assert origin is not None
    assert json.loads(origin.parameters)["response_format"] == "text"


def test_a_parameter_that_is_refused_is_left_out_and_recorded(
    store: FeatureStore, server: ChatServer
) -> None:
    server.unsupported = ["temperature", "seed"]
    describe(store, request(server))
    _, members = find_set(store, "mine")
    origin = members[0].origin
    assert origin is not None
    assert origin.seed is None
    assert json.loads(origin.parameters) == {"response_format": "schema"}


@pytest.mark.parametrize("status", [404, 500, 501])
def test_a_form_that_is_refused_with_another_status_gives_way_too(
    store: FeatureStore, server: ChatServer, status: int
) -> None:
    server.unsupported = ["response_format"]
    server.refusal_status = status
    sampling = Sampling(timeout_seconds=20.0, retries=0)
    describe(store, request(server, sampling=sampling))
    _, members = find_set(store, "mine")
    assert members[0].origin is not None
    assert json.loads(members[0].origin.parameters)["response_format"] == "text"


def test_a_request_that_is_refused_altogether_is_told(
    store: FeatureStore, server: ChatServer
) -> None:
    server.unsupported = ["messages"]
    with pytest.raises(LanguageModelError, match="messages is not supported"):
        describe(store, request(server))


def test_sentences_that_break_a_rule_are_told_and_asked_again(
    store: FeatureStore, server: ChatServer
) -> None:
    mixed = good_answer("Edema")
    mixed["positive"][0] = "There is no pulmonary edema."
    mixed["negative"][7] = "A large pneumothorax on the left."
    server.script["Edema"] = [mixed]
    problems: list[Problem] = []
    describe(
        store, request(server), on_refused=lambda _, problem: problems.append(problem)
    )
    rules = {(problem.text, problem.rule) for problem in problems}
    assert (mixed["positive"][0], "polarity") in rules
    assert (mixed["negative"][7], "other finding") in rules
    again = next(b for b in server.requests if "cannot be used" in str(b))
    said = again["messages"][1]["content"]
    assert "Write 1 more positive and 1 more negative sentences" in said
    assert f"- {mixed['positive'][0]} (" in said
    sets = texts(store, "Edema")
    assert mixed["positive"][0] not in sets["positive"]
    assert {len(sentences) for sentences in sets.values()} == {8}


def test_accept_anyway_keeps_and_records_what_failed(
    store: FeatureStore, server: ChatServer
) -> None:
    mixed = good_answer("Edema")
    mixed["positive"][0] = "There is no pulmonary edema."
    server.script["Edema"] = [mixed] * 10
    with pytest.raises(LanguageModelError, match="only 7 of 8 positive"):
        describe(store, request(server))
    summary = describe(store, request(server, accept_anyway=True))
    assert summary.accepted == 1
    _, members = find_set(store, "mine")
    kept = {m.description.text: m.accepted for m in members if m.accepted}
    assert list(kept) == [mixed["positive"][0]]
    assert "polarity" in kept[mixed["positive"][0]]
    rows = store.sql(
        """SELECT text, accepted FROM descriptions JOIN description_origins
        USING (description_id) WHERE len(accepted) > 0"""
    ).fetchall()
    assert [row[0] for row in rows] == list(kept)


def test_accept_anyway_records_that_there_are_too_few(
    store: FeatureStore, server: ChatServer
) -> None:
    few = good_answer("Edema", 3)
    few["negative"] = good_answer("Edema")["negative"]
    server.script["Edema"] = [few] * 3
    summary = describe(store, request(server, accept_anyway=True))
    assert (summary.sentences, summary.accepted) == (27, 3)
    _, members = find_set(store, "mine")
    short = {m.description.text: m.accepted for m in members if m.accepted}
    assert short == dict.fromkeys(few["positive"], ("count",))


def test_accept_anyway_does_not_settle_for_less_when_the_server_fails(
    store: FeatureStore, server: ChatServer
) -> None:
    server.script["Edema"] = [good_answer("Edema", 3), 503, 503, 503]
    with pytest.raises(LanguageModelError, match=r"Edema: .* answered 503"):
        describe(store, request(server, accept_anyway=True))
    assert describe(store, request(server, accept_anyway=True)).accepted == 0
    assert texts(store, "Edema") == good_answer("Edema")


def test_accept_anyway_needs_a_sentence_of_each_polarity(
    store: FeatureStore, server: ChatServer
) -> None:
    server.script["Edema"] = ["refuse"] * 5
    with pytest.raises(LanguageModelError, match="refused"):
        describe(store, request(server, accept_anyway=True))


def test_sets_never_change(store: FeatureStore, server: ChatServer) -> None:
    describe(store, request(server))
    with pytest.raises(ConfigurationError, match="sets never change"):
        describe(store, request(server, findings=("Mass",)))
    with pytest.raises(ConfigurationError, match="shipped"):
        request(server, set_name="default")
    with pytest.raises(ConfigurationError, match="cannot name a set"):
        request(server, set_name="a/b")


def test_an_unfinished_set_is_not_continued_with_other_options(
    store: FeatureStore, server: ChatServer
) -> None:
    server.script["Edema"] = [404]
    with pytest.raises(LanguageModelError):
        describe(store, request(server, findings=("Fracture", "Edema"), concurrency=1))
    with pytest.raises(ConfigurationError, match="other options"):
        describe(store, request(server, requirements=Requirements(language="de")))


def test_without_a_name_the_same_request_is_the_same_set(
    store: FeatureStore, server: ChatServer
) -> None:
    asked = request(server, set_name=None, model="org/Model:7b")
    first = describe(store, asked)
    again = describe(store, asked)
    assert first.set_name == again.set_name == asked.name
    assert asked.name.startswith("org-Model-7b-")
    assert again.already_there
    assert len(server.requests) == 2
    assert asked.name != replace(asked, n=9).name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"findings": ()}, "no finding"),
        ({"findings": ("Edema", "edema")}, "named twice"),
        ({"findings": ("No Finding",)}, "not a finding"),
        ({"base_url": "localhost:11434"}, "not the address"),
        ({"base_url": "http://host:port/v1"}, "not the address"),
        ({"base_url": "http://[::1/v1"}, "not the address"),
        ({"base_url": "http://me:secret@host/v1"}, "of host holds a user name"),
        ({"base_url": "http://host/v1?key=secret"}, "of host holds .* a query"),
    ],
)
def test_requests_that_make_no_sense_are_refused(
    server: ChatServer, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        request(server, **changes)
    assert "secret" not in f"{caught.value.message} {caught.value.hint}"


def test_without_the_client_it_says_what_to_install(
    store: FeatureStore, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigurationError) as caught:
        describe(store, request(server))
    assert "pip install 'retune-cli[llm]'" in caught.value.hint


def test_requests_go_out_side_by_side_but_not_too_many(
    store: FeatureStore, server: ChatServer
) -> None:
    for finding in ("Edema", "Fracture", "Mass"):
        server.script[finding] = ["slow"]
    asked = request(
        server,
        findings=("Edema", "Fracture", "Mass"),
        concurrency=2,
        sampling=Sampling(timeout_seconds=1.0, retries=0),
    )
    with pytest.raises(LanguageModelError):
        describe(store, asked)
    # Two wait until their time is up; only then is the third asked about.
    assert sorted(server.asked[:2]) == ["Edema", "Fracture"]
    assert server.asked[2:] == ["Mass"]


def test_it_works_within_a_running_event_loop(
    store: FeatureStore, server: ChatServer
) -> None:
    """As in a Jupyter cell."""

    async def cell() -> str:
        return describe(store, request(server)).set_name

    assert asyncio.run(cell()) == "mine"
    assert [row.set_name for row in list_sets(store)] == ["mine"]


def test_an_error_comes_out_of_a_running_event_loop(
    store: FeatureStore, server: ChatServer
) -> None:
    server.shutdown()
    server.server_close()

    async def cell() -> None:
        describe(store, request(server, sampling=Sampling(retries=0)))

    with pytest.raises(LanguageModelError):
        asyncio.run(cell())
