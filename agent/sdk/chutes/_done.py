"""chutes/_done — what the platform answers to a call that is done when it returns. Waits for nothing."""

from __future__ import annotations

from typing import Any, Coroutine, Generator


class Done(Coroutine[Any, Any, None]):
    """Awaited, it lets the event loop run once: so a stop reaches a coroutine that does nothing but compute and tell.

    Not awaited, nothing is missed: so a plain `def`, which can't await, can tell as well.
    """

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps = pause()

    def __await__(self) -> Generator[None, None, None]:
        return self._steps

    def send(self, value: Any) -> None:
        self._steps.send(value)

    def throw(self, *error: Any) -> None:
        self._steps.throw(*error)

    def close(self) -> None:
        self._steps.close()


def pause() -> Generator[None, None, None]:
    yield
