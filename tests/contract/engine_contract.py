"""contract/engine_contract — what every engine must do, the fake as the real one. A subclass gives the fixture `stage`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, cast

import pytest

from agent.core.bridge import Bridge
from agent.core.container import (
    Container,
    ContainerEvent,
    ContainerPlan,
    ContainerState,
    EventKind,
    LogBounds,
    PublishedPort,
    QuotaVolume,
    StreamOpened,
    VolumeMount,
)
from agent.core.disk_space import CountLimits, Held
from agent.core.gpu_strangers import GpuStranger, GpuStrangers
from agent.core.job import FailureKind, StartFailure
from agent.interfaces import (
    ContainerGoneError,
    Engine,
    EngineRefusedError,
    EngineUnavailableError,
    NameTakenError,
    StartFailedError,
)

T = TypeVar("T")

WITHIN_SECONDS = 20.0
NOBODY = "f" * 64
MIB = 1 << 20
SUBNET6 = "fd6f:6b65:7263::/64"
PLENTY = CountLimits(entries=10_000, seconds=10, fresh_since=0)


@dataclass(frozen=True, slots=True)
class Program:
    """What runs inside: for so long (None: until it is ended), then its exit code; and the one that TERM gives (None: ignored)."""

    seconds: float | None = None
    code: int = 0
    on_term: int | None = 143


FOREVER = Program()
STUBBORN = Program(on_term=None)


class Stage(Protocol):
    """An engine, and the power to do to it what no agent may."""

    engine: Engine
    agent: str
    image: str

    def plan(self, job: str, program: Program) -> ContainerPlan:
        """A plan of this stage's agent and image that runs the program. Its log says `ready` where that can be read."""
        ...

    async def until_ready(self, container: str) -> None:
        """The program runs and has set its signals."""
        ...

    async def run_writer(self, job: str, size: int) -> str:
        """A container of ours runs, and has written so many bytes outside its outputs."""
        ...

    async def make_stranger(self, name: str) -> None:
        """Somebody else's container of that name."""
        ...

    async def run_gpu_stranger(self, name: str, gpu: str) -> None:
        """Somebody else's container of that name runs, and was given the GPU."""
        ...

    async def make_strangers_volume(self, name: str) -> None:
        """Somebody else's volume of that name."""
        ...

    def hold_port(self, transport: str, address: str, port: int) -> AbstractAsyncContextManager[None]:
        """A program of the host holds it meanwhile."""
        ...

    async def make_strangers_network(self, name: str) -> None:
        """Somebody else's network of that name."""
        ...

    async def go_down(self) -> None: ...

    async def come_up(self) -> None: ...


def bare_plan(agent: str, job: str, image: str) -> ContainerPlan:
    """The least that a plan says."""
    return ContainerPlan(
        name=f"gpu-agent-{job}-1",
        agent=agent,
        job=job,
        attempt=1,
        image=image,
        command=None,
        entrypoint=None,
        environment=(),
        secret_environment=(),
        user=None,
        workdir=None,
        cpus=None,
        memory_bytes=None,
        shm_bytes=None,
        pids=64,
        storage_bytes=None,
        bridge=None,
        dns=(),
        ports=(),
        mounts=(),
        gpus=(),
        injection=None,
        cpuset=None,
        runtime=None,
        logs=LogBounds(size_bytes=10_000_000, files=2),
        capabilities=("CHOWN", "KILL"),
        nofile=1024,
        oom_score=500,
    )


