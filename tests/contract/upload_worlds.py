"""upload_worlds — an endpoint of each protocol, strict about its page, and what a job's spec says to get there. Holds no test."""

import asyncio
import base64
import hashlib
import json
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from aiohttp import web

from agent.spec import Upload, UploadTo
from tests.contract.strict_endpoint import Request, Strict, answer_json, serving_strictly
from tests.contract.upload_values import JOB

TOKEN = {"Authorization": "Bearer hush", "X-Tenant": "7"}


@dataclass
class World(Strict, ABC):
    """`stored`: what the endpoint has, by the files' paths. `before`: asked of each request first; an answer of its is the answer."""

    upload: Upload = field(default_factory=Upload)
    stored: dict[str, bytes] = field(default_factory=dict)
    manifest: str | None = "manifest.json"
    before: Callable[[Request], web.Response | None] = lambda _request: None

    async def handle(self, request: Request) -> web.Response:
        early = self.before(request)
        return early if early is not None else await self.serve(request)

    @abstractmethod
    def set_up(self) -> None:
        """Called once the endpoint has its URL."""

    @abstractmethod
    async def serve(self, request: Request) -> web.Response:
        """What the endpoint makes of a request."""

    async def files(self) -> dict[str, bytes]:
        return self.stored


@dataclass
class PutWorld(World):
    def set_up(self) -> None:
        self.upload = Upload(
            to=UploadTo.PUT, url=f"{self.url}/up/{{job}}/{{attempt}}/{{path}}?key=s%2F1", headers=TOKEN
        )

    async def serve(self, request: Request) -> web.Response:
        start = f"/up/{JOB}/2/"
        self.check(request.method == "PUT", "method")
        self.check(request.path.startswith(start) and request.target.endswith("?key=s%2F1"), request.target)
        self.check(request.headers.get("content-type") == "application/octet-stream", "content-type")
        self.check(request.headers.get("authorization") == "Bearer hush", "the spec's headers")
        self.stored[unquote(request.path.removeprefix(start))] = request.body
        return web.Response(status=201)


@dataclass
class PresignWorld(World):
    """`expired`: keys of URLs. `refused`: paths that get none. `most_questions`: that were under way at once."""

    granted: dict[str, str] = field(default_factory=dict)
    questions: list[list[str]] = field(default_factory=list)
    expired: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    asking: int = 0
    most_questions: int = 0

    def set_up(self) -> None:
        self.upload = Upload(to=UploadTo.PUT, presign=f"{self.url}/sign?tenant=7", headers=TOKEN)

    async def serve(self, request: Request) -> web.Response:
        if request.method != "POST":
            return self.take(request)
        self.asking += 1
        self.most_questions = max(self.most_questions, self.asking)
        await asyncio.sleep(0.01)  # whoever asks as well would be seen
        self.asking -= 1
        return self.sign(request)

    def sign(self, request: Request) -> web.Response:
        self.check(request.target == "/sign?tenant=7", request.target)
        self.check(request.headers.get("content-type") == "application/json", "content-type")
        self.check(request.headers.get("authorization") == "Bearer hush", "the spec's headers")
        asked = json.loads(request.body)
        self.check(set(asked) == {"job", "attempt", "files"}, f"keys {sorted(asked)}")
        self.check((asked["job"], asked["attempt"]) == (JOB, 2), "job and attempt")
        self.check(0 < len(asked["files"]) <= 256, f"{len(asked['files'])} files")
        self.check(all(set(file) == {"path", "size"} for file in asked["files"]), "keys of a file")
        paths = [file["path"] for file in asked["files"]]
        self.check(len(set(paths)) == len(paths), "a file twice")
        self.questions.append(paths)
        return answer_json({"urls": {path: self.grant(path) for path in paths if path not in self.refused}})

    def grant(self, path: str) -> str:
        key = f"{len(self.granted):06d}"
        self.granted[key] = path
        # As signed: with signs that a client is tempted to write in another way, and long, as with a session's token.
        return f"{self.url}/o/{key}/{quote(path)}?sig=a%2Fb%2Bc%3D%7E+~{'t' * 2500}"

    def take(self, request: Request) -> web.Response:
        key = request.path.split("/")[2]
        self.check(request.method == "PUT", "method")
        self.check(request.target.endswith("?sig=a%2Fb%2Bc%3D%7E+~" + "t" * 2500), request.target[-60:])
        self.check("content-type" not in request.headers, "a content type that nobody signed")
        self.check(not {"authorization", "x-tenant"} & set(request.headers), "the spec's headers")
        if key in self.expired:
            return web.Response(status=403, text="<Error><Code>AccessDenied</Code></Error>")
        self.stored[self.granted[key]] = request.body
        return web.Response(status=200)


