"""The launcher's calls to a host that dies, is away, is slow or refuses: each takes effect once, and nothing is lost."""

import asyncio
from typing import Any

import pytest

from tests.fakes.job_socket import Death, child_id
from tests.shell.launched import JOB, end, launch, launched, prepared

EVERY_CALL = """
@chute.job()
async def work(self):
    await self.update_job_progress(progress=10, message="begun")
    first = await self.start_job("work", {"n": 1})
    again = await self.start_job("work", {"n": 1})
    await self.get_job_status(first)
    await self.record_metric("loss", 0.5)
    await self.cancel_job(again)
    await self.update_job_status("task", "done")
    return [first, again]
"""

# hello, four calls that wait, two or three reports and finish: as many as there may be, and one more.
CALLS = range(1, 11)


@pytest.mark.parametrize(
    "death",
    [
        Death.BEFORE_ANSWER,  # where a call that is simply sent again would count twice
        pytest.param(Death.BEFORE_EFFECT, marks=pytest.mark.slow),
        pytest.param(Death.AFTER_ANSWER, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("number", CALLS)
async def test_a_host_killed_at_any_call_counts_each_once(number: int, death: Death) -> None:
    async with prepared(EVERY_CALL, {}) as (root, host):
        host.deaths[number] = death
        await host.start()
        job = await launch(root, host)
        try:
            told = await job.ended()
            children = [
                child_id(JOB, {"name": "work", "payload": {"n": 1}, "key": None, "k": k}) for k in (0, 1)
            ]
            assert (told.value, await job.code()) == (children, 0)
            assert list(host.effects.children) == children
            assert host.metrics == [["loss", 0.5]]
            assert host.progress == {"percent": 10, "message": "begun"}
            assert host.job_statuses == {"task": "done"}
            seqs = [report["seq"] for report in host.effects.reports]
            assert seqs == sorted(set(seqs))
        finally:
            await end(job)


async def test_a_host_that_comes_after_the_job_is_found() -> None:
    async with prepared("@chute.job()\nasync def work(self):\n    return 1", {}) as (root, host):
        job = await launch(root, host)
        try:
            await host.start()
            assert (await job.ended()).value == 1
        finally:
            await end(job)


async def test_a_result_is_kept_until_the_host_is_back() -> None:
    code = """
    @chute.job()
    async def work(self):
        open(self.output_dir + "/begun", "w").close()
        while not os.path.exists(self.output_dir + "/go"):
            await asyncio.sleep(0.01)
        return "x" * 1_000_000
    """
    async with launched(code) as job:
        await job.until_file("begun")
        await job.host.die()
        (job.root / "outputs" / "go").touch()
        await asyncio.sleep(0)
        await job.host.start()
        assert len((await job.ended()).value) == 1_000_000


async def test_what_is_unavailable_is_asked_again() -> None:
    code = """
    @chute.job()
    async def work(self):
        return await self.start_job("work", {})
    """
    async with launched(code) as job:
        for _ in range(3):
            job.host.refuse("start_job", "unavailable")
        job.host.refuse("finish", "unavailable")
        job.host.refuse("hello", "unavailable")
        told = await job.ended()
        assert list(job.host.effects.children) == [told.value]
        assert len(job.host.named("start_job")) == 4


async def test_a_refusal_is_raised_and_the_next_call_of_the_same_makes_the_child() -> None:
    code = """
    from chutes import PlatformError

    @chute.job()
    async def work(self):
        try:
            await self.start_job("work", {"n": 1})
        except PlatformError as refused:
            first = refused.code
        return [first, await self.start_job("work", {"n": 1})]
    """
    async with launched(code) as job:
        job.host.refuse("start_job", "too_many_children")
        told = await job.ended()
        assert told.value[0] == "too_many_children"
        # Or a retry, which is not refused at its first call, would make a second child.
        assert [call["k"] for call in job.host.named("start_job")] == [0, 0]


async def test_identical_calls_at_the_same_time_are_different_children() -> None:
    code = """
    @chute.job()
    async def work(self):
        return await asyncio.gather(*(self.start_job("work", {"n": 1}) for _ in range(20)))
    """
    async with launched(code) as job:
        children = (await job.ended()).value
        assert len(set(children)) == 20
        assert {call["k"] for call in job.host.named("start_job")} == set(range(20))


async def test_a_key_names_the_child() -> None:
    code = """
    @chute.job()
    async def work(self):
        return [await self.start_job("work", {"n": n}, key="one") for n in range(3)]
    """
    async with launched(code) as job:
        assert len(set((await job.ended()).value)) == 1


PAYLOADS: list[tuple[str, Any]] = [("(1, 2)", [1, 2]), ("{1: 'a'}", {"1": "a"}), ("{}", {}), ("None", {})]


@pytest.mark.parametrize(("payload", "sent"), PAYLOADS)
async def test_a_payload_is_sent_as_the_json_that_it_is(payload: str, sent: object) -> None:
    code = f"""
    @chute.job()
    async def work(self):
        await self.start_job("work", {payload})
        await self.start_job("work", {payload})
    """
    async with launched(code) as job:
        await job.ended()
        assert [call["payload"] for call in job.host.named("start_job")] == [sent, sent]
        assert [call["k"] for call in job.host.named("start_job")] == [0, 1]


async def test_a_call_too_large_to_be_sent_is_refused_here_and_not_sent_for_ever() -> None:
    code = """
    from chutes import PlatformError

    @chute.job()
    async def work(self):
        try:
            await self.get_job_status("x" * 3_000_000)
        except PlatformError as refused:
            return refused.code
    """
    async with launched(code) as job:
        assert (await job.ended()).value == "bad_call"


async def test_reports_are_coalesced_and_no_point_is_lost() -> None:
    code = """
    @chute.job()
    async def work(self):
        for number in range(2_000):
            await self.record_metric("n", number)
            await self.update_job_progress(progress=number / 20)
            await self.update_job_status("task", str(number))
    """
    async with launched(code) as job:
        await job.ended()
        assert [value for _, value in job.host.metrics] == list(range(2_000))
        assert job.host.progress == {"percent": 99.95, "message": None}
        assert job.host.job_statuses == {"task": "1999"}
        assert len(job.host.effects.reports) < 20


@pytest.mark.slow
async def test_a_host_that_is_away_does_not_hold_up_the_job_nor_make_it_grow() -> None:
    code = """
    import resource

    @chute.job()
    async def work(self):
        open(self.output_dir + "/begun", "w").close()
        while not os.path.exists(self.output_dir + "/go"):
            await asyncio.sleep(0.01)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(100_000):
            await self.record_metric("name" * 20, number)
        open(self.output_dir + "/recorded", "w").close()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    """
    async with launched(code) as job:
        await job.until_file("begun")
        await job.host.die()
        (job.root / "outputs" / "go").touch()
        await job.until_file("recorded")
        await job.host.start()
        grown_kib = (await job.ended()).value
        assert grown_kib < 16_000
        assert job.host.metrics[0][1] == 0
        assert "some were left out" in await job.err()


async def test_progress_is_told_while_the_loop_is_blocked() -> None:
    code = """
    @chute.job()
    async def work(self):
        await self.update_job_progress(progress=50)
        while not os.path.exists(self.output_dir + "/go"):
            time.sleep(0.01)
    """
    async with launched(code) as job:
        await job.host.until("report")
        (job.root / "outputs" / "go").touch()
        await job.ended()


async def test_the_members_of_self_are_what_hello_told() -> None:
    code = """
    @chute.job()
    async def work(self):
        return [self.current_job_id, self.attempt, self.job_ports, self.output_dir, self.should_shutdown]
    """
    port = {"name": "web", "port": 8080, "proto": "http", "host_port": 20001}
    async with launched(code, ports=[port], output_dir="/somewhere") as job:
        assert (await job.ended()).value == [JOB, 1, [port], "/somewhere", False]


async def test_the_status_of_another_job_is_what_the_host_shows_or_nothing() -> None:
    code = """
    @chute.job()
    async def work(self):
        return [await self.get_job_status("a"), await self.get_job_status("b"), await self.cancel_job("b")]
    """
    async with launched(code) as job:
        job.host.statuses["a"] = {"phase": "running"}
        assert (await job.ended()).value == [{"phase": "running"}, None, False]
