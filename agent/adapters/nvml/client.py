"""adapters/nvml/client — asks the child that talks to NVML: within a deadline, and by a new child where the old one fails.

What may hang is never waited for: a child past its deadline is killed and left behind. Of GPUs it knows nothing.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from agent.adapters.nvml.errors import NvmlBrokenError, NvmlRefusedError, NvmlSilentError, NvmlStuckError
from agent.adapters.nvml.wire import Message, Wire, kill

# -P: nothing is imported from where the daemon happens to have been started.
CHILD = (sys.executable, "-P", "-m", "agent.adapters.nvml.child")
# Each hangs in the kernel until the host is rebooted.
MOST_STUCK = 3
_LONGEST_BACKOFF_SECONDS = 60.0
_CLOSE_SECONDS = 2.0
# A request may go on for as long as the child goes on from GPU to GPU, but not for ever.
_MOST_STEPS = 12


class NvmlClient:
    """`environ`: the child's environment, None for ours. `end` kills a child."""

    def __init__(
        self,
        command: Sequence[str] = CHILD,
        environ: Mapping[str, str] | None = None,
        end: Callable[[Wire], None] = kill,
    ) -> None:
        self._command, self._environ, self._end = tuple(command), environ, end
        self._turn = asyncio.Lock()
        self._wire: Wire | None = None
        self._left: list[Wire] = []
        self._failures = 0
        self._not_before = 0.0
        self._listener: Callable[[Message], None] = _ignore
        self._is_retired = False
        self._first: str | None = None

    def listen(self, tell: Callable[[Message], None], first: str | None = None) -> None:
        """Who is told of the child's events; it must not wait. `first`: what each new child is asked before all else, to send them."""
        self._listener, self._first = tell, first

    async def call(self, method: str, params: Message, seconds: float) -> object:
        """`seconds` are for each GPU that the child comes to; the wait for a child that may be started counts as one.

        Raises NvmlRefusedError, NvmlSilentError, NvmlBrokenError, NvmlStuckError. Calls take turns.
        """
        async with self._turn:
            wire = await self._ready(seconds)
            try:
                if self._first is not None and not wire.was_greeted:
                    wire.was_greeted = True
                    await _ask(wire, self._first, {"skip": params.get("skip", [])}, seconds)
                answer = await _ask(wire, method, params, seconds)
            except TimeoutError:
                at = wire.at
                self._drop(wire, "it was silent")
                self._count_failure()
                raise NvmlSilentError(method, seconds, at) from None
            except NvmlRefusedError:
                # NVML stays as it was loaded: another child may load another library, and find another driver.
                self._drop(wire, "it was refused")
                raise
            except NvmlBrokenError:
                self._drop(wire, "it was broken")
                self._count_failure()
                raise
            self._failures = 0
            return answer

    def retire(self) -> None:
        """Have the next call ask a new child: NVML finds GPUs when it is loaded, not later. A call under way is not cut off."""
        self._is_retired = True

    @asynccontextmanager
    async def set_aside(self) -> AsyncIterator[None]:
        """While the block runs no child of ours has a GPU open; calls wait for its end, and are then answered by a new child.

        Raises NvmlStuckError where one can't be ended.
        """
        async with self._turn:
            if self._wire is not None:
                self._drop(self._wire, "it was set aside")
            await self._see_gone()
            if stuck := self.stuck():
                raise NvmlStuckError(stuck)
            yield

    def stuck(self) -> int:
        """Killed, and still there. One that was killed just now may count for a moment."""
        self._left = [wire for wire in self._left if not wire.is_gone]
        return len(self._left)

    def stuck_at(self) -> set[int]:
        """The GPUs (by index) that those were at: to touch one again is to lose one more."""
        return {wire.at for wire in self._left if wire.at is not None and not wire.is_gone}

    async def close(self) -> None:
        """Kill the child, and see it gone unless the driver holds it."""
        if self._wire is not None:
            self._drop(self._wire, "it was closed")
        await self._see_gone()

    async def _see_gone(self) -> None:
        """Wait for those that were killed, unless the driver holds them."""
        for wire in self._left:
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await wire.gone.wait()
            except TimeoutError:
                continue  # the kernel's by now

    async def _ready(self, seconds: float) -> Wire:
        if self._is_retired and self._wire is not None:
            self._drop(self._wire, "it was retired")
        self._is_retired = False
        if self._wire is not None and not self._wire.is_over:
            return self._wire
        if self._wire is not None:
            self._drop(self._wire, "it was over")
            self._count_failure()
        if self.stuck() >= MOST_STUCK:
            raise NvmlStuckError(self.stuck())
        loop = asyncio.get_running_loop()
        wait_seconds = self._not_before - loop.time()
        if wait_seconds > seconds:
            raise NvmlBrokenError(f"it fails again and again, and is started anew in {wait_seconds:.0f} s")
        await asyncio.sleep(max(0.0, wait_seconds))
        self._wire = await self._start()
        return self._wire

    async def _start(self) -> Wire:
        try:
            _, wire = await asyncio.get_running_loop().subprocess_exec(
                lambda: Wire(self._hear), *self._command, stderr=None, env=self._environ
            )
        except OSError as error:
            self._count_failure()
            raise NvmlBrokenError(f"it does not start: {error}") from error
        return wire

    def _hear(self, message: Message) -> None:
        self._listener(message)

    def _drop(self, wire: Wire, cause: str) -> None:
        wire.cut(cause)
        self._wire = None
        if not wire.is_gone:
            self._end(wire)
            self._left.append(wire)

    def _count_failure(self) -> None:
        """The first costs nothing: it is the second in a row that shows a child that can't live."""
        self._failures += 1
        backoff_seconds = (
            0.0 if self._failures == 1 else min(0.25 * 2**self._failures, _LONGEST_BACKOFF_SECONDS)
        )
        self._not_before = asyncio.get_running_loop().time() + backoff_seconds


async def _ask(wire: Wire, method: str, params: Message, seconds: float) -> object:
    now = asyncio.get_running_loop().time
    last = now() + seconds * _MOST_STEPS
    async with asyncio.timeout(seconds) as limit:
        return await wire.ask(method, params, lambda: limit.reschedule(min(now() + seconds, last)))


def _ignore(_message: Message) -> None:
    pass
