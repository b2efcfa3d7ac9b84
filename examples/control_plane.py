"""A control plane's receiving end, small enough to read: what jobs send by `put`, `presign`, `chutes` and `tus`, and signed notifications.

    python examples/control_plane.py --port 8480 --folder ./received --secret whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=

It prints what to write into a job's spec, and then a line for each thing that happens. A sample: one process, no database, no TLS.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote, unquote

from aiohttp import BodyPartReader, web

LIFETIME_SECONDS = 900
BLOCK_BYTES = 1 << 20
LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ChecksumMismatch(web.HTTPClientError):
    status_code = 460


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8480)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--secret", required=True, help="of the notifications; signs URLs, too")
    chosen = parser.parse_args()
    plane = Plane(Files(chosen.folder), chosen.secret, f"http://{chosen.host}:{chosen.port}")
    for line in plane.hints():
        print(line, flush=True)
    web.run_app(plane.app(), host=chosen.host, port=chosen.port, print=None)


class Files:
    """What was received, below one folder, as JOB/ATTEMPT/PATH. Names are a stranger's, and none leads out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.parts = self.folder / ".parts"
        self.parts.mkdir(parents=True, exist_ok=True)

    def place(self, job: str, attempt: str, path: str) -> Path:
        """Where it goes. HTTP 400 for a name that can't be a file's here."""
        steps = path.split("/")
        is_fine = LABEL.fullmatch(job) and LABEL.fullmatch(attempt) and "\0" not in path
        if not is_fine or any(step in {"", ".", ".."} or len(step.encode()) > 255 for step in steps):
            raise web.HTTPBadRequest(text="no such name")
        return self.folder.joinpath(job, attempt, *steps)

    async def write_aside(self, blocks: AsyncIterator[bytes]) -> Path:
        """To be moved once all of it is there. (A busy receiver would write in a thread.)"""
        part = self.parts / secrets.token_hex(16)
        try:
            with part.open("wb") as file:
                async for block in blocks:
                    file.write(block)
        except BaseException:
            part.unlink()
            raise
        return part

    def move(self, part: Path, place: Path) -> None:
        """The same name again replaces it: an agent that was killed sends once more what it is not sure of."""
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            part.replace(place)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            part.unlink()
            raise web.HTTPConflict(text="a file of that name is a folder, or a folder a file") from error
        say("stored", str(place.relative_to(self.folder)), str(place.stat().st_size))


