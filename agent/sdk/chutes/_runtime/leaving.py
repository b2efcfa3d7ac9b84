"""chutes/_runtime/leaving — the end of the process, whatever the author left behind: hooks, threads, a clogged pipe. Tells no ending."""

from __future__ import annotations

import atexit
import sys
from math import inf
from os import _exit
from time import monotonic
from typing import Any, NoReturn

from chutes._runtime.lines import offer_warning
from chutes._runtime.reports import Reports
from chutes._runtime.stopping import Stopping
from chutes._runtime.wire import Wire

# How long the host may be away before a result is given up: an agent that crashes again and again until somebody mends it. What
# the job holds nobody else can be given meanwhile.
_ANSWER_SECONDS = 600.0

# For what is still in Python's buffers, where nobody may read the log.
_FLUSH_SECONDS = 2.0


class Leaving:
    """Runs in two threads: the main one leaves, and the wire's ends the process where that takes too long."""

    def __init__(self, wire: Wire, reports: Reports, stopping: Stopping) -> None:
        self._wire = wire
        self._reports = reports
        self._stopping = stopping
        self._code = 1
        self._hooks_until = inf
        self._answers_until = 0.0
        self._overdue = ""

    def begin(self, code: int) -> None:
        """The ending was told: what comes now has as long as a stop would give it, and the host as long as it may be away."""
        now = monotonic()
        self._code = code
        self._answers_until = now + _ANSWER_SECONDS
        self._overdue = (
            "on_shutdown hooks were still running when their time was over: the process ends without them"
        )
        self._hooks_until = now + self._leniency
        self._wire.poke()

    def begin_without_hooks(self, code: int) -> None:
        """The function is still running, and so nothing else may: the process ends once the host has answered."""
        self._overdue = "the function was still running at the end of its time: the process ends without it"
        self._code = code
        self._answers_until = monotonic() + _ANSWER_SECONDS
        self._hooks_until = 0.0

    def leave(self) -> NoReturn:
        """Without waiting for the author's threads, which may run for ever."""
        self._hooks_until = inf
        self._reports.flush()
        self._wire.wait_for_all(self._patience)
        self._answers_until = 0.0
        self._overdue = (
            "functions of atexit were still running when their time was over: the process ends without them"
        )
        self._hooks_until = monotonic() + self._leniency
        self._wire.poke()
        _run_exit_functions()
        self._overdue = "the log was not read to its end"
        self._hooks_until = monotonic() + _FLUSH_SECONDS
        self._wire.poke()
        flush()
        _exit(self._code)

    def tick(self, now: float) -> float:
        """In the wire's thread: end the process where its time is over. When to come again."""
        if now < self._hooks_until:
            return self._hooks_until
        self._reports.flush()
        if self._wire.has_unanswered and now < self._patience:
            return self._patience
        offer_warning(self._overdue)
        _exit(self._code)

    @property
    def _leniency(self) -> float:
        """As long as a stop would give it."""
        return max(self._stopping.grace, 1.0)

    @property
    def _patience(self) -> float:
        # A stop's end may be later, and the host kills then.
        end = self._stopping.ends_at
        return max(self._answers_until, end if end < inf else 0.0)


def _run_exit_functions() -> None:
    waits = getattr(sys.modules.get("concurrent.futures.thread"), "_python_exit", None)
    if waits is not None:
        # Python 3.8's waits for every task of every pool; later ones do so elsewhere, where we don't go.
        atexit.unregister(waits)
    try:
        atexit._run_exitfuncs()  # noqa: SLF001 — an ordinary exit would first wait for the author's threads
    except BaseException as error:  # noqa: BLE001 — the author's functions; Python has told of them, and the code stands
        del error


def flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        _flush(stream)


def _flush(stream: Any) -> None:
    try:
        stream.flush()
    except BaseException as error:  # noqa: BLE001 — closed, replaced, or nobody reads it
        del error
