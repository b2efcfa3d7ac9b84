"""What is tus's own: places, offsets, chunks, checksums, and endpoints that lie about them."""

import base64
from dataclasses import dataclass

import pytest
from aiohttp import web

from agent.adapters.uploads import UploadDeliveries
from agent.core.delivery import Failure, Sent
from agent.interfaces import Delivery
from tests.contract.strict_endpoint import Request
from tests.contract.upload_values import File, ended_job
from tests.contract.upload_ways import is_known, to
from tests.contract.upload_worlds import TusWorld

# Together they take seconds, and `make test` runs them.
pytestmark = pytest.mark.slow


@dataclass
class Log:
    """What a tus endpoint was asked, as method and offset."""

    world: TusWorld

    def __call__(self) -> list[str]:
        return [
            f"{request.method} {request.headers.get('upload-offset', '')}".strip()
            for request in self.world.requests
        ]


async def test_the_place_is_durable_before_the_first_byte_leaves() -> None:
    world = TusWorld()
    kept: list[dict[str, str]] = []
    async with to(world) as way:

        def look(request: Request) -> None:
            if request.method == "PATCH":
                kept.append(dict(way.places.kept))

        world.before = look
        assert await way.send(File("a")) == [Sent()]
    (key,) = world.places
    assert kept == [{"a": f"{world.url}/files/{key}?s=1"}]


async def test_an_upload_goes_on_at_its_offset_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.adapters.uploads.tus.CHUNK_BYTES", 1000)
    world = TusWorld()
    file = File("a", bytes(range(250)) * 10)

    def fail_at_the_second(request: Request) -> web.Response | None:
        return web.Response(status=502) if request.headers.get("upload-offset") == "1000" else None

    async with to(world) as way:
        world.before = fail_at_the_second
        (answer,) = await way.send(file)
        assert is_known(answer, "status_failed")
        world.before = lambda _request: None
        world.requests.clear()
        assert await way.send(file) == [Sent()]
        assert await world.files() == {"a": file.data}
    assert Log(world)() == ["OPTIONS", "HEAD", "PATCH 1000", "PATCH 2000"]
    assert file.asked == [(0, 1000), (1000, 1000), (1000, 1000), (2000, 500)]


async def test_a_file_that_is_all_there_is_not_sent_again() -> None:
    world = TusWorld()
    async with to(world) as way:
        await way.send(File("a"))
        world.requests.clear()
        assert await way.send(File("a")) == [Sent()]
    assert Log(world)() == ["OPTIONS", "HEAD"]


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_place_that_expired_is_made_anew(status: int) -> None:
    world = TusWorld()
    async with to(world) as way:
        await way.places.keep("a", f"{world.url}/files/old")
        world.before = lambda r: web.Response(status=status) if r.path == "/files/old" else None
        assert await way.send(File("a")) == [Sent()]
        assert await world.files() == {"a": b"content"}
        assert not way.places.kept["a"].endswith("old")


async def test_a_place_that_expires_in_the_middle_is_made_anew_from_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.adapters.uploads.tus.CHUNK_BYTES", 1000)
    world = TusWorld()
    file = File("a", b"abc" * 1000)

    def expire(request: Request) -> web.Response | None:
        if request.headers.get("upload-offset") == "2000" and len(world.metadata) == 1:
            world.places.clear()
        return None

    async with to(world) as way:
        world.before = expire
        assert await way.send(file) == [Sent()]
        assert await world.files() == {"a": file.data}
    assert len(world.metadata) == 2


async def test_a_place_at_another_endpoint_or_of_a_file_of_another_size_is_left() -> None:
    world = TusWorld()
    async with to(world) as way:
        await way.places.keep("a", "https://elsewhere.example/files/1")
        await way.places.keep("b", f"{world.url}/files/b")
        world.places["b"] = (3, "b", b"xy")
        assert await way.send(File("a"), File("b")) == [Sent(), Sent()]
        assert await world.files() == {"a": b"content", "b": b"content"}


async def test_a_wrong_offset_is_asked_for_and_gone_on_from() -> None:
    world = TusWorld()
    seen: list[str] = []

    def conflict_once(request: Request) -> web.Response | None:
        if request.method == "PATCH" and not seen:
            seen.append("once")
            (key,) = world.places
            world.places[key] = (7, "a", b"con")  # of a connection that was thought to be broken
            return web.Response(status=409)
        return None

    async with to(world) as way:
        world.before = conflict_once
        assert await way.send(File("a")) == [Sent()]
        assert await world.files() == {"a": b"content"}
    assert Log(world)() == ["OPTIONS", "POST", "PATCH 0", "HEAD", "PATCH 3"]


@pytest.mark.parametrize("offset", ["8", "99999999999999999999", "-1", "0x1", "", "nonsense"])
@pytest.mark.parametrize("method", ["HEAD", "PATCH"])
async def test_an_offset_that_can_not_be_is_told(method: str, offset: str) -> None:
    world = TusWorld()
    async with to(world) as way:
        if method == "HEAD":
            await way.places.keep("a", f"{world.url}/files/1")
        headers = {"Upload-Offset": offset}
        world.before = lambda r: web.Response(status=204, headers=headers) if r.method == method else None
        (answer,) = await way.send(File("a"))
    assert is_known(answer, "tus_broken")
    assert isinstance(answer, Failure)
    assert not answer.is_passing
    assert [request.method for request in world.requests].count(method) == 1


