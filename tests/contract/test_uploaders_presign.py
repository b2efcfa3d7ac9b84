"""What is presign's own: when URLs are asked for, and what becomes of them."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from agent.core.delivery import Failure, Sent
from tests.contract.strict_endpoint import answer_json
from tests.contract.upload_values import File
from tests.contract.upload_ways import is_known, to
from tests.contract.upload_worlds import PresignWorld

# Together they take seconds, and `make test` runs them.
pytestmark = pytest.mark.slow

MIB = 1 << 20


async def test_urls_are_asked_for_in_batches_just_before_they_are_needed_and_one_question_at_a_time() -> None:
    world = PresignWorld()
    files = [File(f"{number:04d}", b"x") for number in range(600)]
    async with to(world) as way, way.opened(files) as delivery:
        assert world.questions == []
        for start in range(0, 600, 8):
            answers = await asyncio.gather(*(delivery.send(file) for file in files[start : start + 8]))
            assert answers == [Sent()] * len(answers)
            asked = sum(map(len, world.questions))
            assert asked <= start + 8 + 256
    assert [len(question) for question in world.questions] == [256, 256, 88]
    assert len(world.stored) == 600


async def test_a_file_that_is_sent_again_makes_nobody_ask_further_ahead() -> None:
    world = PresignWorld()
    files = [File(f"{number:04d}", b"x") for number in range(600)]
    async with to(world) as way, way.opened(files) as delivery:
        assert [await delivery.send(files[0]) for _ in range(4)] == [Sent()] * 4
    assert [len(question) for question in world.questions] == [256, 1, 1, 1]


async def test_no_two_questions_are_under_way_at_once() -> None:
    world = PresignWorld()
    files = [File(f"{number:04d}", b"x") for number in range(300)]
    async with to(world) as way:
        async with way.opened() as delivery:  # of files that nobody spoke of: a question each
            await asyncio.gather(*(delivery.send(file) for file in files[:16]))
        sizes = [len(question) for question in world.questions]
    assert sizes == [1] * 16
    assert world.most_questions == 1


async def test_an_expired_url_is_asked_for_anew_twice_and_then_given_up() -> None:
    world = PresignWorld()
    files = [File(name) for name in "abc"]
    async with to(world) as way, way.opened(files) as delivery:
        world.expired = {"000000", "000001", "000002", "000003"}
        assert await delivery.send(files[0]) == Sent()
        # The others of the first question expired with it, and were asked for again with the first; the fourth is a's second.
        assert world.questions == [["a", "b", "c"], ["a", "b", "c"], ["a", "b", "c"]]
        assert [await delivery.send(file) for file in files[1:]] == [Sent(), Sent()]
        assert len(world.questions) == 3
        world.before = lambda request: web.Response(status=410) if request.method == "PUT" else None
        answer = await delivery.send(files[0])
    assert answer == Failure("url_refused", is_passing=False, status=410)
    assert is_known(answer, "url_refused")
    assert [question[0] for question in world.questions[3:]] == ["a", "a", "a"]


async def test_a_file_without_a_url_is_told_and_the_others_arrive() -> None:
    world = PresignWorld(refused={"b"})
    async with to(world) as way:
        answers = await way.send(File("a"), File("b"), File("c"))
    assert is_known(answers[1], "not_granted")
    assert answers[1] == Failure("not_granted", is_passing=False)
    assert sorted(world.stored) == ["a", "c"]
    assert len(world.questions) == 1


BROKEN: dict[str, tuple[Callable[[], web.Response], bool]] = {
    "no JSON": (lambda: web.Response(text="<html>"), True),
    "not even text": (lambda: web.Response(body=b"\xff\xfe"), True),
    "nothing": (lambda: web.Response(status=204), True),
    "null": (lambda: web.Response(text="null"), False),
    "a list": (lambda: web.Response(text="[]"), False),
    "no urls": (lambda: web.Response(text='{"url": {}}'), False),
    "urls that are a list": (lambda: web.Response(text='{"urls": ["a"]}'), False),
    "a URL that is a number": (lambda: web.Response(text='{"urls": {"a": 7}}'), False),
    "a URL that is none": (lambda: web.Response(text='{"urls": {"a": "not a url"}}'), False),
    "a URL with a password": (lambda: web.Response(text='{"urls": {"a": "http://u:p@h/"}}'), False),
    "too much": (lambda: web.Response(text=" " * (5 * MIB)), False),
    "too deep": (lambda: web.Response(text="[" * 500_000), False),
}


@pytest.mark.parametrize("reply", list(BROKEN))
async def test_an_answer_that_gives_no_urls_is_told(reply: str) -> None:
    make, is_passing = BROKEN[reply]
    world = PresignWorld(before=lambda _request: make())
    async with to(world) as way:
        (answer,) = await way.send(File("a"))
    assert is_known(answer, "grant_broken")
    assert isinstance(answer, Failure)
    assert answer.is_passing is is_passing


async def test_an_answer_of_many_more_values_than_urls_is_not_made_into_objects() -> None:
    text = '{"urls": {"a": "https://10.0.0.1/"}, "more": [' + "[]," * 5_000 + "0]}"
    world = PresignWorld(before=lambda _request: web.Response(text=text))
    async with to(world) as way:
        (answer,) = await way.send(File("a"))
    assert is_known(answer, "grant_broken")


async def test_names_may_hold_the_signs_of_json() -> None:
    world = PresignWorld()
    files = [File(f"{'[,{' * 100}{number}") for number in range(40)]
    async with to(world) as way:
        assert await way.send(*files) == [Sent()] * 40


async def test_a_question_that_failed_for_now_is_asked_again_for_the_same_files() -> None:
    world = PresignWorld(before=lambda _request: web.Response(status=503, headers={"Retry-After": "3"}))
    files = [File(name) for name in "abc"]
    async with to(world) as way, way.opened(files) as delivery:
        assert await delivery.send(files[0]) == Failure(
            "status_failed", is_passing=True, status=503, retry_after="3"
        )
        world.before = lambda _request: None
        assert [await delivery.send(file) for file in files] == [Sent()] * 3
    assert world.questions == [["a", "b", "c"]]


async def test_a_question_that_is_refused_for_good_is_not_asked_again_for_each_of_its_files() -> None:
    world = PresignWorld(before=lambda _request: web.Response(status=401))
    async with to(world) as way:
        answers = await way.send(*(File(f"{number:04d}") for number in range(300)))
    assert answers == [Failure("status_refused", is_passing=False, status=401)] * 300
    assert len(world.requests) == 2


@pytest.mark.parametrize("url", ["http://10.0.0.1/x", "https://169.254.169.254/x"])
async def test_a_granted_url_passes_the_guard_like_any(url: str) -> None:
    world = PresignWorld(before=lambda _request: answer_json({"urls": {"a": url}}))
    async with to(world) as way:
        (answer,) = await way.send(File("a"))
    assert is_known(answer, "address_refused")
    assert isinstance(answer, Failure)
    assert not answer.is_passing
