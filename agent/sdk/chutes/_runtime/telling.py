"""chutes/_runtime/telling — the one ending of this attempt, on its way to the host. Decides none."""

from __future__ import annotations

from os import _exit, getpid
from threading import Lock, get_ident
from typing import Callable

from chutes._runtime.answer import Answer
from chutes._runtime.endings import Ending, still_running
from chutes._runtime.failures import stack_of
from chutes._runtime.leaving import Leaving, flush
from chutes._runtime.lines import offer_text, offer_warning, write_text
from chutes._runtime.reports import Reports
from chutes._runtime.stopping import Stopping
from chutes._runtime.wire import Wire


class Telling:
    """Made in the main thread."""

    def __init__(self, wire: Wire, reports: Reports, stopping: Stopping, leaving: Leaving) -> None:
        self._wire = wire
        self._reports = reports
        self._stopping = stopping
        self._leaving = leaving
        self._pid = getpid()
        self._lock = Lock()
        self._is_told = False
        self._main_thread = self._thread = get_ident()
        self._ask: Callable[[], str | None] = _nowhere

    def ask(self, whereabouts: Callable[[], str | None]) -> None:
        """Who knows where a waiting coroutine is, which no thread's stack shows."""
        self._ask = whereabouts

    def follow_this_thread(self) -> None:
        """The author's function runs in it."""
        self._thread = get_ident()

    def tell(self, ending: Ending) -> None:
        """The first one stands."""
        if getpid() != self._pid:
            # A child that the author forked and that came out of the function as well: the ending is the parent's.
            flush()
            _exit(ending.exit_code)
        if get_ident() == self._main_thread:
            # A handler of the author's could raise in the middle of what follows, or leave before the host has answered.
            self._stopping.listen()
        if not self._is_first():
            return
        self._leaving.begin(ending.exit_code)
        self._send(ending)
        if ending.error is not None:
            write_text(ending.error["traceback"])

    def say_still_running(self) -> None:
        """Just before the host kills: where the function is. In the wire's thread, since the others may be stuck."""
        self._say_instead(still_running(self._whereabouts()))

    def give_up(self, error: Exception) -> None:
        """The process ends by this error, whatever runs in it: where that is. In the wire's thread, as above."""
        self._say_instead(still_running(self._whereabouts(), error))

    def _whereabouts(self) -> str:
        return self._ask() or stack_of(self._thread)

    def _say_instead(self, ending: Ending) -> None:
        if not self._is_first():
            return
        self._leaving.begin_without_hooks(ending.exit_code)
        self._send(ending)
        offer_text(ending.error["traceback"] if ending.error else "")

    def _is_first(self) -> bool:
        with self._lock:
            is_first, self._is_told = not self._is_told, True
        return is_first

    def _send(self, ending: Ending) -> None:
        self._reports.flush()
        answer = self._wire.call("finish", ending.fields, ending.result)
        answer.tell(lambda: _warn_of_refusal(answer))


def _warn_of_refusal(answer: Answer) -> None:
    if answer.refusal is not None:
        offer_warning(f"the host has not taken how the function ended: {answer.refusal}")


def _nowhere() -> None:
    return None
