"""api/dashboard/files — the dashboard's own files, as they lie in `static`. They hold nothing of the host; what they show comes from the API."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from agent.api.auth import Access, Caller, is_local
from agent.api.endpoints import Answer, Endpoint, Parameter

FOLDER = Path(__file__).with_name("static")
INDEX = "index.html"
MEDIA = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# Nothing from elsewhere, nothing inline, no text ever becomes a script or markup, and no page may show this one within itself.
POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
HEADERS = {
    # It is asked for at each visit whether it is still the same, so that an upgrade is seen at once.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "; ".join(POLICY),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    body: bytes
    media: str
    etag: str


def read_files(folder: Path) -> Mapping[str, StaticFile]:
    """Every file by its name."""
    found = {}
    for path in sorted(folder.iterdir()):
        body = path.read_bytes()
        found[path.name] = StaticFile(body, MEDIA[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found


# Read with the program, before any loop runs.
FILES = read_files(FOLDER)


class DashboardFiles:
    def endpoints(self) -> tuple[Endpoint, ...]:
        page = {200: Answer("the page"), 304: Answer("it is the one that the browser has")}
        file = {200: Answer("the file"), 304: Answer("it is the one that the browser has")}
        return (
            Endpoint("GET", "/", Access.OPEN, self.show, "The dashboard, for a browser", page, bases=("",)),
            Endpoint("GET", "/dashboard/{file}", Access.OPEN, self.fetch, "A file of the dashboard's", file, (FILE,), bases=("",)),
        )  # fmt: skip

    async def show(self, request: web.Request, _caller: Caller) -> web.Response:
        return answer(request, INDEX)

    async def fetch(self, request: web.Request, _caller: Caller) -> web.Response:
        return answer(request, request.match_info["file"])


def answer(request: web.Request, name: str) -> web.Response:
    file = FILES.get(name)
    # On the Unix socket everybody has every right already: a page there would only lend it to other pages.
    if file is None or is_local(request):
        raise web.HTTPNotFound
    headers = {**HEADERS, "ETag": file.etag}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
    if file.etag in known or "*" in known:
        return web.Response(status=304, headers=headers)
    return web.Response(body=file.body, headers={**headers, "Content-Type": file.media})


FILE = Parameter("file", "its name", "path")
