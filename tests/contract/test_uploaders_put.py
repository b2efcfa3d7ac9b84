"""What is put's own: how a path becomes a URL."""

from dataclasses import replace

from aiohttp import web

from agent.core.delivery import Failure, Sent
from agent.spec import Upload, UploadTo
from tests.contract.upload_values import File
from tests.contract.upload_ways import is_known, to
from tests.contract.upload_worlds import PutWorld


async def test_put_encodes_the_path_once_more_and_its_slashes_in_the_query_only() -> None:
    world = PutWorld(before=lambda _request: web.Response(status=200))
    async with to(world) as way:
        upload = Upload(to=UploadTo.PUT, url=f"{world.url}/x/{{path}}?name={{path}}&of={{job}}.{{attempt}}")
        async with way.opened(upload=upload) as delivery:
            assert await delivery.send(File("a%2Fb/c d+é")) == Sent()
    wanted = (
        "/x/a%252Fb/c%20d%2B%C3%A9?name=a%252Fb%2Fc%20d%2B%C3%A9&of=0190aaaa-0000-7000-8000-000000000001.2"
    )
    assert [request.target for request in world.requests] == [wanted]


async def test_put_sends_the_content_type_of_the_spec_where_it_has_one() -> None:
    world = PutWorld(before=lambda _request: web.Response(status=200))
    async with to(world) as way:
        upload = Upload(to=UploadTo.PUT, url=f"{world.url}/{{path}}", headers={"content-TYPE": "text/plain"})
        async with way.opened(upload=upload) as delivery:
            assert await delivery.send(File("a")) == Sent()
    assert world.requests[0].headers["content-type"] == "text/plain"


async def test_put_refuses_a_path_that_makes_no_url_and_sends_nothing() -> None:
    async with to(PutWorld()) as way, way.opened() as delivery:
        answer = await delivery.send(File("x" * 2000))
        assert is_known(answer, "path_unfit")
        assert answer == replace(answer, is_passing=False) if isinstance(answer, Failure) else False
        assert way.world.requests == []
