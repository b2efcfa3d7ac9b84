"""The client and its child when things go wrong: hangs, garbage, deaths, and processes that nothing ends."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from agent.adapters.nvml.client import CHILD, MOST_STUCK, NvmlClient
from agent.adapters.nvml.errors import NvmlBrokenError, NvmlRefusedError, NvmlSilentError, NvmlStuckError
from agent.adapters.nvml.wire import Wire, kill
from tests.contract.nvml_world import STEP_SECONDS, Make, call, child_of, client_on, rows, until
from tests.nvml_standin import profiles
from tests.nvml_standin.profiles import Host


@pytest.mark.slow
async def test_a_child_that_hangs_is_left_at_its_deadline_and_the_next_call_is_fast(standin: Make) -> None:
    now = asyncio.get_running_loop().time
    async with client_on(standin(profiles.l40s_pcie().but(2, "hang *"))) as client:
        with pytest.raises(NvmlSilentError) as silent:
            await rows(client)
        began = now()
        found = await call(client, "inventory", skip=[silent.value.at])
        took_seconds = now() - began
    assert silent.value.at == 2
    assert [row["faults"].get("gpu") for row in found["gpus"]] == [None, None, "skipped", None]
    assert took_seconds < STEP_SECONDS


@pytest.mark.slow
async def test_the_gpu_that_hangs_is_known_also_after_somebody_else_gave_up_on_it(standin: Make) -> None:
    """The child is still there when the next one asks, and says no more where."""
    async with client_on(standin(profiles.l40s_pcie().but(2, "hang *"))) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(STEP_SECONDS / 2):
                await rows(client)
        with pytest.raises(NvmlSilentError) as silent:
            await rows(client)
    assert silent.value.at == 2


@pytest.mark.slow
async def test_a_hang_of_nvml_itself_is_no_gpus_fault(standin: Make) -> None:
    async with client_on(standin(Host(init="hang"))) as client:
        with pytest.raises(NvmlSilentError) as silent:
            await rows(client)
    assert silent.value.at is None


@pytest.mark.slow
async def test_a_slow_host_has_its_deadline_for_each_gpu(standin: Make) -> None:
    """Without persistence mode a driver may take a second to wake each GPU."""
    host = profiles.l40s_pcie()
    machine = standin(host)
    async with client_on(machine) as client:
        await rows(client)
        machine.become(host.but(0, "hang Name"))
        asked = asyncio.ensure_future(rows(client))
        for place in (1, 2):
            await asyncio.sleep(STEP_SECONDS * 0.6)
            machine.become(host.but(place, "hang Name"))
        await asyncio.sleep(STEP_SECONDS * 0.6)
        machine.become(host)
        assert len(await asked) == 4


async def test_calls_at_once_each_have_their_own_answer(standin: Make) -> None:
    async with client_on(standin(profiles.l40s_pcie())) as client:
        inventory, sample, links = await asyncio.gather(
            rows(client), call(client, "sample", uuids=["GPU-none"]), call(client, "topology")
        )
    assert len(inventory) == 4
    assert sample == {"GPU-none": {"faults": {"gpu": "not_found"}}}
    assert len(links) == 2


async def test_an_answer_to_who_has_left_is_not_taken_for_the_next_ones(standin: Make) -> None:
    host = profiles.l40s_pcie()
    machine = standin(host)
    async with client_on(machine) as client:
        pid = child_of_after(await rows(client), client)
        machine.become(host.but(0, "hang Name"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await rows(client)
        machine.become(host)
        assert await call(client, "sample", uuids=["GPU-none"]) == {
            "GPU-none": {"faults": {"gpu": "not_found"}}
        }
        assert child_of(client) == pid


def child_of_after(_answer: object, client: NvmlClient) -> int:
    return child_of(client)


async def test_a_child_that_was_killed_is_started_again(standin: Make) -> None:
    async with client_on(standin(profiles.l40s_pcie())) as client:
        await rows(client)
        os.kill(child_of(client), signal.SIGKILL)
        await until(lambda: client._wire is not None and client._wire.is_gone)
        assert len(await rows(client)) == 4


async def test_a_child_that_dies_at_work_is_told_of_at_once(standin: Make) -> None:
    async with client_on(standin(profiles.l40s_pcie().but(0, "hang *"))) as client:
        asked = asyncio.ensure_future(client.call("inventory", {}, 60))
        await until(lambda: client._wire is not None and client._wire.at == 0)
        os.kill(child_of(client), signal.SIGKILL)
        with pytest.raises(NvmlBrokenError):
            await asked


@pytest.mark.parametrize(
    "garbage", ["garbage", '{"id": 99, "result": 1}', "[]", '{"id": null}', '{"result": {}}'], ids=str
)
async def test_garbage_on_the_pipe_ends_that_child_and_the_next_answers(
    standin: Make, tmp_path: Path, garbage: str
) -> None:
    (tmp_path / "garbage").write_text(garbage + "\n")
    first = f"if mv {tmp_path}/garbage {tmp_path}/used; then cat {tmp_path}/used; fi 2>/dev/null"
    command = ("/bin/sh", "-c", f'{first}; exec "$@"', "sh", *CHILD)
    client = NvmlClient(command, standin(profiles.l40s_pcie()).environ)
    try:
        with pytest.raises(NvmlBrokenError, match="no answer"):
            await rows(client)
        assert len(await rows(client)) == 4
    finally:
        await client.close()


async def test_a_line_without_end_is_not_collected(standin: Make) -> None:
    client = NvmlClient(("/bin/sh", "-c", "tr '\\0' x < /dev/zero"))
    try:
        with pytest.raises(NvmlBrokenError, match="without end"):
            await rows(client)
    finally:
        await client.close()


async def test_a_child_that_closes_its_pipe_and_lives_on_is_broken() -> None:
    client = NvmlClient(("/bin/sh", "-c", "exec 1>&-; exec sleep 600"))
    with pytest.raises(NvmlBrokenError, match="pipe"):
        await client.call("inventory", {}, 5)
    await client.close()


@pytest.mark.slow
async def test_a_child_that_fails_again_and_again_is_started_more_and_more_rarely() -> None:
    client = NvmlClient(("/bin/false",))
    messages = []
    for _ in range(4):
        with pytest.raises(NvmlBrokenError) as broken:
            await client.call("inventory", {}, 1.2)
        messages.append(str(broken.value))
    assert "again and again" in messages[-1]
    assert "again and again" not in messages[0]
    await client.close()


async def test_a_command_that_is_not_there_is_a_broken_child() -> None:
    client = NvmlClient(("/nonexistent/python",))
    with pytest.raises(NvmlBrokenError, match="does not start"):
        await client.call("inventory", {}, 1)


async def test_past_three_children_that_nothing_ends_no_other_is_started() -> None:
    """What SIGKILL does not end can't be made here; a kill that is not sent looks the same."""
    held: list[Wire] = []
    client = NvmlClient((sys.executable, "-c", "import time; time.sleep(600)"), end=held.append)
    for _ in range(MOST_STUCK):
        client._not_before = 0.0
        with pytest.raises(NvmlSilentError):
            await client.call("inventory", {}, 0.2)
    with pytest.raises(NvmlStuckError, match=r"3 processes .* reboot the host"):
        await client.call("inventory", {}, 0.2)
    for wire in held:
        kill(wire)
    await until(lambda: client.stuck() == 0)
    await client.close()


