"""How files get to an endpoint, by any protocol: one suite for all. Real sockets; endpoints that are strict about their protocol's page."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from agent.core.delivery import Failure, Sent
from agent.interfaces import Content, Offered, OutputChangedError
from agent.spec import Upload, UploadTo
from tests.contract.strict_endpoint import Request
from tests.contract.upload_values import File
from tests.contract.upload_ways import Way, is_known, to
from tests.contract.upload_worlds import WORLDS, ChutesWorld, TusWorld

MIB = 1 << 20
# As they travel: what is not UTF-8 is percent-encoded already, and so is a percent sign.
NAMES = (
    "plain.txt",
    "folder/inner/model.bin",
    "a b+c&d=e?f#g;h,i'j\"k<l>m|n\\o[p]{q}^`~!$(r)*@:.txt",
    "ünï/日本語/😀.txt",
    "100%25/caf%E9",
    "line\nbreak",
    ".hidden/..twodots",
    "manifest.json/inner",
)


@pytest.fixture(params=list(WORLDS))
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    async with to(WORLDS[request.param]()) as way:
        yield way


# Every protocol


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_arrives_under_its_name_whatever_is_in_it(way: Way, name: str) -> None:
    file = File(name, name.encode() * 3)
    assert await way.send(file) == [Sent()]
    assert await way.world.files() == {name: file.data}


@pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 7])
async def test_a_file_arrives_whole_whatever_its_size(way: Way, size: int) -> None:
    file = File(
        "f.bin", bytes(number % 251 for number in range(1000)) * (size // 1000) + b"z" * (size % 1000)
    )
    assert await way.send(file) == [Sent()]
    assert await way.world.files() == {"f.bin": file.data}


async def test_many_files_at_once_all_arrive(way: Way) -> None:
    files = [File(f"part/{number:03d}", b"%d" % number * 1000) for number in range(40)]
    async with way.opened(files) as delivery:
        answers = await asyncio.gather(*(delivery.send(file) for file in files))
    assert answers == [Sent()] * 40
    assert await way.world.files() == {file.path: file.data for file in files}


async def test_the_same_again_changes_nothing_also_after_a_restart(way: Way) -> None:
    files = [File("a", b"one"), File("b/c", b"two")]
    async with way.opened(files) as delivery:
        assert await delivery.begin([Offered(file.path, file.size_bytes) for file in files]) == Sent()
        assert [await delivery.send(file) for file in (*files, *files)] == [Sent()] * 4
    assert await way.send(*files) == [Sent()] * 2
    assert await way.world.files() == {"a": b"one", "b/c": b"two"}


async def test_the_end_is_told_and_the_manifest_arrives_where_the_protocol_has_one(way: Way) -> None:
    file, manifest = File("a", b"one"), File("manifest.json", b'{"files": []}')
    async with way.opened([file]) as delivery:
        await delivery.send(file)
        assert [await delivery.end(manifest), await delivery.end(manifest)] == [Sent(), Sent()]
    ends = {} if way.world.manifest is None else {way.world.manifest: manifest.data}
    assert await way.world.files() == {"a": b"one", **ends}
    assert not isinstance(way.world, ChutesWorld) or way.world.done == 2


async def test_a_file_that_changes_meanwhile_never_arrives_whole_and_its_error_comes_out(way: Way) -> None:
    file = File("a", b"x" * (2 * MIB), error=OutputChangedError("a"))
    async with way.opened([file]) as delivery:
        with pytest.raises(OutputChangedError):
            await delivery.send(file)
        assert await way.world.files() == {}
        calm = File("a", b"y" * (2 * MIB))
        assert await delivery.send(calm) == Sent()
    assert await way.world.files() == {"a": calm.data}


async def test_nothing_of_a_job_is_sent_on_the_connections_of_another(way: Way) -> None:
    async with way.opened([File("a")]) as one, way.opened([File("b")]) as other:
        assert await one.send(File("a")) == Sent()
        assert await other.send(File("b")) == Sent()


@pytest.mark.parametrize(
    ("status", "code", "is_passing"),
    [
        (400, "status_refused", False),
        (404, "status_refused", False),
        (413, "status_refused", False),
        (307, "redirected", False),
        (408, "status_failed", True),
        (425, "status_failed", True),
        (429, "status_failed", True),
        (500, "status_failed", True),
        (503, "status_failed", True),
    ],
)
async def test_a_refusal_is_told_as_it_is_and_nothing_is_tried_again_by_itself(
    way: Way, status: int, code: str, *, is_passing: bool
) -> None:
    """Of the request that carries the file."""
    refused: list[Request] = []

    def refuse(request: Request) -> web.Response | None:
        if not request.body or b"{" in request.body[:1]:
            return None
        refused.append(request)
        elsewhere = {"Retry-After": "7", "Location": "http://127.0.0.1:1/"}
        return web.Response(status=status, headers=elsewhere)

    file = File("a", b"x" * 1000)
    async with way.opened([file]) as delivery:
        way.world.before = refuse
        answer = await delivery.send(file)
        if isinstance(way.world, TusWorld) and status == 404:
            assert is_known(answer, "tus_broken")  # it says that it has the place, and that it has not
            return
        after = "7" if is_passing else None
        assert answer == Failure(code, is_passing, status=status, retry_after=after)
        assert is_known(answer, code)
        assert len(refused) == 1
        way.world.before = lambda _request: None
        assert await delivery.send(file) == Sent()


async def test_an_upload_without_its_url_is_a_mistake_of_the_callers(way: Way) -> None:
    with pytest.raises(ValueError, match="nothing is sent"):
        async with way.opened(upload=Upload(to=UploadTo.PUT)):
            pass
    with pytest.raises(ValueError, match="nothing is sent"):
        async with way.opened(upload=Upload(to=UploadTo.LOCAL, url="https://a.example/")):
            pass


def test_a_file_of_the_tests_is_a_content() -> None:
    content: Content = File("a", b"abc")
    assert (content.path, content.size_bytes) == ("a", 3)