class EngineContract:
    async def test_a_created_container_is_found_by_name_and_by_id_with_its_labels(self, stage: Stage) -> None:
        plan = stage.plan("found", FOREVER)
        container = await stage.engine.create(plan, {})
        found = await stage.engine.find(plan.name)
        assert found is not None
        assert found == await stage.engine.inspect(container)
        assert found.id == container
        assert found.state is ContainerState.CREATED
        assert (found.agent, found.job, found.attempt) == (stage.agent, "found", 1)
        assert found.plan == plan.digest
        assert found.exit_code is None

    async def test_a_file_of_a_container_that_never_ran_can_be_looked_at(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("inside", FOREVER), {})
        passwd = await stage.engine.look_inside(container, "/etc/passwd", MIB)
        assert passwd is not None
        assert (passwd.mode, (passwd.data or b"").partition(b":")[0]) == (0o644, b"root")
        # A link to a program, in the images of both.
        shell = await stage.engine.look_inside(container, "/bin/sh", 0)
        assert shell is not None
        assert (shell.mode, shell.data) == (0o755, None)
        for nothing in ("/etc/nobody", "/nobody/passwd", "/etc", "/"):
            assert await stage.engine.look_inside(container, nothing, MIB) is None
        assert await stage.engine.look_inside(NOBODY, "/etc/passwd", MIB) is None
        found = await stage.engine.inspect(container)
        assert found is not None
        assert found.state is ContainerState.CREATED

    async def test_an_inspect_tells_whom_a_container_runs_as(self, stage: Stage) -> None:
        for user in ("worker", "1000:1000", None):
            plan = replace(stage.plan(f"as-{(user or 'nobody')[:4]}", FOREVER), user=user)
            found = await stage.engine.inspect(await stage.engine.create(plan, {}))
            assert found is not None
            assert found.user == (user or "")

    async def test_what_is_not_there_is_none_and_no_error(self, stage: Stage) -> None:
        assert await stage.engine.find("gpu-agent-nobody-1") is None
        assert await stage.engine.inspect(NOBODY) is None
        assert await stage.engine.image("gpu-agent-test/nobody:1") is None

    async def test_an_image_that_is_there_is_told_with_its_id(self, stage: Stage) -> None:
        image = await stage.engine.image(stage.image)
        assert image is not None
        assert image.id.startswith("sha256:")
        assert image.size_bytes > 0

    async def test_what_a_container_wrote_is_held_and_nothing_where_it_is_gone(self, stage: Stage) -> None:
        idle = await stage.run_writer("idle", 0)
        writer = await stage.run_writer("writer", 8 * MIB)
        assert (await stage.engine.held(idle, PLENTY)).bytes < MIB
        held = await stage.engine.held(writer, PLENTY)
        assert held.is_whole
        assert 8 * MIB <= held.fresh_bytes <= held.bytes < 9 * MIB
        assert 0 < held.fresh_files <= held.files <= held.entries
        assert not (await stage.engine.held(writer, replace(PLENTY, entries=0))).is_whole
        assert await stage.engine.held(NOBODY, PLENTY) == Held()

    async def test_the_disk_of_containers_has_room_also_while_the_engine_is_down(self, stage: Stage) -> None:
        space = await stage.engine.space()
        assert space is not None
        assert space.free_bytes > 0
        await stage.go_down()
        again = await stage.engine.space()
        assert again is not None
        assert again.device == space.device
        await stage.come_up()

    async def test_a_strangers_container_that_has_a_gpu_is_told_of_with_it(self, stage: Stage) -> None:
        await stage.make_stranger("gpu-agent-without-1")
        assert await stage.engine.gpu_strangers() == GpuStrangers()
        await stage.run_gpu_stranger("gpu-agent-having-1", "GPU-77777777-abcd")
        having = GpuStranger("gpu-agent-having-1", ("GPU-77777777-abcd",))
        for _ in range(2):
            assert await stage.engine.gpu_strangers() == GpuStrangers((having,))

    async def test_a_second_container_of_a_name_is_refused(self, stage: Stage) -> None:
        plan = stage.plan("twice", FOREVER)
        await stage.engine.create(plan, {})
        with pytest.raises(NameTakenError):
            await stage.engine.create(plan, {})

    async def test_a_strangers_name_is_taken_and_his_container_is_not_ours(self, stage: Stage) -> None:
        plan = stage.plan("stranger", FOREVER)
        await stage.make_stranger(plan.name)
        with pytest.raises(NameTakenError):
            await stage.engine.create(plan, {})
        found = await stage.engine.find(plan.name)
        assert found is not None
        assert found.agent is None
        assert await stage.engine.ours() == []

    async def test_a_container_whose_image_is_gone_is_a_start_failure(self, stage: Stage) -> None:
        plan = bare_plan(stage.agent, "no-image", "gpu-agent-test/nobody:1")
        with pytest.raises(StartFailedError) as raised:
            await stage.engine.create(plan, {})
        assert raised.value.failure.kind is FailureKind.IMAGE

    async def test_starting_twice_is_starting_once(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("start", FOREVER), {})
        await stage.engine.start(container)
        first = await stage.engine.inspect(container)
        await stage.engine.start(container)
        second = await stage.engine.inspect(container)
        assert first is not None
        assert first.state is ContainerState.RUNNING
        assert first.pid is not None
        assert first.started_at is not None
        assert second == first

    async def test_starting_what_is_gone_says_so(self, stage: Stage) -> None:
        with pytest.raises(ContainerGoneError):
            await stage.engine.start(NOBODY)

    async def test_a_program_that_ends_leaves_its_exit_code(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("exit", Program(seconds=0.1, code=7)), {})
        await stage.engine.start(container)
        seen = await until_exited(stage.engine, container)
        assert seen.exit_code == 7
        assert seen.pid is None
        assert not seen.oom
        assert seen.finished_at is not None

    async def test_term_ends_a_program_that_heeds_it(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("heeds", FOREVER), {})
        await stage.engine.start(container)
        await stage.until_ready(container)
        await stage.engine.kill(container, "SIGTERM")
        assert (await until_exited(stage.engine, container)).exit_code == 143

    async def test_kill_ends_a_program_that_ignores_term(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("stubborn", STUBBORN), {})
        await stage.engine.start(container)
        await stage.until_ready(container)
        await stage.engine.kill(container, "SIGTERM")
        survivor = await stage.engine.inspect(container)
        assert survivor is not None
        assert survivor.state is ContainerState.RUNNING
        await stage.engine.kill(container, "SIGKILL")
        assert (await until_exited(stage.engine, container)).exit_code == 137

    async def test_killing_what_does_not_run_or_is_gone_is_fine(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("kill-late", Program(seconds=0.05)), {})
        await stage.engine.kill(container, "SIGKILL")
        await stage.engine.start(container)
        await until_exited(stage.engine, container)
        await stage.engine.kill(container, "SIGKILL")
        await stage.engine.kill(NOBODY, "SIGKILL")

    async def test_removing_twice_is_removing_once(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("remove", FOREVER), {})
        assert await stage.engine.remove(container)
        assert await stage.engine.remove(container)
        assert await stage.engine.inspect(container) is None

    async def test_a_running_container_is_never_removed(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("runs-on", FOREVER), {})
        await stage.engine.start(container)
        # To refuse is as good as to do nothing.
        with suppress(EngineRefusedError):
            await stage.engine.remove(container)
        seen = await stage.engine.inspect(container)
        assert seen is not None
        assert seen.state is ContainerState.RUNNING

    async def test_ours_are_all_of_ours_in_any_state(self, stage: Stage) -> None:
        created = await stage.engine.create(stage.plan("one", FOREVER), {})
        running = await stage.engine.create(stage.plan("two", FOREVER), {})
        exited = await stage.engine.create(stage.plan("three", Program(seconds=0.05)), {})
        await stage.engine.start(running)
        await stage.engine.start(exited)
        await until_exited(stage.engine, exited)
        ours = {container.id: (container.state, container.job) for container in await stage.engine.ours()}
        assert ours == {
            created: (ContainerState.CREATED, "one"),
            running: (ContainerState.RUNNING, "two"),
            exited: (ContainerState.EXITED, "three"),
        }

    async def test_a_life_is_told_by_events_in_order_live_and_again_later(self, stage: Stage) -> None:
        async with aclosing(opened(stage.engine.events(0.0))) as stream:
            assert isinstance(await anext(stream), StreamOpened)
            container = await stage.engine.create(stage.plan("life", FOREVER), {})
            await stage.engine.start(container)
            await stage.engine.kill(container, "SIGKILL")
            await until_exited(stage.engine, container)
            await stage.engine.remove(container)
            live = await until_destroyed(stream, container)
        assert [event.kind for event in live] == [
            EventKind.CREATE,
            EventKind.START,
            EventKind.KILL,
            EventKind.DIE,
            EventKind.DESTROY,
        ]
        assert {(event.job, event.attempt) for event in live} == {("life", 1)}
        assert [event.at for event in live] == sorted(event.at for event in live)
        async with aclosing(opened(stage.engine.events(live[1].at))) as again:
            assert isinstance(await anext(again), StreamOpened)
            assert await until_destroyed(again, container) == live[1:]

    async def test_the_stream_of_events_breaks_with_its_engine(self, stage: Stage) -> None:
        async with aclosing(opened(stage.engine.events(0.0))) as stream:
            await anext(stream)
            await stage.go_down()
            with pytest.raises(EngineUnavailableError):
                async with asyncio.timeout(WITHIN_SECONDS):
                    await collect(stream)
        await stage.come_up()

    async def test_logs_of_what_is_gone_say_so(self, stage: Stage) -> None:
        for logs in (stage.engine.read_logs, stage.engine.follow_logs):
            with pytest.raises(ContainerGoneError):
                await collect(logs(NOBODY, 0))

    async def test_following_ends_with_the_container(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("follow", Program(seconds=0.3)), {})
        await stage.engine.start(container)
        async with asyncio.timeout(WITHIN_SECONDS):
            await collect(stage.engine.follow_logs(container, 0))
        assert (await until_exited(stage.engine, container)).exit_code == 0

    async def test_peak_memory_is_told_of_what_runs_only(self, stage: Stage) -> None:
        container = await stage.engine.create(stage.plan("peak", FOREVER), {})
        await stage.engine.start(container)
        running = await stage.engine.inspect(container)
        assert running is not None
        seen = await stage.engine.peak_memory(running)
        assert seen is not None
        assert seen.bytes > 0
        await stage.engine.kill(container, "SIGKILL")
        exited = await until_exited(stage.engine, container)
        assert await stage.engine.peak_memory(exited) is None

    async def test_what_a_container_uses_is_told_while_it_runs_and_its_counters_go_on(
        self, stage: Stage
    ) -> None:
        engine = stage.engine
        container = await engine.create(stage.plan("stats", FOREVER), {})
        assert await engine.stats(container) is None
        await engine.start(container)
        await stage.until_ready(container)
        first = await engine.stats(container)
        await asyncio.sleep(0.5)
        second = await engine.stats(container)
        assert first is not None
        assert second is not None
        assert 0 < (first.cpu_seconds or 0) < (second.cpu_seconds or 0)
        assert 0 < (second.memory_bytes or 0) < (second.memory_limit_bytes or 0)
        assert (second.pids or 0) >= 1
        await engine.kill(container, "SIGKILL")
        await until_exited(engine, container)
        assert await engine.stats(container) is None
        assert await engine.stats(NOBODY) is None

    async def test_the_bridge_is_made_once(self, stage: Stage) -> None:
        assert await stage.engine.find_bridge("gatest5") is None
        await asyncio.gather(*(stage.engine.ensure_bridge("gatest5", SUBNET6) for _ in range(3)))
        for subnet6 in (SUBNET6, None, "fd00:2::/64"):
            await stage.engine.ensure_bridge("gatest5", subnet6)
            assert await stage.engine.find_bridge("gatest5") == Bridge("gatest5", SUBNET6)

    async def test_a_bridge_may_have_no_ipv6_and_then_stays_without(self, stage: Stage) -> None:
        await stage.engine.ensure_bridge("gatest4", None)
        await stage.engine.ensure_bridge("gatest4", SUBNET6)
        assert await stage.engine.find_bridge("gatest4") == Bridge("gatest4", None)

    async def test_a_strangers_network_of_our_bridges_name_is_refused(self, stage: Stage) -> None:
        await stage.make_strangers_network("gatest1")
        with pytest.raises(EngineRefusedError, match="gatest1"):
            await stage.engine.ensure_bridge("gatest1", None)
        with pytest.raises(EngineRefusedError, match="gatest1"):
            await stage.engine.find_bridge("gatest1")

    @pytest.mark.parametrize("address", ["0.0.0.0", "::"])
    @pytest.mark.parametrize("transport", ["tcp", "udp"])
    async def test_a_port_that_another_container_holds_is_named(
        self, stage: Stage, transport: str, address: str
    ) -> None:
        await start(stage, await publishing(stage, "first", PublishedPort(8080, transport, address, 20001)))
        plan = await publishing(stage, "second", PublishedPort(8080, transport, address, 20001))
        failure = await refused_start(stage, plan)
        assert (failure.kind, failure.code, failure.host_port) == (FailureKind.PORT, "port_taken", 20001)

    @pytest.mark.parametrize("held_at", ["0.0.0.0", "127.0.0.1", "::", "::1"])
    @pytest.mark.parametrize("transport", ["tcp", "udp"])
    async def test_of_several_ports_the_one_that_a_program_of_the_host_holds_is_named(
        self, stage: Stage, transport: str, held_at: str
    ) -> None:
        both = [
            PublishedPort(port, kind, address, 20000 + port - 8080)
            for port, kind in ((8080, "tcp"), (8081, "udp"), (8082, transport))
            for address in ("0.0.0.0", "::")
        ]
        async with stage.hold_port(transport, held_at, 20002):
            failure = await refused_start(stage, await publishing(stage, "job", *both))
        assert (failure.kind, failure.host_port) == (FailureKind.PORT, 20002)

    async def test_one_number_may_be_had_for_each_transport_and_for_addresses_that_do_not_overlap(
        self, stage: Stage
    ) -> None:
        sockets = [("tcp", "127.0.0.1"), ("udp", "0.0.0.0"), ("tcp", "::1"), ("udp", "::")]
        for number, (transport, address) in enumerate(sockets):
            port = PublishedPort(8080, transport, address, 20003)
            await start(stage, await publishing(stage, f"job-{number}", port))
        both = (PublishedPort(8080, "tcp", address, 20004) for address in ("0.0.0.0", "::"))
        await start(stage, await publishing(stage, "both", *both))

    async def test_a_start_that_found_its_port_taken_leaves_a_container_that_can_be_removed(
        self, stage: Stage
    ) -> None:
        port = PublishedPort(8080, "tcp", "0.0.0.0", 20005)
        await start(stage, await publishing(stage, "first", port))
        plan = await publishing(stage, "second", port)
        await refused_start(stage, plan)
        left = await stage.engine.find(plan.name)
        assert left is not None
        assert left.exit_code is None
        assert await stage.engine.remove(left.id)
        assert await stage.engine.find(plan.name) is None

    async def test_a_volume_is_made_once_and_is_found_and_listed_until_it_is_removed(
        self, stage: Stage
    ) -> None:
        engine, volume = stage.engine, volume_of(stage, "made", 77)
        assert await engine.find_volume(volume.name) is None
        for _ in range(2):
            await engine.ensure_volume(volume)
            assert await engine.find_volume(volume.name) == volume
            assert await engine.volumes() == [volume]
        for _ in range(2):
            assert await engine.remove_volume(volume.name)
            assert await engine.volumes() == []

    async def test_a_volume_on_another_device_is_made_anew(self, stage: Stage) -> None:
        await stage.engine.ensure_volume(volume_of(stage, "moved", 77))
        moved = volume_of(stage, "moved", 78)
        await stage.engine.ensure_volume(moved)
        assert await stage.engine.volumes() == [moved]

    async def test_a_volume_that_a_container_holds_is_neither_removed_nor_made_anew(
        self, stage: Stage
    ) -> None:
        engine, volume = stage.engine, volume_of(stage, "held", 77)
        await engine.ensure_volume(volume)
        mount = VolumeMount(volume, "/outputs")
        container = await engine.create(replace(stage.plan("held", FOREVER), mounts=(mount,)), {})
        assert not await engine.remove_volume(volume.name)
        with pytest.raises(EngineRefusedError):
            await engine.ensure_volume(volume_of(stage, "held", 78))
        assert await engine.find_volume(volume.name) == volume
        await engine.remove(container)
        assert await engine.remove_volume(volume.name)

    async def test_a_create_that_finds_its_volume_gone_makes_it_as_it_was(self, stage: Stage) -> None:
        volume = volume_of(stage, "gone", 77)
        mounts = (VolumeMount(volume, "/outputs"),)
        container = await stage.engine.create(replace(stage.plan("gone", FOREVER), mounts=mounts), {})
        assert await stage.engine.volumes() == [volume]
        await stage.engine.remove(container)
        assert await stage.engine.volumes() == [volume], "what is removed with a container is anonymous"

    async def test_a_strangers_volume_is_not_ours_and_is_left_alone(self, stage: Stage) -> None:
        volume = volume_of(stage, "strange", 77)
        await stage.make_strangers_volume(volume.name)
        with pytest.raises(NameTakenError):
            await stage.engine.ensure_volume(volume)
        assert await stage.engine.find_volume(volume.name) is None
        assert await stage.engine.volumes() == []

    async def test_an_engine_that_is_down_is_unavailable_to_every_call_and_comes_back(
        self, stage: Stage
    ) -> None:
        engine = stage.engine
        container = await engine.create(stage.plan("down", FOREVER), {})
        await stage.go_down()
        for call in (
            engine.facts,
            engine.ours,
            lambda: engine.find("x"),
            lambda: engine.inspect(container),
            lambda: engine.create(stage.plan("down-2", FOREVER), {}),
            lambda: engine.start(container),
            lambda: engine.kill(container, "SIGKILL"),
            lambda: engine.remove(container),
            lambda: engine.image(stage.image),
            lambda: engine.stats(container),
            lambda: engine.held(container, PLENTY),
            lambda: engine.ensure_bridge("gatest0", None),
            lambda: engine.find_bridge("gatest0"),
            lambda: engine.ensure_volume(volume_of(stage, "down", 77)),
            lambda: engine.find_volume("gpu-agent-down"),
            engine.volumes,
            lambda: engine.remove_volume("gpu-agent-down"),
            lambda: collect(engine.events(0.0)),
            lambda: collect(engine.read_logs(container, 0)),
            lambda: collect(engine.follow_logs(container, 0)),
            lambda: collect(engine.pull("localhost:1/nobody:1", None)),
        ):
            with pytest.raises(EngineUnavailableError):
                await call()
        await stage.come_up()
        found = await engine.inspect(container)
        assert found is not None
        assert found.state is ContainerState.CREATED


