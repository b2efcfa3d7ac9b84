"""chutes/_runtime/cords/calls — which call of a cord the code that runs now belongs to. Calls nothing."""

from __future__ import annotations

from contextvars import ContextVar

from chutes._runtime.platform import Counts


class Call:
    """One request. Whatever the cord's function starts, tasks and threads of ours included, is of the same one."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.counts = Counts()
        # Where a plain function of it runs.
        self.thread: int | None = None
        self.is_over = False


CALL: ContextVar[Call | None] = ContextVar("chutes_cord_call", default=None)


def current_call() -> Call | None:
    """None in hooks, and in a task of the author's that goes on after its call was answered."""
    call = CALL.get()
    return None if call is None or call.is_over else call
