"""What is the Chutes protocol's own, by sections 3 to 5 of its page: the outcome, odd replies, the form."""

import pytest
from aiohttp import web

from agent.adapters.uploads import UploadDeliveries
from agent.core import reasons
from agent.core.delivery import Failure, Sent
from agent.core.job import Outcome
from agent.interfaces import Offered
from tests.contract.strict_endpoint import answer_json
from tests.contract.upload_values import File, ended_job
from tests.contract.upload_ways import is_known, to
from tests.contract.upload_worlds import ChutesWorld

# Together they take seconds, and `make test` runs them.
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("outcome", "code", "status", "words"),
    [
        (Outcome.SUCCEEDED, None, "complete", None),
        (Outcome.FAILED, "exit_nonzero", "error", "Job failed: the program exited with a code other than 0 (exit_nonzero)"),
        (Outcome.TIMED_OUT, "timeout", "error", "Job failed: the attempt took longer than its timeout (timeout)"),
        (Outcome.LOST, "host_rebooted", "error", "Job failed: the host was rebooted (host_rebooted)"),
        (Outcome.LOST, None, "error", "Job failed: lost"),
        (Outcome.CANCELLED, "cancelled", "cancelled", "Job was cancelled."),
    ],
)  # fmt: skip
async def test_every_outcome_is_told_with_the_names_of_all_files(
    outcome: Outcome, code: str | None, status: str, words: str | None
) -> None:
    world = ChutesWorld()
    job = ended_job(outcome, None if code is None else reasons.reason(code))
    async with to(world) as way, way.opened([File("b"), File("a/é")], job) as delivery:
        assert await delivery.send(File("b")) == Sent()
    told = {"status": status, "output_filenames": ["b", "a/é"]}
    own = {"result": None} if words is None else {"detail": words}
    assert world.told == [{**told, **own}]


async def test_an_outcome_that_is_not_decided_is_not_told() -> None:
    async with to(ChutesWorld()) as way:
        with pytest.raises(ValueError, match="not decided"):
            async with way.opened(job=ended_job(None)):
                pass


async def test_the_form_names_the_type_of_the_file_and_its_base_name() -> None:
    world = ChutesWorld()
    async with to(world) as way:
        await way.send(File("x/a b%25.txt", b"text"), File("noext", b"\r\n--"))
    forms = [request.body for request in world.requests if request.path.startswith("/store/")]
    assert b'Content-Type: text/plain\r\nContent-Disposition: form-data; name="file"; filename="a%20b%2525.txt"\r\n' in forms[0]  # fmt: skip
    assert b"Content-Type: application/octet-stream\r\n" in forms[1]


async def test_no_two_forms_have_one_boundary() -> None:
    world = ChutesWorld()
    async with to(world) as way:
        await way.send(File("a"), File("a"))
    first, second = (r.headers["content-type"] for r in world.requests if r.path.startswith("/store/"))
    assert first != second


async def test_the_end_may_be_told_again() -> None:
    world = ChutesWorld()
    async with to(world) as way, way.opened() as delivery:
        assert [await delivery.end(File("manifest.json")) for _ in range(2)] == [Sent(), Sent()]
    assert world.done == 2


@pytest.mark.parametrize("urls", [{}, {"output_storage_urls": None}, {"output_storage_urls": {}}, {"output_storage_urls": {"other": "https://a.example/"}}], ids=str)  # fmt: skip
async def test_names_that_are_not_granted_are_told_and_the_end_is_too(urls: dict[str, object]) -> None:
    world = ChutesWorld(reply=lambda: answer_json(urls))
    async with to(world) as way, way.opened([File("a")]) as delivery:
        answer = await delivery.send(File("a"))
        assert answer == Failure("not_granted", is_passing=False)
        assert is_known(answer, "not_granted")
        assert await delivery.end(File("manifest.json")) == Sent()
    assert world.done == 1


ODD = {
    "null": (lambda: answer_json(None), False),
    "an array": (lambda: answer_json([{"output_storage_urls": {}}]), False),
    "a number": (lambda: answer_json(7), False),
    "urls that are a list": (lambda: answer_json({"output_storage_urls": ["a"]}), False),
    "another content type": (lambda: web.Response(text="{}", content_type="text/html"), True),
    "no content": (lambda: web.Response(status=204), True),
    "no JSON": (lambda: web.Response(body=b"{", content_type="application/json"), True),
    "NaN": (lambda: web.Response(body=b"NaN", content_type="application/json"), False),
    "not UTF-8": (lambda: web.Response(body=b'{"\xff": 1}', content_type="application/json"), True),
}


@pytest.mark.parametrize("reply", list(ODD))
async def test_an_odd_reply_to_the_outcome_is_told_and_crashes_nothing(reply: str) -> None:
    make, is_passing = ODD[reply]
    world = ChutesWorld(reply=make)
    async with to(world) as way:
        deliveries = UploadDeliveries(way.outgoing)
        async with deliveries.open(ended_job(), world.upload, way.places) as delivery:
            answer = await delivery.begin([Offered("a", 7)])
    assert is_known(answer, "grant_broken")
    assert isinstance(answer, Failure)
    assert answer.is_passing is is_passing


async def test_a_reply_of_a_kind_of_json_is_read() -> None:
    reply = b'{"output_storage_urls": {"a": "not a url"}}'
    world = ChutesWorld(reply=lambda: web.Response(body=reply, content_type="application/problem+json"))
    async with to(world) as way:
        (answer,) = await way.send(File("a"))
    assert is_known(answer, "grant_broken")
