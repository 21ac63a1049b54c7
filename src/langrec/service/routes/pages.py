"""The console's files: the page at /, its modules under /console, and the chart library of an installed package."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from importlib import metadata, resources
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response
from starlette.concurrency import run_in_threadpool

from langrec.service.guard import NotFound

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).parents[1] / "console"
_KINDS = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


@router.api_route("/", methods=["GET", "HEAD"])
async def index(request: Request) -> Response:
    return await run_in_threadpool(_file, request, FOLDER / "index.html")


@router.api_route("/favicon.ico", methods=["GET", "HEAD"])
async def icon(request: Request) -> Response:
    return await run_in_threadpool(_file, request, FOLDER / "icon.svg")


@router.api_route("/console/plotly.js", methods=["GET", "HEAD"])
async def charts(request: Request) -> Response:
    """The chart library: its version is in its tag, so a day's caching is safe."""
    path = Path(str(resources.files("plotly"))) / "package_data" / "plotly.min.js"
    tag = f'"plotly-{metadata.version("plotly")}"'
    headers = {"ETag": tag, "Cache-Control": "public, max-age=86400"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type="text/javascript", headers=headers)


@router.api_route("/console/{path:path}", methods=["GET", "HEAD"])
async def file(request: Request, path: str) -> Response:
    return await run_in_threadpool(_file, request, FOLDER / path)


def _file(request: Request, path: Path) -> Response:
    """A file of the console; asked for with its hash (?v=...) it may be kept for good, otherwise it is checked."""
    try:
        path = path.resolve()
        is_ours = path.is_relative_to(FOLDER.resolve()) and path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        is_ours = False
    if not is_ours:
        raise NotFound(f"there is no {request.url.path[:200]}")
    data = path.read_bytes()
    tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
    versioned = bool(request.query_params.get("v"))
    headers = {"ETag": tag, "Cache-Control": "public, max-age=31536000, immutable" if versioned else "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    kind = _KINDS.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        data = gzip.compress(data, compresslevel=6, mtime=0)
    return Response(data, media_type=kind, headers=headers)
