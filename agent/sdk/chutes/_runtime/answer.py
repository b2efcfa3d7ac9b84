"""chutes/_runtime/answer — what a call is answered with, once: to be waited for by a thread or awaited by a coroutine. Asks nothing."""

from __future__ import annotations

from threading import Lock
from typing import Any, Callable, Generator


class Answer:
    def __init__(self) -> None:
        self._guard = Lock()
        # Held until the answer is there, so that whoever can take it knows that it is.
        self._unanswered = Lock()
        self._unanswered.acquire()
        self._told: list[Callable[[], None]] = []
        self._value: Any = None
        self._error: Exception | None = None
        self.is_there = False

    def give(self, value: Any) -> None:
        self._settle(value, None)

    def fail(self, error: Exception) -> None:
        self._settle(None, error)

    @property
    def refusal(self) -> Exception | None:
        return self._error

    @property
    def value(self) -> Any:
        """What was answered; raises the refusal. Only once it is there."""
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, seconds: float) -> bool:
        """Whether it came in time; -1 is for ever."""
        if self._unanswered.acquire(timeout=seconds):
            self._unanswered.release()
        return self.is_there

    def tell(self, callback: Callable[[], None]) -> None:
        """Call this when the answer is there: now, or later in the wire's thread."""
        with self._guard:
            if not self.is_there:
                self._told.append(callback)
                return
        callback()

    def __await__(self) -> Generator[Any, None, Any]:
        if not self.is_there:
            from asyncio import get_running_loop  # noqa: PLC0415 — a plain `def` job starts without asyncio

            loop = get_running_loop()
            arrived = loop.create_future()

            def arrive() -> None:
                if not arrived.done():
                    arrived.set_result(None)

            def call_home() -> None:
                try:
                    loop.call_soon_threadsafe(arrive)
                except RuntimeError:
                    return  # the loop is closed, and with it whoever waited

            self.tell(call_home)
            yield from arrived
        return self.value

    def _settle(self, value: Any, error: Exception | None) -> None:
        with self._guard:
            if self.is_there:
                return
            self._value, self._error, self.is_there = value, error, True
            told, self._told = self._told, []
        try:
            for callback in told:
                callback()
        finally:
            # Last: who waits may end the process, and what was to be told with the answer would be lost.
            self._unanswered.release()
