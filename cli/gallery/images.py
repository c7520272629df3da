"""Pictures and the files of pages: by id or by name, never by a path."""

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from retune.store.errors import ImageError

if TYPE_CHECKING:
    from retune.pipeline.app.gallery.gallery import Gallery

__all__ = ["show_asset", "show_picture", "show_thumbnail"]

_KINDS = {".css": "text/css", ".js": "text/javascript"}


def show_thumbnail(request: Request) -> Response:
    """The small picture of an image of the store."""
    gallery: Gallery = request.app.state.gallery
    return _answer(request, gallery.thumbnails.of, "image/jpeg")


def show_picture(request: Request) -> Response:
    """An image of the store at full size."""
    gallery: Gallery = request.app.state.gallery
    return _answer(request, gallery.picture, "image/png")


def _answer(request: Request, read: object, media_type: str) -> Response:
    assert callable(read)
    try:
        content = read(request.query_params.get("id", ""))
    except ImageError as error:
        # A picture that says so: a broken one says nothing.
        return Response(error.message, 410, media_type="text/plain")
    if content is None:
        raise HTTPException(404)
    return Response(content, media_type=media_type)


@cache
def _assets() -> dict[str, bytes]:
    folder = resources.files(__package__).joinpath("assets")
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


def show_asset(request: Request) -> Response:
    """A script or a style sheet of the gallery."""
    name = request.path_params["name"]
    media_type = _KINDS.get(name[name.rfind(".") :])
    if media_type is None or name not in _assets():
        raise HTTPException(404)
    return Response(_assets()[name], media_type=media_type)