@dataclass
class ChutesWorld(World):
    """By chutes-protocol, sections 3 to 5. `grants`: the answer to the outcome; None is one URL a name."""

    manifest: str | None = None
    told: list[dict[str, object]] = field(default_factory=list)
    done: int = 0
    reply: Callable[[], web.Response] | None = None

    def set_up(self) -> None:
        self.upload = Upload(to=UploadTo.CHUTES, status_url=f"{self.url}/jobs/7?sig=a%2Fb+c", headers=TOKEN)

    async def serve(self, request: Request) -> web.Response:
        if request.path.startswith("/store/"):
            return self.take_form(request)
        self.check(request.target == "/jobs/7?sig=a%2Fb+c", request.target)
        self.check(request.headers.get("content-type") == "application/json", "content-type")
        self.check(request.headers.get("authorization") == "Bearer hush", "the spec's headers")
        told = json.loads(request.body)
        if request.method == "PUT":
            self.check(told == {"status": "done"}, f"done as {told}")
            self.done += 1
            return answer_json({"ok": True})
        self.check(request.method == "POST", "method")
        self.check_status(told)
        self.told.append(told)
        if self.reply is not None:
            return self.reply()
        names = told["output_filenames"]
        return answer_json(
            {"output_storage_urls": {name: f"{self.url}/store/{quote(name)}?t=-._~" for name in names}}
        )

    def check_status(self, told: dict[str, object]) -> None:
        own = {"complete": "result", "error": "detail", "cancelled": "detail"}.get(str(told.get("status")))
        self.check(set(told) == {"status", own, "output_filenames"}, f"keys {sorted(told)}")
        self.check(own != "result" or told["result"] is None, "a result")
        self.check(own != "detail" or isinstance(told["detail"], str), "a detail")

    def take_form(self, request: Request) -> web.Response:
        self.check(request.method == "PUT", "method")
        self.check(not {"authorization", "x-tenant"} & set(request.headers), "the spec's headers")
        kind = re.fullmatch(
            r"multipart/form-data; boundary=([0-9a-f]{32})", request.headers.get("content-type", "")
        )
        self.check(kind, "content-type")
        boundary = kind[1].encode() if kind else b""
        form = re.fullmatch(
            rb"--%b\r\nContent-Type: ([^\r\n]+)\r\n"
            rb'Content-Disposition: form-data; name="file"; filename="([A-Za-z0-9%%._~-]*)"\r\n\r\n(.*)\r\n'
            rb"--%b\r\nContent-Type: text/plain; charset=utf-8\r\n"
            rb'Content-Disposition: form-data; name="path"\r\n\r\n(.*)\r\n--%b--\r\n'
            % (boundary, boundary, boundary),
            request.body,
            re.DOTALL,
        )
        self.check(form, "the form")
        if form is None:
            return web.Response(status=400)
        path = form[4].decode()
        self.check(unquote(form[2].decode()) == path.rpartition("/")[2], "the base name")
        self.check(unquote(request.path.removeprefix("/store/")) == path, "the path of the grant")
        self.stored[path] = form[3]
        return web.Response(status=200, text="whatever")


@dataclass
class TusWorld(World):
    """tus 1.0.0. `algorithms`: of checksums; none is no such extension."""

    algorithms: str = ""
    extensions: str = "creation,expiration"
    places: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    metadata: list[str] = field(default_factory=list)
    location: Callable[[str], str] = lambda key: f"/files/{key}?s=1"

    def set_up(self) -> None:
        self.upload = Upload(
            to=UploadTo.TUS,
            url=f"{self.url}/files/?key=1",
            headers=TOKEN,
            metadata={"team": "vision", "note": ""},
        )

    async def files(self) -> dict[str, bytes]:
        return {path: data for size, path, data in self.places.values() if len(data) == size}

    async def serve(self, request: Request) -> web.Response:
        self.check(request.headers.get("authorization") == "Bearer hush", "the spec's headers")
        if request.method == "OPTIONS":
            self.check("tus-resumable" not in request.headers, "Tus-Resumable, which OPTIONS has not")
            return self.tell()
        self.check(request.headers.get("tus-resumable") == "1.0.0", "Tus-Resumable")
        if request.method == "POST":
            return self.create(request)
        key = request.path.removeprefix("/files/")
        if key not in self.places:
            return web.Response(status=404)
        size, path, data = self.places[key]
        if request.method == "HEAD":
            return web.Response(headers={"Upload-Offset": str(len(data)), "Upload-Length": str(size)})
        self.check(request.method == "PATCH", request.method)
        self.check(request.headers.get("content-type") == "application/offset+octet-stream", "content-type")
        if request.headers.get("upload-offset") != str(len(data)):
            return web.Response(status=409)
        if self.algorithms and not self.is_sound(request):
            return web.Response(status=460)
        self.places[key] = (size, path, data + request.body)
        return web.Response(status=204, headers={"Upload-Offset": str(len(data) + len(request.body))})

    def tell(self) -> web.Response:
        told = {"Tus-Version": "1.0.0,0.2.2", "Tus-Extension": self.extensions}
        if self.algorithms:
            told["Tus-Extension"] += ",checksum"
            told["Tus-Checksum-Algorithm"] = self.algorithms
        return web.Response(status=204, headers=told)

    def create(self, request: Request) -> web.Response:
        self.check(request.target == "/files/?key=1", request.target)
        self.check(not request.body, "a body")
        self.metadata.append(request.headers["upload-metadata"])
        said = {
            pair.partition(" ")[0]: base64.b64decode(pair.partition(" ")[2]).decode()
            for pair in request.headers["upload-metadata"].split(",")
        }
        self.check(said.keys() == {"team", "note", "filename"}, f"metadata {sorted(said)}")
        key = secrets.token_hex(4)
        self.places[key] = (int(request.headers["upload-length"]), said["filename"], b"")
        return web.Response(status=201, headers={"Location": self.location(key)})

    def is_sound(self, request: Request) -> bool:
        kind, _, digest = request.headers.get("upload-checksum", "").partition(" ")
        self.check(kind in self.algorithms.split(","), f"checksum {kind}")
        return base64.b64decode(digest) == hashlib.new(kind, request.body).digest()


@dataclass
class CheckedTusWorld(TusWorld):
    algorithms: str = "sha1,sha256"


WORLDS: dict[str, Callable[[], World]] = {
    "put": PutWorld,
    "presign": PresignWorld,
    "chutes": ChutesWorld,
    "tus": TusWorld,
    "tus with checksums": CheckedTusWorld,
}


@asynccontextmanager
async def set_up(world: World) -> AsyncIterator[None]:
    async with serving_strictly(world.handle, world):
        world.set_up()
        yield