async def test_after_a_refusal_another_child_is_asked(standin: Make) -> None:
    """A process that loaded the library before an upgrade of the driver is refused for ever."""
    machine = standin(profiles.mismatch())
    async with client_on(machine) as client:
        with pytest.raises(NvmlRefusedError):
            await rows(client)
        machine.become(profiles.l40s_pcie())
        assert len(await rows(client)) == 4


async def test_the_child_leaves_when_the_daemon_is_gone(standin: Make) -> None:
    async with client_on(standin(profiles.l40s_pcie())) as client:
        await rows(client)
        wire = client._wire
        assert wire is not None
        wire.cut("as if we had died")
        await until(lambda: wire.is_gone)
        assert wire.transport.get_returncode() == 0


async def test_the_child_is_small(standin: Make) -> None:
    async with client_on(standin(profiles.hgx_h100())) as client:
        await rows(client)
        await call(client, "events")
        assert peak_kib(child_of(client)) < 30 * 1024


def peak_kib(pid: int) -> int:
    (peak,) = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    ]
    return int(peak.split()[1])


async def test_a_child_that_is_retired_in_a_call_answers_it_and_no_other(standin: Make) -> None:
    async with client_on(standin(profiles.l40s_pcie())) as client:
        await rows(client)
        first = child_of(client)
        under_way = asyncio.ensure_future(rows(client))
        await asyncio.sleep(0)
        client.retire()
        assert len(await under_way) == 4
        assert child_of(client) == first
        assert len(await rows(client)) == 4
        assert child_of(client) != first