class Plane:
    """The handlers. The secret signs the URLs that are given out; a token made from it opens the rest."""

    def __init__(self, files: Files, secret: str, origin: str) -> None:
        self.files = files
        self.origin = origin
        is_encoded = secret.startswith("whsec_")
        self.key = base64.b64decode(secret.removeprefix("whsec_")) if is_encoded else secret.encode()
        self.token = self.sign("token")
        self.seen: set[str] = set()
        self.busy: set[str] = set()

    def app(self) -> web.Application:
        # (?s: a name may hold a line break
        app = web.Application(middlewares=[refuse_nonsense], client_max_size=64 << 20)
        app.router.add_put("/put/{job}/{attempt}/{path:(?s:.+)}", self.put)
        app.router.add_post("/presign", self.presign)
        app.router.add_put("/signed/{job}/{attempt}/{path:(?s:.+)}", self.signed)
        app.router.add_post("/chutes/{ticket}", self.chutes)
        app.router.add_put("/chutes/{ticket}", self.chutes)
        app.router.add_put("/form/{job}/{attempt}/{path:(?s:.+)}", self.form)
        app.router.add_route("OPTIONS", "/tus", self.tus_options)
        app.router.add_post("/tus", self.tus_create)
        app.router.add_head("/tus/{id:[0-9a-f]{32}}", self.tus_look)
        app.router.add_patch("/tus/{id:[0-9a-f]{32}}", self.tus_append)
        app.router.add_post("/hooks", self.hook)
        return app

    def hints(self) -> list[str]:
        """What to write into `outputs.upload` of a job's spec."""
        headers = {"Authorization": f"Bearer {self.token}"}
        ticket = secrets.token_hex(8)
        status_url = f"{self.origin}/chutes/{ticket}?s={self.sign(f'ticket {ticket}')}"
        uploads = {
            "put": {
                "to": "put",
                "url": f"{self.origin}/put/{{job}}/{{attempt}}/{{path}}",
                "headers": headers,
            },
            "presign": {"to": "put", "presign": f"{self.origin}/presign", "headers": headers},
            "chutes": {"to": "chutes", "status_url": status_url},
            "tus": {"to": "tus", "url": f"{self.origin}/tus", "headers": headers},
        }
        return [f"{name} {json.dumps(upload)}" for name, upload in uploads.items()]

    def sign(self, text: str) -> str:
        """In hex: of signs that no client writes in another way."""
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    def demand_token(self, request: web.Request) -> None:
        if not hmac.compare_digest(request.headers.get("Authorization", ""), f"Bearer {self.token}"):
            raise web.HTTPUnauthorized

    def signed_url(self, kind: str, job: str, attempt: str, path: str) -> str:
        """Good for one name, for a while."""
        self.files.place(job, attempt, path)
        expires = str(int(time.time()) + LIFETIME_SECONDS)
        signature = self.sign(f"{kind} {expires} {job} {attempt} {path}")
        return f"{self.origin}/{kind}/{job}/{attempt}/{quote(path)}?e={expires}&s={signature}"

    def demand_signature(self, request: web.Request) -> tuple[str, str, str]:
        kind, job, attempt, path = names_in(request)
        expires = request.query.get("e", "0")
        wanted = self.sign(f"{kind} {expires} {job} {attempt} {path}")
        if not hmac.compare_digest(request.query.get("s", ""), wanted) or time.time() > int(expires):
            raise web.HTTPForbidden  # the agent asks for a new one
        return job, attempt, path

    # put and presign: the file is the body

    async def put(self, request: web.Request) -> web.Response:
        self.demand_token(request)
        _, job, attempt, path = names_in(request)
        return await self.store(request, self.files.place(job, attempt, path))

    async def presign(self, request: web.Request) -> web.Response:
        self.demand_token(request)
        asked = await request.json()
        job, attempt = str(asked["job"]), str(asked["attempt"])
        paths = [str(file["path"]) for file in asked["files"]]
        say("asked", job, f"for {len(paths)}")
        urls = {path: self.signed_url("signed", job, attempt, path) for path in paths}
        return web.json_response({"urls": urls})

    async def signed(self, request: web.Request) -> web.Response:
        return await self.store(request, self.files.place(*self.demand_signature(request)))

    async def store(self, request: web.Request, place: Path) -> web.Response:
        self.files.move(await self.files.write_aside(request.content.iter_chunked(BLOCK_BYTES)), place)
        return web.Response(status=201)

    # the Chutes job protocol: the status URL is one job's, whose name no body has

    async def chutes(self, request: web.Request) -> web.Response:
        ticket = request.match_info["ticket"]
        if not hmac.compare_digest(request.query.get("s", ""), self.sign(f"ticket {ticket}")):
            raise web.HTTPForbidden
        told = await request.json()
        say("chutes", ticket, str(told["status"]), str(told.get("detail", "")))
        names = [str(name) for name in told.get("output_filenames", [])]
        urls = {name: self.signed_url("form", ticket, "1", name) for name in names}
        return web.json_response({"output_storage_urls": urls})

    async def form(self, request: web.Request) -> web.Response:
        """The file comes before its path, and what counts is the name in the URL, which is ours."""
        place = self.files.place(*self.demand_signature(request))
        reader = await request.multipart()
        file = await reader.next()
        if not isinstance(file, BodyPartReader) or file.name != "file":
            raise web.HTTPBadRequest(text="no file")
        part = await self.files.write_aside(blocks_of(file))
        field = await reader.next()
        is_right = isinstance(field, BodyPartReader) and await field.text() == names_in(request)[3]
        if not is_right:
            part.unlink()
            raise web.HTTPBadRequest(text="another path than that of the URL")
        self.files.move(part, place)
        return web.Response()

    # tus 1.0.0 with creation and checksum: an upload is its bytes, and what it is as JSON beside them

    async def tus_options(self, _request: web.Request) -> web.Response:
        told = {"Tus-Version": "1.0.0", "Tus-Extension": "creation,checksum"}
        return web.Response(status=204, headers={**told, "Tus-Checksum-Algorithm": "sha1,sha256"})

    async def tus_create(self, request: web.Request) -> web.Response:
        self.demand_token(request)
        pairs = (pair.strip().partition(" ") for pair in request.headers["Upload-Metadata"].split(","))
        metadata = {key: base64.b64decode(value).decode() for key, _, value in pairs}
        size, job, path = (
            int(request.headers["Upload-Length"]),
            metadata.get("job", "tus"),
            metadata["filename"],
        )
        place = self.files.place(job, "1", path)
        data = self.files.parts / secrets.token_hex(16)
        data.with_suffix(".json").write_text(json.dumps({"size": size, "job": job, "path": path}))
        data.touch()
        if size == 0:
            self.files.move(data, place)
        return web.Response(status=201, headers={"Tus-Resumable": "1.0.0", "Location": f"/tus/{data.name}"})

    async def tus_look(self, request: web.Request) -> web.Response:
        data, size, _ = self.tus_upload(request)
        offset = data.stat().st_size if data.exists() else size
        told = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store", "Upload-Length": str(size)}
        return web.Response(headers={**told, "Upload-Offset": str(offset)})

    async def tus_append(self, request: web.Request) -> web.Response:
        data, size, place = self.tus_upload(request)
        if data.name in self.busy:
            return web.Response(status=423)  # a connection that broke, and is not seen to have yet
        if not data.exists() or request.headers.get("Upload-Offset") != str(data.stat().st_size):
            raise web.HTTPConflict
        self.busy.add(data.name)
        try:
            offset = await append(request, data, size)
        finally:
            self.busy.discard(data.name)
        if offset == size:
            self.files.move(data, place)
        told = {"Tus-Resumable": "1.0.0", "Upload-Offset": str(offset)}
        return web.Response(status=204, headers=told)

    def tus_upload(self, request: web.Request) -> tuple[Path, int, Path]:
        self.demand_token(request)
        data = self.files.parts / request.match_info["id"]
        if not data.with_suffix(".json").exists():
            raise web.HTTPNotFound
        about = json.loads(data.with_suffix(".json").read_text())
        return data, about["size"], self.files.place(about["job"], "1", about["path"])

    # notifications, signed by Standard Webhooks

    async def hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        sent_id, sent_at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        signed = f"{sent_id}.{sent_at}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.new(self.key, signed, hashlib.sha256).digest()).decode()
        is_fresh = abs(time.time() - int(sent_at)) < 300
        if not (is_fresh and hmac.compare_digest(request.headers["webhook-signature"], wanted)):
            raise web.HTTPUnauthorized
        if sent_id not in self.seen:  # at least once, so it may come again
            self.seen.add(sent_id)
            event = json.loads(body)
            say("event", event["job"], event["type"], str(event["data"].get("to", "")))
        return web.Response(status=204)


