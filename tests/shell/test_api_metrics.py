"""What Prometheus scrapes, over HTTP: who may, what it tells of whom, and that nothing that hangs or is down keeps it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.api.metrics.counting import Counting
from agent.api.tokens import Scope
from agent.core.gpu_usage import GpuSample
from agent.core.gpus import Gpu
from agent.core.job_counts import JobCounts
from agent.core.lease import Lease
from agent.errors import Phase
from agent.interfaces import StoreUnavailableError
from agent.jobs.health import CheckState, Finding
from tests.fakes.store import MemoryStore
from tests.shell.api_world import ApiWorld, api_world, running
from tests.shell.upload_jobs import Held, begun, end

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Read = dict[str, dict[tuple[tuple[str, str], ...], float]]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


def parsed(text: str) -> Read:
    told: Read = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            told.setdefault(sample.name.removeprefix("gpu_agent_"), {})[labels] = sample.value
    return told


async def scrape(world: ApiWorld, token: str | None = None, path: str = "/metrics") -> Read:
    reply = await world.call("GET", path, token=token)
    assert (reply.status, reply.headers["Content-Type"]) == (200, CONTENT_TYPE), reply.raw
    return parsed(reply.raw.decode())


async def scrape_locally(world: ApiWorld) -> Read:
    """Over the Unix socket."""
    connector = aiohttp.UnixConnector(str(world.socket))
    async with aiohttp.ClientSession(connector=connector) as http, http.get("http://local/metrics") as answer:
        assert answer.status == 200
        return parsed(await answer.text())


def one(told: Read, name: str, **labels: str) -> float | None:
    return told.get(name, {}).get(tuple(sorted(labels.items())))


# who may


@pytest.mark.parametrize("path", ["/metrics", "/v1/metrics"])
async def test_any_token_may_scrape_and_nobody_without_one(world: ApiWorld, path: str) -> None:
    poor = await world.new_token("bob", ())
    assert one(await scrape(world, poor, path), "build_info", version="1.2.3") == 1
    assert (await world.call("GET", path, token="")).status == 401


async def test_people_of_the_host_scrape_over_the_unix_socket(world: ApiWorld) -> None:
    assert one(await scrape_locally(world), "build_info", version="1.2.3") == 1


async def test_nothing_that_a_principal_wrote_is_told_to_another(world: ApiWorld) -> None:
    words = ["secretname", "secretqueue", "secretlabel", "secretvalue", "busybox", "alice"]
    job_id = await world.submit(name=words[0], queue=words[1], labels={words[2]: words[3]})
    await world.call("GET", f"/v1/jobs/{job_id}")
    bob = await world.new_token("bob")
    reply = await world.call("GET", "/metrics", token=bob)
    assert not [word for word in [*words, job_id] if word in reply.raw.decode()]
    # Its own principal is told no more.
    assert len((await world.call("GET", "/metrics")).raw.splitlines()) >= len(reply.raw.splitlines())


# jobs


async def test_a_job_is_counted_where_it_stands_and_stays_counted_once_it_is_gone(world: ApiWorld) -> None:
    job_id = await world.submit(queue="night")
    before = await scrape(world)
    assert one(before, "jobs", phase="queued", queue="other") == 1
    assert one(before, "jobs_finished_total", outcome="succeeded", reason="none") == 0
    await world.finish(job_id)
    after = await scrape(world)
    assert one(after, "jobs", phase="queued", queue="other") == 0
    assert one(after, "jobs_finished_total", outcome="succeeded", reason="none") == 1
    assert one(after, "jobs_kept") == 1
    assert (await world.call("DELETE", f"/v1/jobs/{job_id}")).status == 204
    gone = await scrape(world)
    assert one(gone, "jobs_finished_total", outcome="succeeded", reason="none") == 1
    assert one(gone, "jobs_kept") == 0


async def test_ports_and_waits_are_told(world: ApiWorld) -> None:
    await world.submit()
    told = await scrape(world)
    assert one(told, "ports", state="free") == 10
    assert one(told, "jobs_waiting", waiting_for="grant") == 1


# the host


async def test_a_check_that_fails_is_told_with_its_state(world: ApiWorld) -> None:
    async def low() -> Finding:
        return Finding(CheckState.FAIL, "a secret of the disk", "free it")

    world.probes["state_disk"] = low
    reply = await world.call("GET", "/metrics")
    told = parsed(reply.raw.decode())
    assert one(told, "health_check", check="state_disk", state="fail") == 1
    assert one(told, "health_check", check="state_disk", state="ok") == 0
    assert one(told, "health_check", check="engine", state="ok") == 1
    assert b"secret" not in reply.raw


@pytest.mark.slow
async def test_a_check_that_hangs_is_told_as_failed_and_keeps_no_scrape_for_ever(world: ApiWorld) -> None:
    async def hang() -> Finding:
        await asyncio.Event().wait()
        raise AssertionError

    world.probes["gpus"] = hang
    told = await scrape(world)
    assert one(told, "health_check", check="gpus", state="fail") == 1
    assert one(told, "health_check", check="engine", state="ok") == 1


async def test_where_the_database_is_away_all_else_is_told(world: ApiWorld) -> None:
    async def down(_name: str) -> None:
        raise StoreUnavailableError("disk full")

    world.gpus.gpus = (Gpu("GPU-1", "L4", 1 << 34),)
    await world.care.look()
    world.store.before = down
    told = await scrape_locally(world)
    assert one(told, "gpus", state="ok") == 1
    assert not {"jobs", "jobs_finished_total", "ports", "gpu_leased"} & told.keys()


# GPUs


async def with_busy_gpu(world: ApiWorld) -> None:
    """A GPU of alice's job, which somebody has just looked at."""
    world.gpus.gpus = (Gpu("GPU-1", "L4", 1 << 34),)
    world.gpus.does = lambda _uuid: GpuSample(75.0, 1 << 30, 60.5, 50.0)
    await world.care.look()
    job = await world.store.read(await world.submit())
    assert job is not None
    await world.store.save(replace(job, phase=Phase.RUNNING, lease=Lease(("GPU-1",))))
    assert (await world.call("GET", "/v1/gpus?sample=true")).status == 200


