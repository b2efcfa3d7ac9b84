"""LocalRunner and the jobs that a job starts: remembered, or run in the order of their starts."""

import pytest

from chutes.chute import Chute
from chutes.testing import Children, LocalRunner
from tests.unit.sdk.chutes_for_tests import make_chute


@pytest.fixture
def chute() -> Chute:
    return make_chute()


def test_children_are_remembered_and_not_run(chute: Chute) -> None:
    @chute.job()
    async def parent(self: Chute) -> object:
        config = {"rate": 1}
        job_id = await self.start_job("child", config)
        config["rate"] = 2
        return await self.get_job_status(job_id)

    @chute.job()
    async def child(self: Chute, rate: int) -> None:
        raise AssertionError

    result = LocalRunner(chute).run("parent")
    assert [(each.name, each.payload, each.key) for each in result.started] == [("child", {"rate": 1}, None)]
    assert (result.value["phase"], result.value["outcome"], result.children) == ("queued", None, ())


def test_children_run_in_order_once_the_parent_has_ended(chute: Chute) -> None:
    seen: list[str] = []

    @chute.job()
    async def parent(self: Chute) -> None:
        for name in "ab":
            await self.start_job("child", {"name": name})
        seen.append("parent")

    @chute.job()
    async def child(self: Chute, name: str) -> str:
        seen.append(name)
        return name

    result = LocalRunner(chute, children=Children.RUN).run("parent")
    assert seen == ["parent", "a", "b"]
    assert [each.value for each in result.children] == ["a", "b"]


def test_a_parent_that_asks_for_a_child_gets_its_result(chute: Chute) -> None:
    @chute.job()
    async def parent(self: Chute) -> object:
        first = await self.start_job("child", {"number": 1})
        second = await self.start_job("child", {"number": 0})
        return [await self.get_job_status(first), await self.get_job_status(second)]

    @chute.job()
    async def child(self: Chute, number: int) -> float:
        return 1 / number

    done, failed = LocalRunner(chute, children=Children.RUN).run("parent").value
    assert (done["phase"], done["outcome"], done["result"]) == ("finished", "succeeded", 1.0)
    assert (failed["outcome"], failed["error"]["type"]) == ("failed", "ZeroDivisionError")


def test_a_look_at_a_child_runs_it_and_those_before_it_alone(chute: Chute) -> None:
    seen: list[int] = []

    @chute.job()
    async def parent(self: Chute) -> object:
        ids = [await self.start_job("child", {"number": number}) for number in range(3)]
        await self.get_job_status(ids[1])
        return list(seen)

    @chute.job()
    async def child(self: Chute, number: int) -> None:
        seen.append(number)

    assert LocalRunner(chute, children=Children.RUN).run("parent").value == [0, 1]
    assert seen == [0, 1, 2]


def test_what_a_child_sets_on_the_chute_is_not_its_parents(chute: Chute) -> None:
    @chute.job()
    async def parent(self: Chute) -> object:
        self.mark = "parent"
        await self.get_job_status(await self.start_job("child"))
        return [self.mark, self.current_job_id]

    @chute.job()
    async def child(self: Chute) -> object:
        found = getattr(self, "mark", None)
        self.mark = "child"
        return found

    result = LocalRunner(chute, children=Children.RUN).run("parent")
    assert result.value == ["parent", "local"]
    assert (result.children[0].value, result.children[0].job_id) == (None, "local.1")
    assert chute.mark == "parent"


def test_a_chain_of_jobs_runs_to_its_end(chute: Chute) -> None:
    @chute.job()
    async def step(self: Chute, number: int) -> int:
        if number < 3:
            await self.start_job("step", {"number": number + 1})
        return number

    result = LocalRunner(chute, children=Children.RUN).run("step", {"number": 1})
    assert result.children[0].children[0].value == 3


def test_a_retry_that_starts_the_same_jobs_is_given_those_that_are_there(chute: Chute) -> None:
    @chute.job(retry_count=1)
    async def parent(self: Chute) -> list[str]:
        calls = [("child", {"n": 1}), ("child", {"n": 1}), ("child", {"n": 2})]
        ids = [await self.start_job(name, payload) for name, payload in calls]
        ids.append(await self.start_job("child", {"n": self.attempt}, key="once"))
        if self.attempt == 1:
            raise ValueError
        return ids

    @chute.job()
    async def child(self: Chute, n: int) -> None: ...

    result = LocalRunner(chute).run("parent")
    assert result.value == [each.job_id for each in result.started]
    assert len(set(result.value)) == 4


def test_a_cancelled_child_does_not_run(chute: Chute) -> None:
    @chute.job()
    async def parent(self: Chute) -> object:
        job_id = await self.start_job("child")
        return [
            await self.cancel_job(job_id),
            await self.cancel_job(job_id),
            await self.get_job_status(job_id),
        ]

    @chute.job()
    async def child(self: Chute) -> None:
        raise AssertionError

    result = LocalRunner(chute, children=Children.RUN).run("parent")
    first, second, status = result.value
    assert (first, second, status["outcome"], result.children) == (True, False, "cancelled", ())


def test_more_children_or_deeper_ones_than_a_host_allows_are_refused(chute: Chute) -> None:
    @chute.job()
    async def wide(self: Chute) -> None:
        for number in range(101):
            await self.start_job("leaf", {"number": number})

    @chute.job()
    async def deep(self: Chute) -> None:
        await self.start_job("deep")

    @chute.job()
    async def leaf(self: Chute, number: int) -> None: ...

    error = LocalRunner(chute).run("wide").error
    assert error is not None
    assert "100" in error.message
    result = LocalRunner(chute, children=Children.RUN).run("deep")
    depth = 0
    while result.children:
        result, depth = result.children[0], depth + 1
    assert depth == 5
    assert result.error is not None
    assert "deep" in result.error.message


def test_a_name_that_is_none_of_the_chutes_jobs_is_refused(chute: Chute) -> None:
    @chute.job()
    async def parent(self: Chute) -> None:
        await self.start_job("nobody")

    error = LocalRunner(chute).run("parent").error
    assert error is not None
    assert (error.type, "its jobs are: parent" in error.message) == ("PlatformError", True)


def test_an_unknown_job_has_no_status(chute: Chute) -> None:
    @chute.job()
    async def parent(self: Chute) -> object:
        return await self.get_job_status("nobody")

    assert LocalRunner(chute, children=Children.RUN).run("parent").value is None


def test_children_of_a_job_that_was_stopped_are_not_run(chute: Chute) -> None:
    runner = LocalRunner(chute, children=Children.RUN)

    @chute.job()
    async def parent(self: Chute) -> None:
        await self.start_job("child")
        runner.stop()

    @chute.job()
    async def child(self: Chute) -> None:
        raise AssertionError

    assert runner.run("parent").children == ()
