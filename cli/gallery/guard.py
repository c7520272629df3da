"""Who may ask the gallery: one browser on this machine that knows the token.

The address that is printed holds a random token. It becomes a cookie that scripts
cannot read and that other sites cannot send. A page of another site that points a name
of its own at 127.0.0.1 (DNS rebinding) is told by the Host header.
"""

import hmac
import logging
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..terminal.printing import visible

__all__ = ["Guard", "log"]

log: logging.Logger = logging.getLogger("retune.gallery")

#: Nothing from elsewhere, no script or style within a page, no frame around it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer" browsers would say that forms come from nowhere.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
# A page that leads on, not a redirect: a link in another program's page would count as
# that page's, and the browser would hold the new cookie back.
_ENTRANCE = """<!doctype html><html lang="en"><meta charset="utf-8">
<title>retune</title><meta http-equiv="refresh" content="0;url=/images">
<p><a href="/images">Open the gallery</a></p></html>"""


class Guard:
    """Lets requests through to the pages, or answers 403.

    Args:
        app: The pages.
        token: What a browser must know.
        port: That the server listens on.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        #: Browsers share cookies among the ports of a host.
        self._cookie = f"retune-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the gallery has no other; the server refuses it
        with_headers = _adding(send)
        request = Request(scope)
        reason = self._reason(request)
        answer: Response
        if reason is None and request.query_params.get("token"):
            answer = HTMLResponse(_ENTRANCE)
            answer.set_cookie(
                self._cookie, self._token, httponly=True, samesite="strict", path="/"
            )
            await answer(scope, receive, with_headers)
            return
        if reason is not None:
            told = f"403 {request.method} {request.url.path}: {reason}"
            log.warning("%s", visible(told))
            answer = PlainTextResponse(
                "403: open the address that `retune-cli view` printed\n", 403
            )
            await answer(scope, receive, with_headers)
            return
        await self._app(scope, receive, with_headers)

    def _reason(self, request: Request) -> str | None:
        """Why a request is refused; None if it is not."""
        headers = request.headers
        if headers.get("host", "") not in self._hosts:
            return f"for the host {headers.get('host', '')!r}"
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self._hosts:
            return f"from {origin!r}"
        if request.method not in ("GET", "HEAD", "POST"):
            return "method not allowed"
        if request.method == "POST" and not _is_own(headers):
            return "from another page"
        given = request.query_params.get("token")
        if given is not None and request.url.path == "/":
            return None if self._is_token(given) else "wrong token"
        known = request.cookies.get(self._cookie, "")
        return None if self._is_token(known) else "no token"

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


def _is_own(headers: Headers) -> bool:
    """Whether a page of the gallery sent a form: browsers say so, programs need not."""
    return headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")


def _adding(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [
                (name.lower().encode(), value.encode())
                for name, value in _HEADERS.items()
            ]
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return sending
