"""docs/control-plane.md, "Receive outputs": what it prints of each protocol is what the agent sends, to the byte."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from agent.core.delivery import Sent
from agent.core.upload_troubles import UPLOAD_TROUBLES
from agent.spec import Upload, UploadTo
from tests.contract.strict_endpoint import Request, answer_json
from tests.contract.upload_values import File
from tests.contract.upload_ways import to
from tests.contract.upload_worlds import TusWorld, World

PAGE = (Path(__file__).parents[2] / "docs" / "control-plane.md").read_text()
# Of the library's own, and of no protocol.
UNTOLD = {"host", "user-agent", "accept", "accept-encoding"}
FILE = File("models/a b.bin", b"weights")
MANIFEST = File("manifest.json", b'{"files": []}')
TOKEN = {"Authorization": "Bearer s3cret"}


def shown(request: Request, origin: str) -> str:
    headers = "\n".join(
        f"{name.title()}: {value}" for name, value in request.headers.items() if name not in UNTOLD
    )
    body = request.body.decode().replace("\r\n", "\n")
    text = f"{request.method} {request.target} HTTP/1.1\n{headers}\n" + (f"\n{body}" if body else "")
    text = re.sub(r"\b[0-9a-f]{32}\b", "7f0c1b2a3d4e5f60718293a4b5c6d7e8", text)  # a form's boundary
    return text.replace(origin, "https://plane.example.org").rstrip() + "\n"


@dataclass
class Recorder(World):
    """Answers as the page says that one should."""

    def set_up(self) -> None:
        self.upload = Upload()

    async def serve(self, request: Request) -> web.Response:
        url = f"{self.url}/o/17?e=1900000000&s=6b1f"
        if request.path == "/presign":
            return answer_json({"urls": {FILE.path: url, MANIFEST.path: url}})
        if request.path == "/jobs/7":
            return answer_json({"output_storage_urls": {FILE.path: url}})
        return web.Response(status=200)


UPLOADS = {
    "put": lambda url: Upload(to=UploadTo.PUT, url=f"{url}/up/{{job}}/{{attempt}}/{{path}}", headers=TOKEN),
    "presign": lambda url: Upload(to=UploadTo.PUT, presign=f"{url}/presign", headers=TOKEN),
    "chutes": lambda url: Upload(to=UploadTo.CHUTES, status_url=f"{url}/jobs/7?s=6b1f"),
}


@pytest.mark.parametrize("protocol", list(UPLOADS))
async def test_each_request_of_a_protocol_is_on_the_page(protocol: str) -> None:
    world = Recorder()
    async with to(world) as way:
        way.world.upload = UPLOADS[protocol](world.url)
        async with way.opened([FILE]) as delivery:
            assert await delivery.send(FILE) == Sent()
            assert await delivery.end(MANIFEST) == Sent()
    printed = [shown(request, world.url) for request in world.requests]
    assert [text for text in printed[:2] if text not in PAGE] == []
    assert protocol != "chutes" or printed[2] in PAGE


async def test_each_request_of_tus_is_on_the_page() -> None:
    world = TusWorld(algorithms="sha256")
    world.location = lambda key: f"/tus/{key}"
    async with to(world) as way:
        way.world.upload = Upload(
            to=UploadTo.TUS, url=f"{world.url}/tus", headers=TOKEN, metadata={"team": "vision"}
        )
        way.world.before = tus_as_printed
        async with way.opened() as delivery:
            assert await delivery.send(FILE) == Sent()
            assert await delivery.send(FILE) == Sent()
    printed = [shown(request, world.url) for request in world.requests]
    assert [text.split()[0] for text in printed] == ["OPTIONS", "POST", "PATCH", "HEAD"]
    assert [text for text in printed if text not in PAGE] == []


def tus_as_printed(request: Request) -> web.Response:
    told = {
        "OPTIONS": {
            "Tus-Version": "1.0.0",
            "Tus-Extension": "creation,checksum",
            "Tus-Checksum-Algorithm": "sha1,sha256",
        },
        "POST": {"Location": "/tus/17"},
        "PATCH": {"Upload-Offset": "7"},
        "HEAD": {"Upload-Offset": "7", "Upload-Length": "7"},
    }
    return web.Response(status=201 if request.method == "POST" else 204, headers=told[request.method])


def test_each_trouble_that_an_endpoint_makes_has_its_words() -> None:
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", PAGE))
    assert {
        "url_refused",
        "not_granted",
        "grant_broken",
        "location_elsewhere",
    } <= named & UPLOAD_TROUBLES.keys()
