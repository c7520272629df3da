"""The pages: each asks the gallery and fills a template."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from .drawing import heat_class, lines_of_curves

if TYPE_CHECKING:
    from retune.pipeline.app.gallery.gallery import Gallery

__all__ = [
    "render",
    "show_errors",
    "show_image",
    "show_images",
    "show_map",
    "show_points",
    "show_runs",
    "show_tiles",
]

#: Tiles in one part of a grid.
_PART, _MOST_PART = 60, 240
_KIND_WORDS = {
    "false-positives": "False positives, most confident first",
    "false-negatives": "False negatives, most confident first",
    "uncertain": "Least certain",
    "unfamiliar": "Unlike the training images",
    "suspects": "Labels that the last audit doubts",
}


def _gallery(request: Request) -> "Gallery":
    gallery: Gallery = request.app.state.gallery
    return gallery


def render(request: Request, name: str, **values: Any) -> HTMLResponse:
    """A page from its template."""
    gallery = _gallery(request)
    text = request.app.state.pages.get_template(name).render(
        path=request.url.path,
        author=gallery.author,
        read_only=gallery.read_only,
        store=gallery.store.path.name or str(gallery.store.path),
        asked=request.query_params.get("asked", ""),
        **values,
    )
    return HTMLResponse(text)


def show_images(request: Request) -> Response:
    """The grid; a search leads to the list that it found."""
    from retune.pipeline.app.gallery.grid import SORTS, STATES, Filters

    gallery = _gallery(request)
    given = dict(request.query_params)
    if given.get("q", "").strip():
        key, _ = gallery.find(given["q"].strip(), given.get("not", "").strip())
        words = {"among": key, "asked": given["q"].strip()}
        return RedirectResponse(f"/images?{urlencode(words)}", 303)
    filters = Filters.of(given)
    start = _number(given.get("start", ""), 0)
    images = gallery.choose(filters)
    tiles = gallery.tiles(images, start, _PART)
    return render(
        request,
        "images.html.j2",
        filters=filters,
        query=urlencode(filters.given()),
        choices=gallery.choices(),
        sorts=SORTS,
        states=STATES,
        images=images,
        tiles=tiles,
        start=start,
        part=_PART,
        without_list=urlencode(replace(filters, among="").given()),
    )


def show_tiles(request: Request) -> Response:
    """A further part of a grid."""
    from retune.pipeline.app.gallery.grid import Filters

    gallery = _gallery(request)
    given = dict(request.query_params)
    images = gallery.choose(Filters.of(given))
    count = min(_MOST_PART, _number(given.get("count", ""), _PART))
    tiles = gallery.tiles(images, _number(given.get("start", ""), 0), count)
    return JSONResponse({"total": len(images), "tiles": tiles})


def show_image(request: Request) -> Response:
    """One image with all that is known of it."""
    from retune.pipeline.app.gallery.grid import STATES

    gallery = _gallery(request)
    page = gallery.image(request.query_params.get("id", ""))
    if page is None:
        raise HTTPException(404)
    verdicts, problems = gallery.judge(page.image_id)
    known = {row.finding for row in page.labels}
    further = dict.fromkeys(
        name
        for verdict in verdicts
        for name in verdict.probability
        if name not in known
    )
    return render(
        request,
        "image.html.j2",
        page=page,
        states=STATES,
        verdicts=verdicts,
        problems=problems,
        further=list(further),
        neighbours=gallery.neighbours(page.image_id),
        others=gallery.others(page),
    )


def show_errors(request: Request) -> Response:
    """Where a run errs, or is least sure."""
    from retune.pipeline.app.gallery.grid import read_tiles
    from retune.pipeline.app.gallery.runs_page import read_runs_page
    from retune.pipeline.app.run_entries import list_runs

    gallery = _gallery(request)
    entries = list_runs(gallery.store)
    given = request.query_params
    if not entries:
        return render(
            request, "errors.html.j2", entries=[], run="", findings=(), finding="",
            kinds=_KIND_WORDS, kind="", tiles=[], n_found=0,
        )  # fmt: skip
    run = given.get("run") or entries[0].run_id
    findings = read_runs_page(gallery.store, [run]).findings
    finding = (given.get("finding") or findings[0]).replace("\r\n", "\n")
    if finding not in findings:  # of another run that was chosen before
        finding = findings[0]
    mistake: Any = given.get("kind") or "false-positives"
    mistakes = gallery.mistakes(run, finding, mistake)
    by_id = {one.image_id: one for one in mistakes}
    tiles = [
        {**tile, "mistake": by_id[tile["image_id"]]}
        for tile in read_tiles(gallery.store, list(by_id))
    ]
    return render(
        request, "errors.html.j2", entries=entries, run=run, findings=findings,
        finding=finding, kinds=_KIND_WORDS, kind=mistake, tiles=tiles,
        n_found=len(mistakes),
    )  # fmt: skip


def show_map(request: Request) -> Response:
    """The map of vectors; its points come when it is made."""
    from retune.pipeline.app.gallery.projection import method_of_map
    from retune.pipeline.app.run_entries import list_runs

    gallery = _gallery(request)
    return render(
        request,
        "map.html.j2",
        choices=gallery.choices(),
        entries=list_runs(gallery.store),
        method=method_of_map(),
    )


def show_points(request: Request) -> Response:
    """Points of the map with what colours them, or that it is being made."""
    gallery = _gallery(request)
    points = gallery.points()
    if points is None:
        return JSONResponse({"ready": False, "error": gallery.map_error})
    given = request.query_params
    by = given.get("by", "dataset")
    values = gallery.colours(
        points, by, given.get("finding", ""), given.get("run", "latest")
    )
    return JSONResponse(
        {
            "ready": True,
            "method": points.map.method,
            "total": points.map.n_vectors,
            "x": [round(float(x), 4) for x in points.map.xy[:, 0]],
            "y": [round(float(y), 4) for y in points.map.xy[:, 1]],
            "ids": points.image_ids,
            "values": values,
            "by": by,
        }
    )


def show_runs(request: Request) -> Response:
    """Runs side by side."""
    from retune.pipeline.app.gallery.runs_page import read_runs_page
    from retune.pipeline.app.run_entries import list_runs

    gallery = _gallery(request)
    entries = list_runs(gallery.store)
    chosen = request.query_params.getlist("run")
    page = read_runs_page(gallery.store, chosen) if entries else None
    return render(
        request,
        "runs.html.j2",
        entries=entries,
        page=page,
        chosen=[run.run_id for run in page.runs] if page else [],
        drawings={} if page is None else lines_of_curves(page.curves),
        heat=heat_class,
    )


def _number(text: str, default: int) -> int:
    return (
        int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
    )
