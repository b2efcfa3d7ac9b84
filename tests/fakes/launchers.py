"""Launchers of functions in the fake engine's containers: each says hello, tells, ends, and sends again what was not answered."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from agent.core.container import Container, ContainerState
from agent.interfaces.job_socket import CallRefusedError
from tests.fakes.engine import FakeEngine
from tests.fakes.job_sockets import FakeJobSockets

AGAIN_SECONDS = 0.2
REPORTS = 3
RESULT = b'{"loss": 0.5}'


class FakeLaunchers:
    """`run` drives those of all containers. `failures`: how many attempts of a job fail. `lost`: what the daemon's death raises in
    the middle of a call, which to a launcher is a connection that ends.
    """

    def __init__(
        self, engine: FakeEngine, sockets: FakeJobSockets, lost: type[BaseException], failures: int = 0
    ) -> None:
        self._engine = engine
        self._sockets = sockets
        self._lost = lost
        self._failures = failures
        self._lives: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Cancel it with the engine: a launcher dies with its container, and with nothing else."""
        try:
            while True:
                for container in self._engine.running():
                    if container.id not in self._lives:
                        life = asyncio.get_running_loop().create_task(self._live(container))
                        self._lives[container.id] = life
                await asyncio.sleep(AGAIN_SECONDS)
        finally:
            for task in self._lives.values():
                task.cancel()
            await asyncio.gather(*self._lives.values(), return_exceptions=True)

    async def _live(self, container: Container) -> None:
        job, has_failed = container.job or "", (container.attempt or 0) <= self._failures
        calls: list[Callable[[], Awaitable[object]]] = [partial(self._sockets.call, job, "hello")]
        calls += [partial(self._report, job, seq) for seq in range(1, REPORTS + 1)]
        if has_failed:
            calls.append(partial(self._sockets.fail, job))
        else:
            calls.append(partial(self._sockets.succeed, job, RESULT))
        for call in calls:
            while not await self._is_answered(call):
                if not self._is_alive(container):
                    return
                await asyncio.sleep(AGAIN_SECONDS)
        self._engine.exit_now(container.id, 1 if has_failed else 0)

    async def _report(self, job: str, seq: int) -> None:
        progress = {"percent": 10 * seq, "message": None}
        await self._sockets.report(
            job, seq, ["loss", 1 / seq, float(seq)], progress=progress, statuses={"a": str(seq)}
        )

    async def _is_answered(self, call: Callable[[], Awaitable[object]]) -> bool:
        try:
            async with asyncio.timeout(5):
                await call()
        except (KeyError, CallRefusedError, TimeoutError, self._lost):
            return False  # nobody listens, or nobody can just now, or nobody does any more
        return True

    def _is_alive(self, container: Container) -> bool:
        box = self._engine.boxes.get(container.id)
        return box is not None and box.seen.state is ContainerState.RUNNING
