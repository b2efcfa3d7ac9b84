"""chutes/_runtime/performing — the hooks and the function, in their order, and the one ending. Knows no wire and no process."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from chutes._runtime.endings import Ending, StoppedEarlyError, failed, raised, returned
from chutes._runtime.failures import traceback_of
from chutes._runtime.lines import warn
from chutes._runtime.loop import AuthorLoop
from chutes._runtime.stopping import Stopping
from chutes.chute import Chute


class Performance:
    """Of one function. `tell` gets the ending before the shutdown hooks run: none of them can lose it."""

    def __init__(self, chute: Chute, stopping: Stopping, tell: Callable[[Ending], None]) -> None:
        self._chute = chute
        self._stopping = stopping
        self._tell = tell
        self._loop = AuthorLoop(stopping)

    def play(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """All of it, in the calling thread."""
        self._tell(self._start_up() or self._call(function, args, dict(kwargs)))
        self.shut_down()

    def shut_down(self) -> None:
        for hook in list(self._chute.shutdown_hooks):
            self._try("an on_shutdown hook failed", self._loop.run, hook, self._chute)
        self._try("what the function left running could not be ended", self._loop.sweep)

    def whereabouts(self) -> str | None:
        """Where a coroutine waits, as a traceback; None where none does. For any thread."""
        return self._loop.whereabouts()

    def _start_up(self) -> Ending | None:
        for hook in list(self._chute.startup_hooks):
            if self._stopping.is_asked:
                break
            try:
                self._loop.run_stoppable(hook, self._chute)
            except BaseException as error:  # noqa: BLE001 — whatever the author's code raises is the ending
                return self._raised(error, "startup")
        return failed("cancelled", StoppedEarlyError()) if self._stopping.is_asked else None

    def _call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ending:
        try:
            return returned(self._loop.run_stoppable(function, self._chute, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001 — as above
            return self._raised(error, "raised")

    def _try(self, otherwise: str, act: Callable[..., Any], *args: Any) -> None:
        try:
            act(*args)
        except BaseException as error:  # noqa: BLE001 — the ending is told; what comes after this is done all the same
            warn(f"{otherwise}: {traceback_of(error)}")

    def _raised(self, error: BaseException, kind: str) -> Ending:
        # By its name: without our cancel no coroutine was stopped, and asyncio may never have been imported.
        if self._stopping.has_cancelled and type(error).__name__ == "CancelledError":
            kind = "cancelled"
        return raised(error, kind)