@pytest.mark.parametrize("said", ["0", "3"], ids=["backwards", "too little"])
async def test_an_offset_that_never_arrives_is_given_up(said: str) -> None:
    world = TusWorld()

    def lead_round(request: Request) -> web.Response | None:
        if request.method == "PATCH":
            return web.Response(status=204, headers={"Upload-Offset": said})
        return None

    async with to(world) as way:
        world.before = lead_round
        (answer,) = await way.send(File("a"))
    assert is_known(answer, "tus_broken")
    assert len(world.requests) < 50


@pytest.mark.parametrize(("algorithms", "used"), [("sha1", "sha1"), ("md5,sha1,sha256", "sha256"), ("md5,crc32", None)])  # fmt: skip
async def test_the_strongest_checksum_that_is_offered_goes_with_each_chunk(
    algorithms: str, used: str | None
) -> None:
    world = TusWorld(algorithms=algorithms)
    if used is None:
        world.is_sound = lambda request: "upload-checksum" not in request.headers  # type: ignore[method-assign] # no hash is known to both
    async with to(world) as way:
        assert await way.send(File("a")) == [Sent()]
        assert await world.files() == {"a": b"content"}
    (patch,) = (request for request in world.requests if request.method == "PATCH")
    assert patch.headers.get("upload-checksum", "").partition(" ")[0] == (used or "")


async def test_each_chunk_has_the_checksum_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.adapters.uploads.tus.CHECKED_CHUNK_BYTES", 1000)
    world = TusWorld(algorithms="sha1")
    file = File("a", b"".join(b"%04d" % number for number in range(625)))
    async with to(world) as way:
        assert await way.send(file) == [Sent()]
        assert await world.files() == {"a": file.data}
    assert file.asked == [(0, 1000), (1000, 1000), (2000, 500)]


async def test_a_checksum_of_which_nothing_was_offered_is_not_sent() -> None:
    world = TusWorld(before=lambda r: web.Response(status=204, headers={"Tus-Checksum-Algorithm": "sha1"}) if r.method == "OPTIONS" else None)  # fmt: skip
    async with to(world) as way:
        assert await way.send(File("a")) == [Sent()]
    assert not any("upload-checksum" in request.headers for request in world.requests)


@pytest.mark.parametrize(("status", "code"), [(460, "checksum_mismatch"), (423, "tus_locked")])
async def test_what_tus_has_statuses_for_passes(status: int, code: str) -> None:
    world = TusWorld(before=lambda r: web.Response(status=status) if r.method == "PATCH" else None)
    async with to(world) as way:
        (answer,) = await way.send(File("a"))
    assert answer == Failure(code, is_passing=True, status=status)
    assert is_known(answer, code)


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/files/{}",
        "https://127.0.0.1/files/{}",
        "//evil.example/{}",
        "http://localhost:80/{}",
    ],
)
async def test_a_place_on_another_origin_is_refused_before_anything_goes_there(location: str) -> None:
    async with to(TusWorld(location=location.format)) as way:
        (answer,) = await way.send(File("a"))
        assert is_known(answer, "location_elsewhere")
        assert isinstance(answer, Failure)
        assert not answer.is_passing
        assert way.places.kept == {}


@pytest.mark.parametrize("location", ["/files/{}", "{}", "http://HERE/files/{}", "//HERE/files/{}?a=b%2F"])
async def test_a_place_may_be_relative_or_whole(location: str) -> None:
    world = TusWorld()
    world.location = lambda key: location.format(key).replace("HERE", world.url.partition("//")[2])
    async with to(world) as way:
        assert await way.send(File("a")) == [Sent()]
        assert await world.files() == {"a": b"content"}


@pytest.mark.parametrize("headers", [{}, {"Location": "http://[::zz]/"}, {"Location": "/a b"}], ids=str)
async def test_a_creation_that_says_no_place_is_told(headers: dict[str, str]) -> None:
    world = TusWorld(
        before=lambda r: web.Response(status=201, headers=headers) if r.method == "POST" else None
    )
    async with to(world) as way:
        (answer,) = await way.send(File("a"))
    assert is_known(answer, "tus_broken")


async def test_the_metadata_has_the_files_name_and_what_the_spec_says() -> None:
    world = TusWorld()
    async with to(world) as way:
        await way.send(File("x/é"))
    name = base64.b64encode("x/é".encode()).decode()
    assert world.metadata == [f"team dmlzaW9u,note,filename {name}"]


async def test_another_manifest_of_the_same_size_is_sent_anew() -> None:
    world = TusWorld()
    async with to(world) as way:
        for manifest in (b"one", b"two"):
            async with way.opened() as delivery:
                assert await delivery.end(File("manifest.json", manifest)) == Sent()
        assert await world.files() == {"manifest.json": b"two"}


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (204, {"Tus-Version": "2.0.0"}, "tus_unsupported"),
        (204, {"Tus-Version": "1.0.0", "Tus-Extension": "termination"}, "tus_unsupported"),
        (503, {"Retry-After": "9"}, "status_failed"),
        (429, {}, "status_failed"),
        (200, {}, None),
        (404, {}, None),
        (405, {}, None),
        (401, {}, None),
    ],
)
async def test_what_an_endpoint_says_of_itself(
    status: int, headers: dict[str, str], expected: str | None
) -> None:
    world = TusWorld(before=lambda r: web.Response(status=status, headers=headers) if r.method == "OPTIONS" else None)  # fmt: skip
    async with to(world) as way:
        delivery: Delivery
        async with UploadDeliveries(way.outgoing).open(ended_job(), world.upload, way.places) as delivery:
            answer = await delivery.begin([])
            if expected is None:
                assert answer == Sent()
                assert await delivery.send(File("a")) == Sent()
                return
    assert is_known(answer, expected)
    assert isinstance(answer, Failure)
    assert answer.retry_after == headers.get("Retry-After")