LABELS = {"uuid": "GPU-1", "index": "0", "model": "L4"}


async def test_that_a_gpu_is_leased_is_told_to_all_and_what_it_does_to_who_sees_all_or_looks_after_gpus(
    world: ApiWorld,
) -> None:
    await with_busy_gpu(world)
    told = await scrape(world, await world.new_token("bob"))
    assert one(told, "gpu_leased", **LABELS) == 1
    assert one(told, "gpu_leasable", **LABELS) == 1
    assert "gpu_utilization_ratio" not in told
    for scope in (Scope.JOBS_ALL, Scope.GPUS_ADMIN):
        figures = await scrape(world, await world.new_token("ops", (scope,)))
        assert one(figures, "gpu_utilization_ratio", **LABELS) == 0.75
        assert one(figures, "gpu_memory_used_bytes", **LABELS) == 1 << 30


async def test_where_nobody_has_looked_a_scrape_does_not_either(world: ApiWorld) -> None:
    world.gpus.gpus = (Gpu("GPU-1", "L4", 1 << 34),)
    await world.care.look()
    assert "gpu_power_watts" not in await scrape_locally(world)
    assert world.gpus.sampled == []


async def test_a_scrape_asks_no_driver_and_an_old_figure_is_not_told(world: ApiWorld) -> None:
    await with_busy_gpu(world)
    asked = list(world.gpus.sampled)
    world.gpus.sample_seconds = 3600.0  # a driver that hangs
    assert one(await scrape_locally(world), "gpu_power_watts", **LABELS) == 60.5
    world.clock.asleep = 31.0
    assert "gpu_power_watts" not in await scrape_locally(world)
    assert world.gpus.sampled == asked


# the API itself


async def test_requests_are_told_by_their_template_and_the_class_of_their_status(world: ApiWorld) -> None:
    for _ in range(2):
        await world.call("GET", "/v1/jobs/0190aaaa-0000-7000-8000-00000000dead")
    await world.call("GET", "/nowhere/at-all")
    await world.call("PROPFIND", "/v1/jobs")
    reply = await world.call("GET", "/metrics")
    told = parsed(reply.raw.decode())
    requests = "api_requests_total"
    assert one(told, requests, method="GET", endpoint="/v1/jobs/{id}", status="4xx") == 2
    assert one(told, requests, method="GET", endpoint="unmatched", status="4xx") == 1
    assert one(told, requests, method="other", endpoint="unmatched", status="4xx") == 1
    assert b"dead" not in reply.raw
    assert b"nowhere" not in reply.raw


async def test_an_answer_is_timed_and_one_that_was_asked_to_wait_is_not(world: ApiWorld) -> None:
    job_id = await world.submit()
    await world.call("GET", f"/v1/jobs/{job_id}?wait=finished&timeout=0")
    endpoint = {"method": "GET", "endpoint": "/v1/jobs/{id}"}
    seen = await scrape(world)
    assert one(seen, "api_requests_total", **endpoint, status="2xx") == 1
    assert one(seen, "api_request_duration_seconds_count", **endpoint) is None
    await world.call("GET", f"/v1/jobs/{job_id}")
    seen = await scrape(world)
    assert one(seen, "api_request_duration_seconds_count", **endpoint) == 1


