"""The search page: a sentence in, clips out, each from its second; and the same as JSON.

Titles and captions come from strangers: the templates escape them, and the page's policy lets
nothing run but its own script.
"""

import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlencode

import jinja2
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from howto100m.features.decode import still
from howto100m.find.batches import Batches
from howto100m.find.finder import Finder, Found
from howto100m.kinds import ItemError, UserError
from howto100m.report.plots import jpeg

log = logging.getLogger(__name__)

STILL_WIDTH = 320
STILLS_KEPT = 4096
"""Pictures in memory, of about 10 KB each."""
RESULTS = 12
"""Clips on a page that asks for no number."""
KNOWN = ("q", "k", "category")
"""Parameters of a search."""
YOUTUBE = "https://www.youtube-nocookie.com"
THUMBNAILS = "https://i.ytimg.com"
HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src 'self' {THUMBNAILS}",
            "media-src 'self'",
            f"frame-src {YOUTUBE}",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    # YouTube's player asks for a referrer; it learns the page's origin, not what was asked.
    "Referrer-Policy": "strict-origin-when-cross-origin",
}


def serve(index: Path, host: str, port: int) -> None:
    """Serve the index in a folder until the process is told to stop.

    Raises UserError when the index cannot be opened, or the address is taken.
    """
    finder = Finder.open(index)
    try:
        door = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except OSError as error:
        raise UserError(f"{host}:{port} cannot be had ({error}): give another --port") from None
    name = f"[{host}]" if ":" in host else host
    log.info(
        "%d clips of %s on http://%s:%d/ (Ctrl-C ends it)",
        finder.description.clips,
        finder.description.run,
        name,
        door.getsockname()[1],
    )
    config = uvicorn.Config(make_app(finder, host), log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[door])


def make_app(finder: Finder, host: str = "127.0.0.1") -> Starlette:
    """The application. On a loopback address it answers to local names alone, so that no page of
    another site reaches it by a name that points here."""
    batches = Batches(finder)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        async with batches:
            yield

    pages = _Pages(finder, batches)
    names = ["127.0.0.1", "localhost", "[::1]", host] if _is_local(host) else ["*"]
    return Starlette(
        routes=[
            Route("/", pages.page),
            Route("/api/search", pages.search),
            Route("/media/{video_id}", pages.media),
            Route("/still/{video_id}/{second:float}", pages.picture),
            Mount("/static", StaticFiles(packages=[("howto100m.find", "static")])),
        ],
        middleware=[
            Middleware(_Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False),
        ],
        exception_handlers={UserError: _wrong, HTTPException: _wrong, Exception: _broken},
        lifespan=life,
    )


class _Pages:
    """What each address answers."""

    def __init__(self, finder: Finder, batches: Batches):
        self.finder = finder
        self.batches = batches
        templates = jinja2.Environment(
            loader=jinja2.PackageLoader("howto100m", "find"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
        )
        self.template = templates.get_template("page.html.j2")
        self.still = lru_cache(STILLS_KEPT)(_still)

    async def page(self, request: Request) -> Response:
        """The page: with ?q= the clips, without it the box alone."""
        values = {"q": "", "k": RESULTS, "category": "", "shown": [], "message": "", "unknown": ()}
        status = HTTPStatus.OK
        if "q" in request.query_params:
            values["q"] = request.query_params["q"]
            values["category"] = request.query_params.get("category", "")
            try:
                found, asked = await self._ask(request, RESULTS)
            except UserError as error:
                values["message"], status = str(error), HTTPStatus.BAD_REQUEST
            else:
                values |= {"k": asked["k"], "unknown": asked["unknown"]}
                values["shown"] = [self._shown(clip) for clip in found]
        description = self.finder.description
        text = self.template.render(
            **values, clips=description.clips, categories=[*filter(None, self.finder.categories)]
        )
        return HTMLResponse(text, status)

    async def search(self, request: Request) -> Response:
        """The clips as JSON. Raises UserError for parameters that are wrong or not known."""
        for name in request.query_params:
            if name not in KNOWN:
                raise UserError(f"{name} is no parameter: give {', '.join(KNOWN)}")
        if "q" not in request.query_params:
            raise UserError("q is missing: /api/search?q=cut+the+onion&k=10")
        started = perf_counter()
        found, asked = await self._ask(request, 10)
        results = [self._shown(clip) for clip in found]
        seconds = round(perf_counter() - started, 4)
        return JSONResponse(asked | {"seconds": seconds, "results": results})

    async def _ask(self, request: Request, k: int) -> tuple[list[Found], dict[str, Any]]:
        given = request.query_params
        for name in ("q", "k", "category"):
            if len(given.getlist(name)) > 1:
                raise UserError(
                    f"{name} stands there {len(given.getlist(name))} times: once will do"
                )
        number = given.get("k", str(k))
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise UserError(f"k is {number[:40]!r}: give a number")
        query = self.finder.read(given["q"], int(number), given.get("category", ""))
        found = await self.batches.ask(query)
        return found, {
            "q": given["q"],
            "k": query.k,
            "category": query.category,
            "unknown": list(query.unknown),
        }

    def _shown(self, clip: Found) -> dict[str, Any]:
        """A clip with the addresses of its picture and its player, without our path to its file."""
        shown = asdict(clip)
        path = shown.pop("path")
        if path and Path(path).is_file():
            return shown | {
                "player": "file",
                "url": f"/media/{clip.video_id}#t={clip.start:.2f},{clip.end:.2f}",
                "still": f"/still/{clip.video_id}/{(clip.start + clip.end) / 2:.2f}",
            }
        query = urlencode({"start": int(clip.start), "end": int(clip.end) + 1, "autoplay": 1})
        return shown | {
            "player": "youtube",
            "url": f"{YOUTUBE}/embed/{clip.video_id}?{query}",
            "still": f"{THUMBNAILS}/vi/{clip.video_id}/mqdefault.jpg",
        }

    def media(self, request: Request) -> Response:
        """A video's file; a part of it where a Range is asked for."""
        return FileResponse(self._path(request))

    def picture(self, request: Request) -> Response:
        """A picture of a video at a second."""
        try:
            content = self.still(self._path(request), request.path_params["second"])
        except ItemError as error:
            raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from None
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})

    def _path(self, request: Request) -> Path:
        """The file of a video of the index; no name leads anywhere else."""
        path = self.finder.paths.get(request.path_params["video_id"], "")
        if not path or not Path(path).is_file():
            raise HTTPException(HTTPStatus.NOT_FOUND, "no file of such a video is here")
        return Path(path)


def _still(path: Path, second: float) -> bytes:
    return jpeg(still(path, second), STILL_WIDTH)


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def _wrong(_: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)
    return JSONResponse({"error": str(error)}, HTTPStatus.BAD_REQUEST)


async def _broken(_: Request, error: Exception) -> Response:
    log.error("unexpected", exc_info=error)
    return JSONResponse({"error": "a fault of ours; the log has it"}, 500)


class _Headers:
    """Adds the policy to every answer."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, partial(_with_headers, HEADERS, send))


async def _with_headers(headers: Mapping[str, str], send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        extra = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        message = {**message, "headers": [*message["headers"], *extra]}
    await send(message)
