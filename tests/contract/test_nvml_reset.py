"""A GPU's reset by the real adapter: an `nvidia-smi` of the test's own, real processes, and NVML's child on the stand-in."""

import asyncio
import fcntl
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.adapters.no_gpus import NoGpus
from agent.adapters.nvml.client import NvmlClient
from agent.adapters.nvml.gpus import NvmlGpus
from agent.adapters.nvml.port import NvmlPort
from agent.adapters.nvml.smi import ResetFailedError, Smi
from agent.core.gpu_findings import Facts, ResetEnd
from agent.core.gpus import Gpu
from tests.contract.nvml_world import STEP_SECONDS, Make, child_of, port_on, until
from tests.fakes.gpus import FakeGpus
from tests.nvml_standin import profiles
from tests.nvml_standin.profiles import uuid_of
from tests.nvml_standin.smi import IN_USE, StandinSmi

PCI = "00000000:21:00.0"
RESET = f"--gpu-reset -i {PCI}"
FIRST = Gpu(uuid_of(0), "NVIDIA L40S", 45 << 30, pci=PCI)
HANGS = "trap '' TERM INT HUP; echo $$ > new-pid; mv new-pid pid; while :; do sleep 0.05; done"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinSmi]:
    made = StandinSmi(tmp_path)
    monkeypatch.setenv("PATH", made.environ["PATH"])
    yield made
    pid = made.folder / "pid"
    if pid.exists() and is_alive(int(pid.read_text())):
        os.kill(int(pid.read_text()), signal.SIGKILL)


@asynccontextmanager
async def nobody_to_set_aside() -> AsyncIterator[None]:
    yield


def smi_at(tmp_path: Path, seconds: float = 10.0) -> Smi:
    return Smi(nobody_to_set_aside, tmp_path / "lock", seconds)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def asyncio_waits_for_a_child() -> bool:
    """By a thread that ends once it has told the loop; from Python 3.12 on mostly without one."""
    return any(thread.name.startswith("asyncio-waitpid") for thread in threading.enumerate())


async def why(smi: Smi) -> str:
    with pytest.raises(ResetFailedError) as failed:
        await smi.reset(PCI)
    return str(failed.value)


@pytest.mark.slow
async def test_while_a_gpu_is_reset_no_child_of_ours_has_it_open_and_who_asks_waits_for_the_end(
    standin: Make, tmp_path: Path, tool: StandinSmi
) -> None:
    client = NvmlClient(environ=standin(profiles.l40s_pcie()).environ)
    gpus = NvmlGpus(client, tmp_path / "record", STEP_SECONDS)
    port = NvmlPort(gpus, Smi(client.set_aside, tmp_path / "lock"))
    try:
        await port.look(frozenset())
        child = child_of(client)
        tool.become("touch begun; while [ ! -e go ]; do sleep 0.02; done")
        resetting = asyncio.ensure_future(port.reset(FIRST))
        await until((tool.folder / "begun").exists)
        assert not is_alive(child)
        asking = asyncio.ensure_future(port.facts([FIRST.uuid]))
        await asyncio.sleep(2 * STEP_SECONDS)  # longer than any answer may take
        assert not asking.done()
        (tool.folder / "go").touch()
        assert await resetting == ResetEnd()
        assert isinstance((await asking)[FIRST.uuid], Facts)
        assert tool.resets() == [RESET]
    finally:
        await port.close()


@pytest.mark.slow
async def test_a_child_that_can_not_be_ended_keeps_the_gpu_open_so_nothing_is_reset(
    standin: Make, tmp_path: Path, tool: StandinSmi
) -> None:
    client = NvmlClient(environ=standin(profiles.l40s_pcie()).environ, end=lambda _wire: None)
    port = NvmlPort(
        NvmlGpus(client, tmp_path / "record", STEP_SECONDS), Smi(client.set_aside, tmp_path / "lock")
    )
    await port.look(frozenset())
    child = child_of(client)
    os.kill(child, signal.SIGSTOP)  # else it ends as its pipe is closed
    try:
        end = await port.reset(FIRST)
        assert end.failure is not None
        assert "reboot the host" in end.failure
        assert tool.calls() == []
    finally:
        os.kill(child, signal.SIGKILL)
        await port.close()


