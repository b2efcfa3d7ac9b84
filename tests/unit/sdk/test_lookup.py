"""What `self.NAME` is: what the author set, then the platform's members, then decorated functions."""

import copy
import pickle
from unittest.mock import AsyncMock

import pytest

from chutes import Chute
from chutes.platform import MEMBERS, Platform, Recorder


@pytest.fixture
def chute() -> Chute:
    return Chute(username="me", name="lookup")


async def test_a_decorated_function_is_awaitable_in_place(chute: Chute) -> None:
    @chute.job(name="other")
    async def process(self, text: str, times: int = 1):
        return text * times

    assert await chute.process("x", times=2) == "xx"


async def test_a_decorated_function_gets_the_chute_it_was_called_on(chute: Chute) -> None:
    @chute.job()
    async def read(self):
        return self.model

    chute.model = "set in on_startup"
    assert await chute.read() == "set in on_startup"


async def test_what_the_author_sets_goes_before_a_decorated_function(chute: Chute) -> None:
    @chute.job()
    async def train_model(self):
        return "decorated"

    chute.train_model = AsyncMock(return_value="set")
    assert await chute.train_model() == "set"
    del chute.train_model
    assert await chute.train_model() == "decorated"


async def test_what_the_author_sets_goes_before_a_platform_member(chute: Chute) -> None:
    chute.start_job = AsyncMock(return_value="mine")
    assert await chute.start_job("x") == "mine"


async def test_a_method_of_a_subclass_goes_before_both() -> None:
    class Mine(Chute):
        async def get_job_status(self, job_id):
            return f"mine, of {job_id}"

    mine = Mine(username="me", name="mine")

    @mine.cord("/status/{job_id}")
    async def get_job_status(self, job_id): ...

    assert await mine.get_job_status("7") == "mine, of 7"


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_a_platform_member_goes_before_a_decorated_function(chute: Chute, name: str) -> None:
    def decorated(self): ...

    decorated.__name__ = name
    chute.job(name="hidden")(decorated)
    platform = Recorder()
    chute.attach(platform)
    assert getattr(chute, name) == getattr(platform, name)


def test_every_member_of_the_platform_is_one_of_the_chute() -> None:
    assert {name for name in vars(Platform) if not name.startswith("_")} == MEMBERS


def test_members_lead_to_the_platform_that_was_attached_last(chute: Chute) -> None:
    chute.attach(Recorder(job_id="first"))
    chute.attach(Recorder(job_id="second"))
    assert chute.current_job_id == "second"


def test_the_last_function_of_a_name_is_the_one_that_is_found(chute: Chute) -> None:
    def first(self):
        return 1

    def second(self):
        return 2

    second.__name__ = "first"
    chute.job(name="a")(first)
    chute.job(name="b")(second)
    assert chute.first() == 2
    assert [job.function(chute) for job in chute.jobs.values()] == [1, 2]


def test_what_is_nowhere_is_an_attribute_error_that_says_where_was_looked(chute: Chute) -> None:
    with pytest.raises(AttributeError, match=r"no 'train_modle': .* no decorated function"):
        _ = chute.train_modle
    assert not hasattr(chute, "train_modle")


def test_the_jobs_of_a_chute_are_not_replaced_by_mistake(chute: Chute) -> None:
    with pytest.raises(AttributeError):
        chute.jobs = {}


def test_a_chute_is_copied_and_pickled_without_recursion(chute: Chute) -> None:
    assert copy.copy(chute).name == "lookup"
    assert pickle.loads(pickle.dumps(chute)).name == "lookup"
    with pytest.raises(AttributeError):
        _ = Chute.__new__(Chute).start_job
