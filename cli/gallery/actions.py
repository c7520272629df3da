"""What a person does in the gallery: write, select, drop a file."""

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from retune.store.errors import ConfigurationError
from retune.store.plural import counted

if TYPE_CHECKING:
    from retune.pipeline.app.gallery.gallery import Gallery

__all__ = ["add_note", "drop_file", "make_selection", "relabel_image"]

_FORM_BYTES = 1 << 16
_SELECTION_BYTES = 1 << 22
_FILE_BYTES = 1 << 28


async def _body(request: Request, most: int) -> bytes:
    """What was sent, if it is not too much."""
    parts, n_bytes = [], 0
    async for part in request.stream():
        n_bytes += len(part)
        if n_bytes > most:
            raise HTTPException(413)
        parts.append(part)
    return b"".join(parts)


async def _form(request: Request) -> dict[str, str]:
    content_type = request.headers.get("content-type", "")
    if not content_type.startswith("application/x-www-form-urlencoded"):
        raise HTTPException(415)
    text = (await _body(request, _FORM_BYTES)).decode("utf-8", "replace")
    # Browsers send a line break of a name as two characters.
    pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=20)
    return {name: value.replace("\r\n", "\n") for name, value in pairs}


def _back_to(image_id: str, mark: str) -> Response:
    return RedirectResponse(f"/image?id={quote(image_id, safe='')}#{mark}", 303)


async def add_note(request: Request) -> Response:
    """Enter a remark on an image."""
    gallery: Gallery = request.app.state.gallery
    form = await _form(request)
    image_id = form.get("id", "")
    await run_in_threadpool(
        gallery.note, image_id, form.get("text", ""), form.get("finding", "")
    )
    return _back_to(image_id, "notes")


async def relabel_image(request: Request) -> Response:
    """Give a label another state."""
    gallery: Gallery = request.app.state.gallery
    form = await _form(request)
    image_id = form.get("id", "")
    await run_in_threadpool(
        gallery.relabel, image_id, form.get("finding", ""), form.get("state", "")
    )
    return _back_to(image_id, "labels")


async def make_selection(request: Request) -> Response:
    """Keep the points that were drawn round in the map as a list of images."""
    gallery: Gallery = request.app.state.gallery
    try:
        places = json.loads(await _body(request, _SELECTION_BYTES))
        wanted = sorted({int(position) for position in places})
    except (ValueError, TypeError) as error:
        raise HTTPException(400) from error
    points = await run_in_threadpool(gallery.points)
    if points is None:
        raise HTTPException(409)
    ids = [
        image_id
        for position in wanted
        if 0 <= position < len(points.image_ids)
        and (image_id := points.image_ids[position]) is not None
    ]
    key = gallery.keep_ids(ids, f"{counted(len(ids), 'image')} selected in the map")
    return JSONResponse({"address": f"/images?among={quote(key)}"})


async def drop_file(request: Request) -> Response:
    """Search for images like a file; it is not kept and touches no disk."""
    gallery: Gallery = request.app.state.gallery
    content = await _body(request, _FILE_BYTES)
    name = request.query_params.get("name", "a file")[:200]
    try:
        key = await run_in_threadpool(_find_like, gallery, content, name)
    except ConfigurationError as error:
        return JSONResponse({"error": error.message}, 400)
    except _UnusableFileError as error:
        return JSONResponse({"error": str(error)}, 400)
    return JSONResponse({"address": f"/images?among={quote(key)}"})


class _UnusableFileError(Exception):
    """A dropped file that is no picture."""


def _find_like(gallery: "Gallery", content: bytes, name: str) -> str:
    from retune.pipeline.encode.images.decode import decode_image
    from retune.store.errors import ImageError

    try:
        picture = decode_image(content)
        key, _ = gallery.find_like(picture, name)
    except ImageError as error:
        raise _UnusableFileError(error.message) from error
    return key
