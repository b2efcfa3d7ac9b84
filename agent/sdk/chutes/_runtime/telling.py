"""chutes/_runtime/telling — the one ending of this attempt, on its way to the host. Decides none."""

from __future__ import annotations

import os
from threading import Lock, get_ident

from chutes._runtime.endings import Ending, StillRunningError, failed
from chutes._runtime.failures import stack_of
from chutes._runtime.leaving import Leaving, flush
from chutes._runtime.lines import write_text
from chutes._runtime.reports import Reports
from chutes._runtime.wire import Wire


class Telling:
    def __init__(self, wire: Wire, reports: Reports, leaving: Leaving) -> None:
        self._wire = wire
        self._reports = reports
        self._leaving = leaving
        self._pid = os.getpid()
        self._lock = Lock()
        self._is_told = False
        self._thread = get_ident()

    def follow_this_thread(self) -> None:
        """The author's function runs in it."""
        self._thread = get_ident()

    def tell(self, ending: Ending) -> None:
        """The first one stands."""
        if os.getpid() != self._pid:
            # A child that the author forked and that came out of the function as well: the ending is the parent's.
            flush()
            os._exit(ending.exit_code)
        if self._is_first(ending):
            self._leaving.begin(ending.exit_code)

    def say_still_running(self) -> None:
        """Just before the host kills: where the function is. In the wire's thread, since the others may be stuck."""
        stack = stack_of(self._thread)
        error = StillRunningError()
        ending = failed("cancelled", error)
        if self._is_first(ending._replace(error={**(ending.error or {}), "traceback": stack})):
            self._leaving.begin_without_hooks(ending.exit_code)

    def _is_first(self, ending: Ending) -> bool:
        with self._lock:
            if self._is_told:
                return False
            self._is_told = True
        if ending.error is not None:
            write_text(ending.error["traceback"])
        self._reports.flush()
        self._wire.call("finish", ending.fields, ending.result)
        return True