async def publishing(stage: Stage, job: str, *ports: PublishedPort) -> ContainerPlan:
    await stage.engine.ensure_bridge("gatest0", SUBNET6)
    return replace(stage.plan(job, FOREVER), bridge="gatest0", ports=ports)


async def start(stage: Stage, plan: ContainerPlan) -> None:
    await stage.engine.start(await stage.engine.create(plan, {}))


async def refused_start(stage: Stage, plan: ContainerPlan) -> StartFailure:
    with pytest.raises(StartFailedError) as raised:
        await start(stage, plan)
    return raised.value.failure


def volume_of(stage: Stage, job: str, number: int) -> QuotaVolume:
    """On a device that need not be there: a volume is only a name until a container starts. Of this stage's agent alone."""
    return QuotaVolume(f"gpu-agent-{stage.agent}-{job}", job, f"/dev/loop{number}")


def opened(stream: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The protocol promises an iterator; every engine gives a generator, which a test can close at once."""
    return cast("AsyncGenerator[T, None]", stream)


async def collect(stream: AsyncIterator[T]) -> list[T]:
    return [item async for item in stream]


async def until_destroyed(
    stream: AsyncIterator[ContainerEvent | StreamOpened], container: str
) -> list[ContainerEvent]:
    seen: list[ContainerEvent] = []
    async with asyncio.timeout(WITHIN_SECONDS):
        async for event in stream:
            if isinstance(event, ContainerEvent) and event.container == container:
                seen.append(event)
                if event.kind is EventKind.DESTROY:
                    break
    return seen


async def until_exited(engine: Engine, container: str) -> Container:
    return await until(engine, container, lambda seen: seen.state is ContainerState.EXITED)


async def until(engine: Engine, container: str, holds: Callable[[Container], bool]) -> Container:
    async with asyncio.timeout(WITHIN_SECONDS):
        while True:
            seen = await engine.inspect(container)
            if seen is not None and holds(seen):
                return seen
            await asyncio.sleep(0.02)
