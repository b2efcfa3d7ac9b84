"""A small working engine in memory: containers live on the loop's clock, calls can be lost, late or refused at will.

A call's fate is chosen by `fates`: a function asked before each call with its name and target; it returns a `Fate`.
`after` is called when a call has taken effect and before its answer; either may raise, as a death of the daemon would.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from ipaddress import ip_address

from agent.core.bridge import Bridge
from agent.core.container import (
    Container,
    ContainerEvent,
    ContainerPlan,
    ContainerState,
    Credentials,
    EngineFacts,
    EventKind,
    Image,
    InsideFile,
    MemorySeen,
    PullProgress,
    QuotaVolume,
    StreamOpened,
    VolumeMount,
    just_created,
)
from agent.core.container_stats import ContainerStats
from agent.core.disk_space import CountLimits, DiskSpace, Held
from agent.core.exec import ExecPlan
from agent.core.gpu_strangers import GpuStranger, GpuStrangers
from agent.core.job import FailureKind, StartFailure
from agent.interfaces import (
    Clock,
    ContainerGoneError,
    ContainerNotRunningError,
    EngineRefusedError,
    EngineUnavailableError,
    ExecSession,
    NameTakenError,
    PullFailedError,
    StartFailedError,
)
from agent.interfaces.engine import Trouble
from tests.fakes.disk import FakeDisk
from tests.fakes.execs import FakeExecs

RING = 256
USUAL_FILES = {
    "/etc/passwd": InsideFile(0o644, b"root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/tmp:/bin/sh\n"),
    "/bin/sh": InsideFile(0o755, b"a program"),
}


class Fate(Enum):
    WORKS = "works"
    NEVER = "no answer, and it never takes effect"
    LOST = "it takes effect at once, its answer is lost"
    LATE = "no answer, and it takes effect when the test lets it"


@dataclass(frozen=True, slots=True)
class Program:
    """What runs inside: ends by itself after `seconds` with `code` (None: never); on TERM with `on_term` (None: ignored).

    `output`: raw frames that it has written as soon as it runs.
    """

    seconds: float | None = None
    code: int = 0
    on_term: int | None = 143
    output: tuple[bytes, ...] = ()


@dataclass(slots=True)
class _Box:
    seen: Container
    plan: ContainerPlan | None
    runs: int = 0
    timer: asyncio.TimerHandle | None = None
    logs: list[tuple[int, bytes]] = field(default_factory=list)


Socket = tuple[str, str, int]  # transport, address, port


def sockets_of(plan: ContainerPlan | None) -> set[Socket]:
    return {(port.transport, port.host_address, port.host_port) for port in (plan.ports if plan else ())}


def collide(one: Socket, other: Socket) -> bool:
    """As the kernel has it: one transport, one number, and addresses that are the same or one of them all of its kind."""
    if (one[0], one[2]) != (other[0], other[2]):
        return False
    here, there = ip_address(one[1]), ip_address(other[1])
    return here == there or (here.version == there.version and (here.is_unspecified or there.is_unspecified))


class FakeEngine:
    def __init__(self, clock: Clock, agent_id: str = "agent-1") -> None:
        self.clock = clock
        self.agent_id = agent_id
        self.images: dict[str, Image] = {}
        self.execs = FakeExecs()
        self.registry: dict[str, Image | PullFailedError] = {}
        self.program = Program()
        self.programs: dict[str, Program] = {}  # by job id
        self.strangers_ports: set[int] = set()  # held for both protos, on every address
        self.strangers_sockets: set[Socket] = set()
        self.bridges: dict[str, Bridge] = {}
        self.strangers_networks: set[str] = set()
        self.strangers: list[GpuStranger] = []
        self.start_failures: deque[StartFailure] = deque()
        self.live_restore = True
        self.seccomp = True
        self.userns = False
        self.runtimes = frozenset({"runc", "nvidia"})
        self.cdi_gpus: frozenset[str] = frozenset()  # without any, CDI is off
        self.is_up = True
        self.disk: FakeDisk | None = (
            FakeDisk()
        )  # None: not in sight; containers' own files are written to it by id
        self.fates: Callable[[str, str], Fate] = lambda _name, _target: Fate.WORKS
        self.late: list[Callable[[], None]] = []
        self.calls: list[tuple[str, str]] = []
        self.pulls = 0
        self.pull_gate: asyncio.Event | None = None
        self.boxes: dict[str, _Box] = {}
        self.volumes_by_name: dict[str, QuotaVolume] = {}
        self.strangers_volumes: set[str] = set()
        self.unremovable_volumes: set[str] = set()
        self.devices_at_start: list[tuple[str, str]] = []  # job and device of every start that took effect
        self.files = dict(USUAL_FILES)  # of every image
        self.started_twice: list[str] = []
        self.starts: list[tuple[str, int]] = []  # job and attempt of every start that took effect
        self.removed_undrained: list[str] = []
        self.after: Callable[[str, str], None] = lambda _name, _target: None
        self._codes_at_start: dict[str, int] = {}
        self.has_told_where = False  # where its disk is: to this agent, since its start
        self._ring: deque[ContainerEvent] = deque(maxlen=RING)
        self._streams: list[asyncio.Queue[ContainerEvent | None]] = []
        self._count = 0

    # ── the Engine protocol ──

    async def renew_specs(self, facts: EngineFacts) -> EngineFacts:
        return replace(facts, cdi_gpus=self.cdi_gpus if facts.cdi_dirs else frozenset())

    async def facts(self) -> EngineFacts:
        await self._answer("facts", "")
        return EngineFacts(
            version="26.1.5",
            api_version="1.45",
            live_restore=self.live_restore,
            seccomp=self.seccomp,
            cgroup_version=2,
            architecture="x86_64",
            cpus=8,
            memory_bytes=2**34,
            storage_driver="overlay2",
            userns=self.userns,
            data_root="/",
            runtimes=self.runtimes,
            cdi_dirs=("/etc/cdi",) if self.cdi_gpus else (),
            cdi_gpus=self.cdi_gpus,
        )

    async def find(self, name: str) -> Container | None:
        await self._answer("find", name)
        return next((box.seen for box in self.boxes.values() if box.seen.name == name), None)

    async def inspect(self, container: str) -> Container | None:
        await self._answer("inspect", container)
        box = self.boxes.get(container)
        return box.seen if box else None

    async def ours(self) -> list[Container]:
        await self._answer("ours", "")
        return [box.seen for box in self.boxes.values() if box.seen.agent == self.agent_id]

    async def gpu_strangers(self) -> GpuStrangers:
        await self._answer("gpu_strangers", "")
        return GpuStrangers(tuple(self.strangers))

    async def create(self, plan: ContainerPlan, secrets: Mapping[str, str]) -> str:
        fate = await self._answer("create", plan.name)
        if fate in {Fate.NEVER, Fate.LATE}:
            self._no_answer(fate, lambda: self._create_late(plan))
        if any(box.seen.name == plan.name for box in self.boxes.values()):
            raise NameTakenError(f"the name {plan.name} is in use")
        if not any(plan.image in {image.digest, image.id} for image in self.images.values()):
            raise StartFailedError(
                StartFailure(FailureKind.IMAGE, "image_not_found", f"no image {plan.image}")
            )
        container = self._create(plan)
        self.after("create", plan.name)
        if fate is Fate.LOST:
            raise EngineUnavailableError("the answer was lost")
        return container

    async def start(self, container: str) -> None:
        fate = await self._answer("start", container)
        if fate in {Fate.NEVER, Fate.LATE}:
            self._no_answer(fate, lambda: self._start_quietly(container))
        self._start(container)
        self.after("start", container)
        if fate is Fate.LOST:
            raise EngineUnavailableError("the answer was lost")

    async def look_inside(self, container: str, path: str, most_bytes: int) -> InsideFile | None:
        await self._answer("look_inside", container)
        file = self.files.get(path) if container in self.boxes else None
        if file is None or file.data is None or len(file.data) <= most_bytes:
            return file
        return InsideFile(file.mode, None)

    async def kill(self, container: str, signal: str) -> None:
        fate = await self._answer("kill", container)
        if fate in {Fate.NEVER, Fate.LATE}:
            self._no_answer(fate, lambda: self.kill_now(container, signal))
        self.kill_now(container, signal)
        self.after("kill", container)
        if fate is Fate.LOST:
            raise EngineUnavailableError("the answer was lost")

    async def remove(self, container: str) -> bool:
        fate = await self._answer("remove", container)
        if fate in {Fate.NEVER, Fate.LATE}:
            self._no_answer(fate, lambda: self.remove_now(container))
        self.remove_now(container)
        self.after("remove", container)
        if fate is Fate.LOST:
            raise EngineUnavailableError("the answer was lost")
        return container not in self.boxes

    async def peak_memory(self, container: Container) -> MemorySeen | None:
        box = self.boxes.get(container.id)
        is_running = box is not None and box.seen.state is ContainerState.RUNNING
        return MemorySeen(10_000_000, is_kept=True) if is_running else None

    async def stats(self, container: str) -> ContainerStats | None:
        await self._answer("stats", container)
        box = self.boxes.get(container)
        if box is None or box.seen.state is not ContainerState.RUNNING or box.seen.started_at is None:
            return None
        # One core and a half, always.
        seconds = 1.5 * (self.clock.now() - box.seen.started_at)
        return ContainerStats(seconds, 10_000_000, 2**30, 3, 1000, 2000, 4096, 8192)

    async def space(self) -> DiskSpace | None:
        if not self.is_up and not self.has_told_where:
            raise EngineUnavailableError("the engine is down")
        self.has_told_where = True
        return self.disk.space() if self.disk is not None else None

    async def held(self, container: str, limits: CountLimits) -> Held:
        await self._answer("held", container)
        if container not in self.boxes or self.disk is None:
            return Held()
        return self.disk.held(container, limits)

    async def events(self, since: float) -> AsyncGenerator[ContainerEvent | StreamOpened]:
        await self._answer("events", "")
        queue: asyncio.Queue[ContainerEvent | None] = asyncio.Queue()
        for event in self._ring:
            if event.at >= since:
                queue.put_nowait(event)
        self._streams.append(queue)
        try:
            yield StreamOpened()
            while (told := await queue.get()) is not None:
                yield told
        finally:
            self._streams.remove(queue)
        raise EngineUnavailableError("the stream broke")

    async def read_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        await self._answer("read_logs", container)
        box = self.boxes.get(container)
        if box is None:
            raise ContainerGoneError(f"no container {container}")
        yield b"".join(frame for at, frame in box.logs if at >= since_ns)

    async def follow_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        await self._answer("read_logs", container)
        box = self.boxes.get(container)
        if box is None:
            raise ContainerGoneError(f"no container {container}")
        at, is_live = 0, True
        while is_live:
            is_live = self.boxes.get(container) is box and box.seen.state is ContainerState.RUNNING
            fresh, at = box.logs[at:], len(box.logs)
            yield b"".join(frame for ns, frame in fresh if ns >= since_ns)
            await asyncio.sleep(0.1 if is_live else 0)

    @asynccontextmanager
    async def open_exec(self, container: str, plan: ExecPlan) -> AsyncIterator[ExecSession]:
        await self._answer("open_exec", container)
        box = self.boxes.get(container)
        if box is None:
            raise ContainerGoneError(f"no container {container}")
        if box.seen.state is not ContainerState.RUNNING:
            raise ContainerNotRunningError(f"container {container} is not running")
        async with self.execs.open(container, plan) as session:
            yield session

    async def image(self, reference: str) -> Image | None:
        await self._answer("image", reference)
        return self.images.get(reference)

    async def pull(self, reference: str, credentials: Credentials | None) -> AsyncGenerator[PullProgress]:
        await self._answer("pull", reference)
        self.pulls += 1
        yield PullProgress(1, 2, 0, 1)
        if self.pull_gate is not None:
            await self.pull_gate.wait()
        found = self.registry.get(reference)
        if found is None:
            raise PullFailedError("image_not_found", f"no {reference} in the registry")
        if isinstance(found, PullFailedError):
            raise found
        self.images[reference] = found
        yield PullProgress(2, 2, 1, 1)

    async def ensure_bridge(self, name: str, subnet6: str | None) -> None:
        await self._answer("ensure_bridge", name)
        if name in self.strangers_networks:
            raise EngineRefusedError(f"the network {name} is there and is not gpu-agent's")
        self.bridges.setdefault(name, Bridge(name, subnet6))

    async def find_bridge(self, name: str) -> Bridge | None:
        await self._answer("find_bridge", name)
        if name in self.strangers_networks:
            raise EngineRefusedError(f"the network {name} is there and is not gpu-agent's")
        return self.bridges.get(name)

    async def ensure_volume(self, volume: QuotaVolume) -> None:
        await self._answer("ensure_volume", volume.name)
        if volume.name in self.strangers_volumes:
            raise NameTakenError(f"the volume {volume.name} is somebody else's")
        if self.volumes_by_name.get(volume.name) not in {volume, None} and self._is_held(volume.name):
            raise EngineRefusedError(f"a container holds {volume.name}")
        self.volumes_by_name[volume.name] = volume
        self.after("ensure_volume", volume.name)

    async def find_volume(self, name: str) -> QuotaVolume | None:
        await self._answer("find_volume", name)
        return self.volumes_by_name.get(name)

    async def volumes(self) -> list[QuotaVolume]:
        await self._answer("volumes", "")
        return list(self.volumes_by_name.values())

    async def remove_volume(self, name: str) -> bool:
        await self._answer("remove_volume", name)
        if name in self.unremovable_volumes and name in self.volumes_by_name:
            raise EngineRefusedError(f"the engine answered 500: remove {name}: no such file or directory")
        if self._is_held(name):
            return False
        self.volumes_by_name.pop(name, None)
        self.after("remove_volume", name)
        return True

    # ── what a test does to it ──

    def add_image(self, reference: str) -> None:
        self.images[reference] = Image(f"sha256:{reference}", f"{reference}@sha256:1", 1000)

    def take_name(self, name: str) -> None:
        """A stranger's container holds the name."""
        self._add(Container(self._new_id(), name, ContainerState.RUNNING), None)

    def kill_from_outside(self, container: str, code: int = 137) -> None:
        self._tell(EventKind.KILL, container)
        self._die(container, code)

    def remove_from_outside(self, container: str) -> None:
        if self.boxes[container].seen.state is ContainerState.RUNNING:
            self.kill_from_outside(container)
        del self.boxes[container]

    def exit_now(self, container: str, code: int) -> None:
        self._die(container, code)

    def let_late_calls_take_effect(self) -> None:
        late, self.late = self.late, []
        for effect in late:
            effect()

    def stop(self, codes: Mapping[str, int] | None = None) -> None:
        """The engine stops; without live-restore it takes its containers with it, as TERM and KILL events tell."""
        if not self.live_restore:
            self._end_all(codes or {})
        self.is_up = False
        self._break_streams()

    def crash(self, codes: Mapping[str, int] | None = None) -> None:
        """It is killed: nobody hears of anything. Without live-restore its next start ends the containers, with these codes."""
        self.is_up = False
        self._codes_at_start = dict(codes or {})
        self._break_streams()

    def come_up(self) -> None:
        """Before anybody can connect, one without live-restore ends what it finds running, and tells so in its replay."""
        self._ring.clear()
        self.is_up = True
        if not self.live_restore:
            self._end_all(self._codes_at_start)
        self._codes_at_start = {}

    def reboot(self, codes: Mapping[str, int] | None = None) -> None:
        """Nobody hears of anything."""
        self.is_up = False
        self._break_streams()
        for container in self.running():
            self._die(container.id, (codes or {}).get(container.id, 137))
        self.late.clear()
        self.come_up()

    def running(self) -> list[Container]:
        return [box.seen for box in self.boxes.values() if box.seen.state is ContainerState.RUNNING]

    def kill_now(self, container: str, signal: str) -> None:
        box = self.boxes.get(container)
        if box is None or box.seen.state is not ContainerState.RUNNING:
            return
        self._tell(EventKind.KILL, container)
        on_term = self._program(box).on_term
        if signal == "SIGKILL":
            self._die(container, 137)
        elif on_term is not None:
            self._die(container, on_term)

    def remove_now(self, container: str) -> None:
        box = self.boxes.get(container)
        if box is not None and box.seen.state is not ContainerState.RUNNING:
            self._tell(EventKind.DESTROY, container)
            self.execs.remove(container)
            del self.boxes[container]

    # ── inside ──

    def _is_held(self, volume: str) -> bool:
        return any(volume in _volumes_of(box) for box in self.boxes.values())

    async def _answer(self, name: str, target: str) -> Fate:
        await asyncio.sleep(0.001)
        self.calls.append((name, target))
        if not self.is_up:
            raise EngineUnavailableError("the engine is down")
        return self.fates(name, target)

    def _no_answer(self, fate: Fate, effect: Callable[[], None]) -> None:
        if fate is Fate.LATE:
            self.late.append(effect)
        raise EngineUnavailableError("no answer", Trouble.HANGS)

    def _new_id(self) -> str:
        self._count += 1
        return f"c{self._count:063d}"

    def _add(self, seen: Container, plan: ContainerPlan | None) -> None:
        self.boxes[seen.id] = _Box(seen, plan)
        self._tell(EventKind.CREATE, seen.id)

    def _create(self, plan: ContainerPlan) -> str:
        for mount in plan.mounts:
            if isinstance(mount, VolumeMount):
                self.volumes_by_name.setdefault(mount.volume.name, mount.volume)
        seen = replace(just_created(self._new_id(), plan), user=plan.user or "")
        self._add(seen, plan)
        return seen.id

    def _create_late(self, plan: ContainerPlan) -> None:
        if not any(box.seen.name == plan.name for box in self.boxes.values()):
            self._create(plan)

    def _start(self, container: str) -> None:
        box = self.boxes.get(container)
        if box is None:
            raise ContainerGoneError(f"no container {container}")
        if box.seen.state is ContainerState.RUNNING:
            return
        self._refuse_start(box)
        self._mount_volumes(box)
        if box.runs:
            self.started_twice.append(container)
        box.runs += 1
        self.starts.append((box.seen.job or "", box.seen.attempt or 0))
        box.seen = replace(
            box.seen, state=ContainerState.RUNNING, started_at=self.clock.now(), pid=1000 + self._count
        )
        self._tell(EventKind.START, container)
        program = self._program(box)
        box.logs += enumerate(program.output, start=1)
        if program.seconds is not None:
            box.timer = asyncio.get_running_loop().call_later(
                program.seconds, self._die, container, program.code
            )

    def _start_quietly(self, container: str) -> None:
        if container in self.boxes:
            self._start(container)

    def _refuse_start(self, box: _Box) -> None:
        if self.start_failures:
            raise StartFailedError(self.start_failures.popleft())
        used = self.strangers_sockets.union(*(sockets_of(other.plan) for other in self._running()))
        for mine in sorted(sockets_of(box.plan)):
            _, address, port = mine
            if port in self.strangers_ports or any(collide(mine, other) for other in used):
                message = f"Bind for {address}:{port} failed: port is already allocated"
                raise StartFailedError(StartFailure(FailureKind.PORT, "port_taken", message, port))

    def _mount_volumes(self, box: _Box) -> None:
        for name in _volumes_of(box):
            volume = self.volumes_by_name.get(name)
            if volume is None:
                message = "failed to mount local volume"
                raise StartFailedError(StartFailure(FailureKind.VOLUME, "quota_volume_failed", message))
            self.devices_at_start.append((box.seen.job or "", volume.device))

    def _running(self) -> list[_Box]:
        return [box for box in self.boxes.values() if box.seen.state is ContainerState.RUNNING]

    def _program(self, box: _Box) -> Program:
        return self.programs.get(box.seen.job or "", self.program)

    def _end_all(self, codes: Mapping[str, int]) -> None:
        for container in self.running():
            self._tell(EventKind.KILL, container.id)
            self._die(container.id, codes.get(container.id, 137))

    def _die(self, container: str, code: int) -> None:
        box = self.boxes.get(container)
        if box is None or box.seen.state is not ContainerState.RUNNING:
            return
        if box.timer is not None:
            box.timer.cancel()
        self.execs.die_with(container)
        box.seen = replace(
            box.seen, state=ContainerState.EXITED, exit_code=code, finished_at=self.clock.now(), pid=None
        )
        self._tell(EventKind.DIE, container)

    def _tell(self, kind: EventKind, container: str) -> None:
        seen = self.boxes[container].seen
        if seen.job is None or seen.attempt is None or not self.is_up:
            return
        event = ContainerEvent(kind, container, seen.job, seen.attempt, self.clock.now())
        self._ring.append(event)
        for stream in self._streams:
            stream.put_nowait(event)

    def _break_streams(self) -> None:
        self.execs.forget()
        for stream in self._streams:
            stream.put_nowait(None)


def _volumes_of(box: _Box) -> list[str]:
    mounts = box.plan.mounts if box.plan is not None else ()
    return [mount.volume.name for mount in mounts if isinstance(mount, VolumeMount)]
