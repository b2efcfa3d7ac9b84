"""interfaces/engine — what the shell needs of a container engine, and the promises on each method. No implementation."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Protocol

from agent.core.bridge import Bridge
from agent.core.container import (
    Container,
    ContainerEvent,
    ContainerPlan,
    Credentials,
    EngineFacts,
    Image,
    InsideFile,
    MemorySeen,
    PullProgress,
    QuotaVolume,
    StreamOpened,
)
from agent.core.container_stats import ContainerStats
from agent.core.disk_space import CountLimits, DiskSpace, Held
from agent.core.exec import ExecPlan
from agent.core.gpu_strangers import GpuStrangers
from agent.core.job import StartFailure
from agent.errors import AgentError, Blame, Phase
from agent.interfaces.exec import ExecSession


class Trouble(StrEnum):
    """In which way an engine is unavailable. Health tells a hang from a down: their remedies differ."""

    DOWN = "down"  # nothing listens
    HANGS = "hangs"  # it takes the call and does not answer
    BROKEN = "broken"  # it answered "not now", or broke off


class EngineUnavailableError(AgentError):
    """The engine is down, hangs, or gave no answer: a call may still take effect. Try again; look before you act."""

    code, blame = "engine_unavailable", Blame.HOST
    remedy = "See `systemctl status docker` on the host; jobs go on by themselves once the engine answers."

    def __init__(self, message: str, trouble: Trouble = Trouble.DOWN) -> None:
        super().__init__(message)
        self.trouble = trouble


class EngineRefusedError(AgentError):
    """The engine answered no, and asking again will not help."""

    code, blame = "engine_refused", Blame.HOST
    remedy = "The message is the engine's own; see its log on the host."


class NameTakenError(AgentError):
    """A container of that name is there already (409): ours of an earlier call, or a stranger's. Look."""

    code, phase, blame = "name_taken", Phase.STARTING, Blame.HOST
    remedy = "Rename or remove the container that holds the name of a gpu-agent job."


class ContainerGoneError(AgentError):
    """No container of that id is left."""

    code, blame = "container_gone", Blame.HOST
    remedy = "Somebody removed the container from outside; leave containers of gpu-agent to gpu-agent."