async def append(request: web.Request, data: Path, size: int) -> int:
    """Without a checksum what arrived of a chunk stays, however it ended; with one it is all of it or nothing."""
    kind, _, wanted = request.headers.get("Upload-Checksum", "").partition(" ")
    digest = hashlib.new(kind) if kind in {"sha1", "sha256"} else None
    with data.open("ab") as file:
        start, is_sound = file.tell(), digest is None
        try:
            async for block in request.content.iter_chunked(BLOCK_BYTES):
                if file.tell() + len(block) > size:
                    raise web.HTTPRequestEntityTooLarge(max_size=size, actual_size=file.tell() + len(block))
                file.write(block)
                if digest is not None:
                    digest.update(block)
            is_sound = digest is None or base64.b64encode(digest.digest()).decode() == wanted
        finally:
            if not is_sound:
                file.truncate(start)
        if not is_sound:
            raise ChecksumMismatch
        return file.tell()


async def blocks_of(part: BodyPartReader) -> AsyncIterator[bytes]:
    while block := await part.read_chunk(BLOCK_BYTES):
        yield block


def names_in(request: web.Request) -> tuple[str, str, str, str]:
    """/KIND/JOB/ATTEMPT/PATH, each decoded once: a name may hold what looks like an encoding."""
    _, kind, job, attempt, path = request.raw_path.partition("?")[0].split("/", 4)
    return kind, unquote(job), unquote(attempt), unquote(path, errors="strict")


@web.middleware
async def refuse_nonsense(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except (KeyError, TypeError, ValueError, ConnectionError) as error:
        raise web.HTTPBadRequest(text="not what was expected here, or not all of it") from error


def say(*words: str) -> None:
    """On one line, whatever is in a name."""
    print(*(word if word.isprintable() else ascii(word) for word in words), flush=True)


if __name__ == "__main__":
    main()