async def test_a_stream_is_open_while_it_is_read_and_counted_without_a_time_afterwards(
    world: ApiWorld,
) -> None:
    assert world.http is not None
    await world.submit()
    headers = {"Authorization": f"Bearer {world.token}"}
    async with world.http.get(f"{world.url}/v1/events", headers=headers) as answer:
        await answer.content.readany()
        assert one(await scrape(world), "api_streams_open", kind="stream") == 1
        answer.close()
    endpoint = {"method": "GET", "endpoint": "/v1/events"}
    async with asyncio.timeout(5):
        while one(told := await scrape(world), "api_requests_total", **endpoint, status="none") != 1:
            await asyncio.sleep(0.01)
    assert one(told, "api_streams_open", kind="stream") == 0
    assert one(told, "api_request_duration_seconds_count", **endpoint) is None


async def test_a_stream_that_ends_by_itself_is_an_answer_without_a_time(world: ApiWorld) -> None:
    job_id = await world.submit()
    await world.finish(job_id)
    assert (await world.call("GET", f"/v1/jobs/{job_id}/outputs?format=tar")).status == 200
    endpoint = {"method": "GET", "endpoint": "/v1/jobs/{id}/outputs"}
    told = await scrape(world)
    assert one(told, "api_requests_total", **endpoint, status="2xx") == 1
    assert one(told, "api_request_duration_seconds_count", **endpoint) is None


async def test_requests_without_a_valid_token_are_counted(world: ApiWorld) -> None:
    await world.call("GET", "/v1/jobs", token="gat_x_y")
    assert one(await scrape(world), "api_auth_failures_total") == 1


async def test_what_goes_on_beside_jobs_has_its_zeros(world: ApiWorld) -> None:
    told = await scrape(world)
    zeros = ("uploads_active", "upload_files_waiting", "upload_sent_bytes_total", "notification_jobs_waiting")
    assert [one(told, name) for name in (*zeros, "cord_calls_active", "schedules_overdue")] == [0.0] * 6
    assert one(told, "cord_hosts", state="warm") == 0
    assert one(told, "schedule_minutes_total", result="missed") == 0


async def test_files_that_leave_are_waited_for_and_then_counted_and_so_are_those_that_are_given_up(
    world: ApiWorld,
) -> None:
    async with running(world):
        held = Held(world, "slow", refused=("refused",))
        job_id = await begun(world, {"slow": b"12345", "refused": b"1"})
        end(world, job_id)
        async with asyncio.timeout(10):
            while one(told := await scrape(world), "upload_files_failed_total") != 1:
                await asyncio.sleep(0.01)
        assert (one(told, "uploads_active"), one(told, "upload_files_waiting")) == (1, 1)
        assert one(told, "upload_files_sent_total") == 0
        held.free.set()
        await world.call("GET", f"/v1/jobs/{job_id}?wait=finished")
        told = await scrape(world)
    assert (one(told, "uploads_active"), one(told, "upload_files_waiting")) == (0, 0)
    assert (one(told, "upload_files_sent_total"), one(told, "upload_sent_bytes_total")) == (1, 5)
    assert one(told, "upload_tries_failed_total") == 1


async def test_who_scrapes_while_a_count_is_under_way_shares_the_next_one_with_all_who_do() -> None:
    counted, release, store = 0, asyncio.Event(), MemoryStore(lambda: 0.0)

    async def slow(_step: str) -> None:
        nonlocal counted
        counted += 1
        await release.wait()

    store.before = slow
    counting = Counting(store)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        takers = [group.create_task(counting.take([])) for _ in range(20)]
        while not counted:
            await asyncio.sleep(0)
        release.set()
    assert [taker.result() for taker in takers] == [JobCounts()] * 20
    assert counted == 2  # the one that was under way may have missed what happened before they asked


async def test_who_shares_a_count_that_fails_is_not_told_an_old_one() -> None:
    store = MemoryStore(lambda: 0.0)
    counting = Counting(store)
    await counting.take([])

    async def down(_step: str) -> None:
        raise StoreUnavailableError("disk full")

    store.before = down
    with pytest.raises(StoreUnavailableError):
        await counting.take([])


async def test_what_is_counted_for_one_is_not_told_to_who_asks_later(world: ApiWorld) -> None:
    for number in range(3):
        assert one(await scrape(world), "jobs_waiting", waiting_for="grant") == number
        await world.submit()
