"""The gallery's pages as one application, and the server that they come from."""

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import resources
from typing import TYPE_CHECKING

import jinja2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from retune.pipeline.report.text_table import escaped
from retune.store.errors import ConfigurationError, QueryError, RetuneError

from ..terminal.printing import visible
from .actions import add_note, drop_file, make_selection, relabel_image
from .guard import Guard, log
from .images import show_asset, show_picture, show_thumbnail
from .views import (
    show_errors,
    show_image,
    show_images,
    show_map,
    show_points,
    show_runs,
    show_tiles,
)

if TYPE_CHECKING:
    from retune.pipeline.app.gallery.gallery import Gallery

__all__ = ["build_application", "serve"]


def build_application(gallery: "Gallery", token: str, port: int) -> Guard:
    """The pages of a gallery behind their guard.

    Args:
        gallery: Answers the questions.
        token: What a browser must know.
        port: That the server will listen on.
    """
    app = Starlette(
        routes=[
            Route("/", show_images),
            Route("/images", show_images),
            Route("/tiles", show_tiles),
            Route("/image", show_image),
            Route("/errors", show_errors),
            Route("/map", show_map),
            Route("/map/points", show_points),
            Route("/runs", show_runs),
            Route("/thumbnail", show_thumbnail),
            Route("/picture", show_picture),
            Route("/assets/{name}", show_asset),
            Route("/favicon.ico", lambda _: Response(status_code=204)),
            Route("/note", add_note, methods=["POST"]),
            Route("/relabel", relabel_image, methods=["POST"]),
            Route("/selection", make_selection, methods=["POST"]),
            Route("/drop", drop_file, methods=["POST"]),
        ],
        exception_handlers={
            RetuneError: _tell,
            404: _tell_missing,
            405: _tell_missing,
            Exception: _tell_fault,
        },
    )
    app.state.gallery = gallery
    app.state.pages = _pages()
    return Guard(app, token, port)


def _pages() -> jinja2.Environment:
    folder = resources.files(__package__).joinpath("pages")
    texts = {
        entry.name: entry.read_text("utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".j2")
    }
    pages = jinja2.Environment(
        loader=jinja2.DictLoader(texts),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["line"] = lambda text: escaped(str(text))
    return pages


def _tell(request: Request, error: Exception) -> Response:
    assert isinstance(error, RetuneError)
    status = 400 if isinstance(error, ConfigurationError | QueryError) else 500
    if status == 500:
        log.error("%s", visible(f"{request.url.path}: {error.message}"))
    return _message(request, status, error.message, error.hint)


def _tell_missing(request: Request, error: Exception) -> Response:
    status = int(getattr(error, "status_code", 404))
    told = f"{status} {request.method} {request.url.path}"
    log.warning("%s", visible(told))
    return _message(request, status, "There is no such page or image.", "")


def _tell_fault(request: Request, error: Exception) -> Response:
    log.error("%s", visible(f"{type(error).__name__}: {error}"))
    return _message(
        request,
        500,
        f"unexpected {type(error).__name__}: {error}",
        "This is a fault of retune. Please report it.",
    )


def _message(request: Request, status: int, message: str, hint: str) -> Response:
    if "text/html" not in request.headers.get("accept", "text/html"):
        return PlainTextResponse(f"{message}\n{hint}".strip() + "\n", status)
    from .views import render

    page = render(request, "message.html.j2", status=status, message=message, hint=hint)
    page.status_code = status
    return page


def serve(gallery: "Gallery", token: str, port: int, ready: Callable[[], None]) -> None:
    """Serve a gallery on 127.0.0.1 until Ctrl-C.

    Args:
        gallery: Answers the questions.
        token: What a browser must know.
        port: To listen on; it must be free.
        ready: Called when requests are answered.
    """
    import uvicorn

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)

    class _Server(uvicorn.Server):
        async def startup(self, sockets: object = None) -> None:
            await super().startup(sockets)  # type: ignore[arg-type]
            if self.started:
                ready()

    config = uvicorn.Config(
        build_application(gallery, token, port),
        host="127.0.0.1",
        port=port,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    with suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
        _Server(config).run()
