"""An HTTP server on loopback that speaks OpenAI's chat protocol, and misbehaves."""

import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from retune.pipeline.descriptions import load_descriptions

__all__ = ["ChatServer", "chat_server", "good_answer"]


def good_answer(finding: str, n: int = 8) -> dict[str, list[str]]:
    """Sentences that pass: those that ship with retune."""
    rows = load_descriptions("default", [finding])
    return {
        polarity: [row.text for row in rows if row.polarity == polarity][:n]
        for polarity in ("positive", "negative")
    }


class ChatServer(ThreadingHTTPServer):
    """Answers about each finding as scripted, then normally.

    Attributes:
        script: Finding -> what to do with its next requests: ``normal``, ``slow``,
            a status such as ``429``, ``broken`` (half of the response's JSON), ``cut``
            (the answer stops in the middle), ``schema`` (other keys), ``fence``,
            ``refuse``, ``hang up`` (before a byte), ``break off`` (in the middle of the
            response), ``drip`` (a byte now and then), ``html``, or an
            answer as a dictionary.
        unsupported: Words of the request that are answered with `refusal_status`.
        refusal_status: 400, as the protocol wants, or what some servers give.
        raw: Request lines, headers and bodies, every byte that came, in order.
        requests: Bodies that came, in order.
        headers: Headers that came, in order.
        asked: Names of findings that were asked about, in order.
        released: Set it to let slow answers go.
        reached: Is set when a slow request has come.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: dict[str, list[Any]] = defaultdict(list)
        self.unsupported: list[str] = []
        self.refusal_status = 400
        self.raw: list[bytes] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.asked: list[str] = []
        self.released = threading.Event()
        self.reached = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        request = json.loads(body)
        self.server.raw.append(
            self.raw_requestline + self.headers.as_bytes().strip() + b"\n\n" + body
        )
        self.server.requests.append(request)
        self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
        for word in self.server.unsupported:
            if word in body.decode():
                said = {"error": {"message": f"{word} is not supported"}}
                self._send(self.server.refusal_status, said)
                return
        said = request["messages"][1]["content"]
        finding = re.findall(r"^Finding: (.*)\.$", said, re.MULTILINE)[0]
        self.server.asked.append(finding)
        script = self.server.script[finding]
        self._act(script.pop(0) if script else "normal", finding)

    def _act(self, deed: Any, finding: str) -> None:
        answer = json.dumps(good_answer(finding)) if not isinstance(deed, dict) else ""
        if isinstance(deed, dict):
            self._answer(json.dumps(deed))
        elif deed == "slow":
            self.server.reached.set()
            self.server.released.wait(30)
            self._answer(answer)
        elif deed == "hang up":
            self.close_connection = True
            self.connection.close()
        elif deed == "drip":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            while not self.server.released.wait(0.05):
                self.wfile.write(b" ")
        elif deed == "break off":
            self.send_response(200)
            self.send_header("content-length", "1000")
            self.end_headers()
            self.wfile.write(b'{"id": "1", "choices": [')
            self.close_connection = True
        elif isinstance(deed, int):
            self._send(deed, {"error": {"message": f"scripted {deed}"}})
        elif deed == "broken":
            self._send(200, None, b'{"id": "1", "choices": [{"mess')
        elif deed == "html":
            self._send(200, None, b"<html>hello</html>")
        elif deed == "cut":
            self._answer(answer[: len(answer) // 3], finish="length")
        elif deed == "schema":
            self._answer('{"sentences": ["one", "two"]}')
        elif deed == "fence":
            self._answer(f"Here you are:\n```json\n{answer}\n```\nAnything else?")
        elif deed == "refuse":
            self._answer(None, refusal="I cannot help with medical texts.")
        else:
            assert deed == "normal", deed
            self._answer(answer)

    def _answer(
        self, text: str | None, finish: str = "stop", refusal: str | None = None
    ) -> None:
        message = {"role": "assistant", "content": text, "refusal": refusal}
        choice = {"index": 0, "finish_reason": finish, "message": message}
        usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        self._send(
            200,
            {
                "id": "chat-1", "object": "chat.completion", "created": 1,
                "model": "sample-7b-resolved", "choices": [choice], "usage": usage,
            },
        )  # fmt: skip

    def _send(self, code: int, content: Any, raw: bytes | None = None) -> None:
        body = json.dumps(content).encode() if raw is None else raw
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if code in (429, 500):
            self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
        """Say nothing."""


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """A server that runs until the end of the block."""
    server = ChatServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