async def test_what_is_refused_is_told_in_the_tools_own_words_and_the_gpus_can_be_asked_again(
    standin: Make, tmp_path: Path, tool: StandinSmi
) -> None:
    tool.become(f"echo '{IN_USE}'; exit 255")
    async with port_on(standin(profiles.l40s_pcie()), tmp_path) as port:
        failure = (await port.reset(FIRST)).failure
        assert failure is not None
        assert "255" in failure
        assert "In use by another client" in failure
        assert "fuser" in failure
        assert isinstance((await port.facts([FIRST.uuid]))[FIRST.uuid], Facts)


@pytest.mark.parametrize(
    ("reset", "told", "advice"),
    [
        ("echo 'Insufficient Permissions'; exit 255", "Insufficient Permissions", "CAP_SYS_ADMIN"),
        ("exit 4", "ended with 4", "CAP_SYS_ADMIN"),
        ("echo 'GPU is currently in use by another process.'; exit 255", "in use by", "fuser"),
        ("echo 'GPU Reset is not supported'; exit 3", "is not supported", "reboot the host"),
        ("echo 'GPUs with NVLink connections must be named, too' >&2; exit 255", "NVLink", "reset with it"),
        ("exit 1", "said: nothing", "reboot the host"),
        ("kill -9 $$", "ended with -9", "reboot the host"),
    ],
)
async def test_each_refusal_comes_with_what_to_do(
    tmp_path: Path, tool: StandinSmi, reset: str, told: str, advice: str
) -> None:
    tool.become(reset)
    failure = await why(smi_at(tmp_path))
    assert told in failure
    assert advice in failure


async def test_one_that_hangs_is_killed_at_the_deadline_with_all_that_it_started(
    tmp_path: Path, tool: StandinSmi
) -> None:
    tool.become(HANGS)
    failure = await why(smi_at(tmp_path, 0.5))
    assert "no end within 0.5 s and was killed" in failure
    assert not is_alive(int((tool.folder / "pid").read_text()))


@pytest.mark.slow
async def test_one_that_can_not_be_killed_is_left_behind_and_asks_for_a_reboot(
    tmp_path: Path, tool: StandinSmi
) -> None:
    tool.become(HANGS)
    failure = await why(Smi(nobody_to_set_aside, tmp_path / "lock", 0.5, end=lambda _pid: None))
    assert "can't be killed" in failure
    assert "reboot the host" in failure
    pid = int((tool.folder / "pid").read_text())
    await until(lambda: not Path(f"/proc/{pid}").exists())  # asyncio kills what it lets go
    await until(lambda: not asyncio_waits_for_a_child())  # and is told so only after it is gone
    await asyncio.sleep(0)


async def test_without_the_tool_it_is_told_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "install the driver's tools" in await why(smi_at(tmp_path))
    (tmp_path / "nvidia-smi").touch(0o600)
    assert "can't be started" in await why(smi_at(tmp_path))


async def test_a_lock_that_can_not_be_opened_is_a_failure_too(tmp_path: Path, tool: StandinSmi) -> None:
    assert "lock" in await why(Smi(nobody_to_set_aside, tmp_path / "nowhere" / "lock"))
    assert tool.calls() == []


async def test_of_a_flood_of_words_the_last_are_kept_as_one_line(tmp_path: Path, tool: StandinSmi) -> None:
    tool.become("head -c 1000000 /dev/zero | tr '\\0' 'x'; printf '\\nthe \\033[1mend\\n'; exit 1")
    failure = await why(smi_at(tmp_path))
    assert len(failure) < 700
    assert failure.isprintable()
    assert "xx the [1mend; " in failure


