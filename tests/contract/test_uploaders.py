"""How files get to an endpoint, by any protocol: one suite for all. Real sockets; endpoints that are strict about their protocol's page."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from agent.core.delivery import Failure, Sent
from agent.interfaces import Content
from agent.spec import Upload, UploadTo
from tests.contract.strict_endpoint import Request
from tests.contract.upload_values import File
from tests.contract.upload_ways import Way, is_known, to
from tests.contract.upload_worlds import WORLDS, TusWorld, World
from tests.contract.uploads_contract import UploadsContract


@pytest.fixture(params=list(WORLDS))
async def way(request: pytest.FixtureRequest) -> AsyncIterator[Way[World]]:
    async with to(WORLDS[request.param]()) as way:
        yield way


# Every protocol


class TestStrictEndpoints(UploadsContract):
    """Its fixture is the one above."""


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
    way: Way[World], status: int, code: str, *, is_passing: bool
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


async def test_an_upload_without_its_url_is_a_mistake_of_the_callers(way: Way[World]) -> None:
    with pytest.raises(ValueError, match="nothing is sent"):
        async with way.opened(upload=Upload(to=UploadTo.PUT)):
            pass
    with pytest.raises(ValueError, match="nothing is sent"):
        async with way.opened(upload=Upload(to=UploadTo.LOCAL, url="https://a.example/")):
            pass


def test_a_file_of_the_tests_is_a_content() -> None:
    content: Content = File("a", b"abc")
    assert (content.path, content.size_bytes) == ("a", 3)