class StartFailedError(AgentError):
    """The engine could not create or start the container, and said why. The container may be left, in state created."""

    code, phase, blame = "start_failed", Phase.STARTING, Blame.HOST
    remedy = "See the message; it names what the engine could not do."

    def __init__(self, failure: StartFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class PullFailedError(AgentError):
    """The image can't be had. `reason_code` is out of core/reasons (image_not_found, image_denied, …)."""

    code, phase, blame = "pull_failed", Phase.QUEUED, Blame.USER
    remedy = "Check the image's name and the registry's credentials."

    def __init__(self, reason_code: str, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class Engine(Protocol):
    """A container engine. Each method has a deadline of its own and raises EngineUnavailableError past it.

    "Ours" is a container whose agent label is this agent's. Everything but `find` and `create` goes by container id, since
    a late call by name would hit the next container of that name.
    """

    async def facts(self) -> EngineFacts: ...

    async def renew_specs(self, facts: EngineFacts) -> EngineFacts:
        """`facts` with the CDI specs read anew, which are written while the engine runs. The engine is not asked."""
        ...

    async def find(self, name: str) -> Container | None:
        """The container of exactly that name, ours or a stranger's (agent label tells). None: there is none."""
        ...

    async def inspect(self, container: str) -> Container | None:
        """By id. None: gone."""
        ...

    async def ours(self) -> list[Container]:
        """All containers with our agent label, in any state. exit_code, pid and times may be absent in a list."""
        ...

    async def gpu_strangers(self) -> GpuStrangers:
        """The containers that run, are not ours, and were given GPUs. Of very many some are left for the next call."""
        ...

    async def create(self, plan: ContainerPlan, secrets: Mapping[str, str]) -> str:
        """Create and return the id. `secrets`: values of the plan's `secret_environment`.

        Raises NameTakenError, StartFailedError (image gone, command refused), EngineUnavailableError (it may exist later).
        """
        ...

    async def start(self, container: str) -> None:
        """Start a created container; one that runs already is fine. Raises StartFailedError, ContainerGoneError."""
        ...

    async def look_inside(self, container: str, path: str, most_bytes: int) -> InsideFile | None:
        """A file of a container, running or not, without running anything in it. Links are followed, and never out of it.

        None: there is none, it is no regular file, or the container is gone. Raises EngineRefusedError.
        """
        ...

    async def kill(self, container: str, signal: str) -> None:
        """Send a signal. One that is stopped or gone is fine."""
        ...

    async def remove(self, container: str) -> bool:
        """Remove a container that does not run, and its anonymous volumes. Never forced.

        True: it is gone, and no call can reach it any more. False: its removal is under way.
        """
        ...

    async def peak_memory(self, container: Container) -> MemorySeen | None:
        """The most that it held so far, from its cgroup; None once that is gone."""
        ...

    async def stats(self, container: str) -> ContainerStats | None:
        """What it uses just now; None where it does not run. May be cancelled at once."""
        ...

    async def space(self) -> DiskSpace | None:
        """Of the disk that containers write to. The engine is asked once, where that is. None: it can't be seen from here."""
        ...

    async def held(self, container: str, limits: CountLimits) -> Held:
        """What it holds of that disk beside its image: its own files, and volumes that its image asked for. Its log has bounds,
        and does not count; nor do our volumes. Nothing where it is gone.
        """
        ...

    def events(self, since: float) -> AsyncGenerator[ContainerEvent | StreamOpened]:
        """First StreamOpened, then our containers' events, replayed from `since` as far as the ring reaches, then live, in order.

        Raises EngineUnavailableError when the stream breaks; never ends otherwise.
        """
        ...

    def read_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        """The log that the engine still has from `since_ns` on (inclusive; 0: all), as raw frames with timestamps, in
        chunks that may cut a frame. Ends at the end of the log. Raises ContainerGoneError, EngineUnavailableError.
        """
        ...

    def follow_logs(self, container: str, since_ns: int) -> AsyncGenerator[bytes]:
        """As `read_logs`, and goes on with what comes until the container has exited."""
        ...

    def open_exec(self, container: str, plan: ExecPlan) -> AbstractAsyncContextManager[ExecSession]:
        """Run a command in a running container, beside its own. Leaving the block ends the connection, not the command.

        Raises ContainerGoneError, ContainerNotRunningError, EngineRefusedError, EngineUnavailableError (it may run all the same).
        """
        ...

    async def image(self, reference: str) -> Image | None: ...

    def pull(self, reference: str, credentials: Credentials | None) -> AsyncGenerator[PullProgress]:
        """Pull; ends when the image is there. Cancelling stops it. Raises PullFailedError, EngineUnavailableError."""
        ...

    async def ensure_bridge(self, name: str, subnet6: str | None) -> None:
        """Our bridge network, inter-container traffic off; made if it is missing, with that subnet of IPv6 (None: with IPv4
        alone; so, too, where the engine can't give it IPv6). One that is there is left as it is. Idempotent.

        Raises EngineRefusedError: a stranger's has the name.
        """
        ...

    async def find_bridge(self, name: str) -> Bridge | None:
        """Our bridge of that name. None: there is none. Raises EngineRefusedError: a stranger's has the name."""
        ...

    async def ensure_volume(self, volume: QuotaVolume) -> None:
        """Our volume of that name, on that device; made anew where it is on another. Idempotent.

        Raises NameTakenError (a stranger's), EngineRefusedError (a container holds the one on another device).
        """
        ...

    async def find_volume(self, name: str) -> QuotaVolume | None:
        """Our volume of that name. None: there is none."""
        ...

    async def volumes(self) -> list[QuotaVolume]:
        """All with our agent label."""
        ...

    async def remove_volume(self, name: str) -> bool:
        """True: it is gone; what is on its device is not touched. False: a container has it."""
        ...