async def test_persistence_mode_is_off_during_the_reset_and_then_as_it_was(
    tmp_path: Path, tool: StandinSmi
) -> None:
    for mode, end in (("Enabled", "true"), ("Disabled", "true"), ("Enabled", "exit 1")):
        tool.set_persistence(mode)
        tool.become(end)
        if end == "true":
            await smi_at(tmp_path).reset(PCI)
        else:
            await why(smi_at(tmp_path))
        assert (tool.persistence("persistence-at-reset"), tool.persistence()) == ("Disabled", mode)


async def test_who_resets_again_after_a_death_turns_persistence_mode_on_again(
    tmp_path: Path, tool: StandinSmi
) -> None:
    tool.set_persistence("Enabled")
    tool.become(HANGS)
    dying = asyncio.ensure_future(smi_at(tmp_path).reset(PCI))
    await until((tool.folder / "pid").exists)
    dying.cancel()
    await asyncio.wait({dying})
    assert tool.persistence() == "Disabled"
    tool.become("true")
    await smi_at(tmp_path).reset("00000000:41:00.0")  # another GPU changes nothing of that
    assert tool.persistence() == "Disabled"
    await smi_at(tmp_path).reset(PCI)
    assert tool.persistence() == "Enabled"


async def test_a_reset_that_has_no_end_leaves_persistence_mode_as_it_was(
    tmp_path: Path, tool: StandinSmi
) -> None:
    tool.set_persistence("Enabled")
    tool.become(HANGS)
    assert "was killed" in await why(smi_at(tmp_path, seconds=0.5))
    assert tool.persistence() == "Enabled"


async def test_a_cancelled_reset_is_killed(tmp_path: Path, tool: StandinSmi) -> None:
    tool.become(HANGS)
    resetting = asyncio.ensure_future(smi_at(tmp_path).reset(PCI))
    await until((tool.folder / "pid").exists)
    resetting.cancel()
    await asyncio.wait({resetting})
    assert not is_alive(int((tool.folder / "pid").read_text()))


@pytest.mark.slow
async def test_a_reset_that_outlives_its_daemon_keeps_the_next_one_waiting(
    tmp_path: Path, tool: StandinSmi
) -> None:
    tool.become("echo $$ > new-pid; mv new-pid pid; while [ ! -e go ]; do sleep 0.02; done")
    code = (
        "import asyncio, sys, pathlib; from contextlib import AsyncExitStack; from agent.adapters.nvml.smi import Smi\n"
        "asyncio.run(Smi(AsyncExitStack, pathlib.Path(sys.argv[1])).reset(sys.argv[2]))"
    )
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path / "lock"), PCI, start_new_session=True
    )
    await until((tool.folder / "pid").exists)
    daemon.kill()
    await daemon.wait()
    assert is_alive(int((tool.folder / "pid").read_text()))
    assert "an earlier reset has no end" in await why(smi_at(tmp_path, 0.3))
    again = asyncio.ensure_future(smi_at(tmp_path).reset(PCI))
    await asyncio.sleep(0.3)
    assert tool.resets() == [RESET]
    (tool.folder / "go").touch()
    await again
    assert tool.resets() == [RESET, RESET]


async def test_two_resets_take_turns(tmp_path: Path, tool: StandinSmi) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = asyncio.ensure_future(smi_at(tmp_path).reset(PCI))
        await asyncio.sleep(0.3)
        assert tool.calls() == []
    await waiting
    assert tool.resets() == [RESET]


async def test_the_fake_is_reset_as_a_test_says_and_a_host_without_gpus_resets_none() -> None:
    gpus = FakeGpus()
    assert await gpus.reset(FIRST) == ResetEnd()
    gpus.reset_failures[FIRST.uuid] = "in use"
    assert await gpus.reset(FIRST) == ResetEnd("in use")
    assert (gpus.resets, gpus.under_reset) == ([FIRST.uuid] * 2, set())
    assert (await NoGpus().reset(FIRST)).failure


async def test_a_disk_that_is_full_is_a_reset_that_failed_and_no_end_of_the_daemon(tool: StandinSmi) -> None:
    tool.set_persistence("Enabled")
    assert "No space left" in await why(Smi(nobody_to_set_aside, Path("/dev/full")))
