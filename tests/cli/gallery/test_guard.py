"""Who may ask the gallery, and what is served: without a browser."""

import logging
from collections.abc import Iterator

import pytest
from gallery_samples import AUTHOR, DATASET, gallery_store
from starlette.testclient import TestClient

from retune.cli.gallery.server import build_application
from retune.pipeline.app.gallery.gallery import Gallery
from retune.store import FeatureStore

_TOKEN, _PORT = "secret", 8765
_HOST = f"http://127.0.0.1:{_PORT}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return gallery_store(tmp_path_factory.mktemp("guard"), with_run=False)


def _client(store: FeatureStore, *, read_only: bool = False) -> TestClient:
    gallery = Gallery(store, AUTHOR, read_only=read_only)
    app = build_application(gallery, _TOKEN, _PORT)
    return TestClient(app, base_url=_HOST, follow_redirects=False)


@pytest.fixture
def stranger(store: FeatureStore) -> Iterator[TestClient]:
    """Knows no token."""
    with _client(store) as client:
        yield client


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    """Has opened the address that was printed."""
    assert stranger.get(f"/?token={_TOKEN}").status_code == 200
    return stranger


def test_the_token_becomes_a_cookie_that_scripts_and_sites_cannot_use(
    stranger: TestClient,
) -> None:
    cookie = stranger.get(f"/?token={_TOKEN}").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert stranger.get("/images").status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/images", "/?token=wrong", "/images?token=secret", "/tiles", "/map/points",
     "/picture?id=x", "/thumbnail?id=x", "/assets/grid.js", "/nothing"],
)  # fmt: skip
def test_without_the_token_nothing_is_served(
    stranger: TestClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "retune.gallery"):
        answer = stranger.get(path)
    assert answer.status_code == 403
    assert len(answer.text) < 100
    assert "403 GET" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8765"},
        {"host": f"127.0.0.1:{_PORT + 1}"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_other_names_and_other_sites_are_refused(
    client: TestClient, headers: dict[str, str]
) -> None:
    for path in ("/images", "/picture?id=x"):
        assert client.get(path, headers=headers).status_code == 403
    assert client.post("/note", headers=headers, data={}).status_code == 403


def test_a_form_of_another_page_is_refused(client: TestClient) -> None:
    answer = client.post(
        "/note", headers={"sec-fetch-site": "cross-site"}, data={"id": "x"}
    )
    assert answer.status_code == 403
    assert client.request("PUT", "/note").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/picture?id=../../etc/passwd",
        "/picture?id=/etc/passwd",
        "/picture",
        "/thumbnail?id=%2e%2e%2fstore%2fcatalog.duckdb",
        "/thumbnail?id=nothing/of/this/name.png",
        "/thumbnail?id=%00",
        "/image?id=nothing",
        "/assets/../server.py",
        "/assets/%2e%2e/server.py",
        "/assets/..%2fserver.py",
        "/assets/nothing.js",
        "/assets/",
        "/pages/base.html.j2",
        "/store/catalog.duckdb",
    ],
)
def test_paths_and_unknown_ids_lead_nowhere(
    client: TestClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "retune.gallery"):
        answer = client.get(path)
    assert answer.status_code == 404
    assert "404 GET" in caplog.text
    for secret in ("root:", "import ", "DUCK", "{%"):
        assert secret not in answer.text


def test_every_answer_has_a_strict_policy(client: TestClient) -> None:
    for path in ("/images", "/nothing", "/assets/grid.js", "/picture?id=x"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_pages_hold_no_script_style_or_address_of_their_own(client: TestClient) -> None:
    import re

    for path in ("/images", "/map", "/errors", "/runs", f"/image?id={DATASET}/001.png"):
        text = client.get(path).text
        assert not re.search(r"<script(?![^>]* src=)", text)
        assert " style=" not in text
        assert " onclick" not in text
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "https://" not in text


def test_hostile_names_are_text_in_pages(client: TestClient) -> None:
    for path in ("/images", "/tiles?count=60", "/map", f"/image?id={DATASET}/001.png"):
        answer = client.get(path)
        assert answer.status_code == 200
        if answer.headers["content-type"].startswith("text/html"):
            assert "<img src=x" not in answer.text
            assert "<script>alert" not in answer.text


def test_errors_of_forms_are_told_in_words(client: TestClient) -> None:
    for query, words in (
        ("where=nothing+%3D+1", "where"),
        ("where=1%29%3B+DROP+TABLE+images", "where"),
        (
            "where=%28SELECT+count%28*%29+FROM+read_csv%28%27/etc/passwd%27%29%29%3E0",
            "",
        ),
        ("age_from=old", "age"),
        ("sort=rowid;", "sorted"),
        ("state=maybe", "state"),
        ("among=gone", "no longer kept"),
    ):
        answer = client.get(f"/images?{query}")
        assert answer.status_code == 400, query
        assert words in answer.text
        assert "Traceback" not in answer.text
        assert "root:" not in answer.text


def test_forms_are_bounded(client: TestClient) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (
        client.post("/note", content=b"a" * 70_000, headers=headers).status_code == 413
    )
    assert client.post("/note", json={}).status_code == 415
    assert client.post("/selection", content=b"{").status_code == 400
    answer = client.post("/drop?name=x", content=b"nothing")
    assert answer.status_code == 400
    assert "PNG" in answer.json()["error"]


def test_a_read_only_gallery_takes_no_word(store: FeatureStore) -> None:
    with _client(store, read_only=True) as client:
        client.get(f"/?token={_TOKEN}")
        image = f"{DATASET}/001.png"
        page = client.get(f"/image?id={image}").text
        assert "/relabel" not in page
        for path, form in (
            ("/note", {"id": image, "text": "x"}),
            ("/relabel", {"id": image, "finding": "Edema", "state": "absent"}),
        ):
            answer = client.post(path, data=form)
            assert answer.status_code == 400
            assert "read-only" in answer.text
    assert store.sql("SELECT count(*) FROM old_labels").fetchall() == [(0,)]
