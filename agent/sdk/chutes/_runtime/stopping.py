"""chutes/_runtime/stopping — a stop: seen at once, the coroutine cancelled after half the grace, last words before the end of it.

The host kills what is still there when the grace is over. A later request changes nothing.
"""

from __future__ import annotations

import os
from math import inf
from signal import (
    SIG_BLOCK,
    SIG_DFL,
    SIG_SETMASK,
    SIGHUP,
    SIGINT,
    SIGQUIT,
    SIGTERM,
    getsignal,
    pthread_sigmask,
    signal,
)
from threading import get_ident
from time import monotonic
from typing import Any, Callable

SIGNALS = (SIGTERM, SIGINT, SIGQUIT, SIGHUP)

# Last words must have left before the host kills.
_LEAST_MARGIN_SECONDS, _LARGEST_MARGIN_SECONDS = 0.3, 2.0


class Stopping:
    """Asked from a signal handler, which may have interrupted anything: so nothing here takes a lock."""

    def __init__(self, poke: Callable[[], None]) -> None:
        self._poke = poke
        self._cancel: Callable[[], None] | None = None
        self._speak: Callable[[], None] | None = None
        self.asked_at = inf
        # Until hello tells, no cancel: a stop so early ends with the host's kill.
        self.grace = inf
        self.has_cancelled = False
        self._masks: dict[int, Any] = {}

    @property
    def is_asked(self) -> bool:
        return self.asked_at < inf

    @property
    def ends_at(self) -> float:
        """When the host kills; inf is never."""
        return self.asked_at + self.grace if self.is_asked else inf

    def listen(self) -> None:
        """Take the signals, also back from an author's handlers. In the main thread only."""
        for number in SIGNALS:
            signal(number, self._hear)

    def end_in_children(self) -> None:
        """A pool ends its workers by SIGTERM: forked ones must not hear it as the job does. Call it once."""
        os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._leave)

    def ask(self) -> None:
        if not self.is_asked:
            self.asked_at = monotonic()
        self._poke()

    def cancel_by(self, cancel: Callable[[], None] | None) -> None:
        """How to cancel what runs now; None where nothing can be. Called at most once, in the wire's thread."""
        self._cancel = cancel
        self._poke()

    def last_words_by(self, speak: Callable[[], None]) -> None:
        """What to call shortly before the host kills, in the wire's thread."""
        self._speak = speak

    def tick(self, now: float) -> float:
        """Do what is due. When to come again."""
        if not self.is_asked or self.grace == inf:
            return inf
        cancel_at = self.asked_at + self.grace / 2
        speak_at = self.ends_at - min(max(self.grace / 10, _LEAST_MARGIN_SECONDS), _LARGEST_MARGIN_SECONDS)
        if now >= cancel_at and self._cancel is not None and not self.has_cancelled:
            self.has_cancelled = True
            self._cancel()
        if now >= speak_at and self._speak is not None:
            speak, self._speak = self._speak, None
            speak()
        return min((at for at in (cancel_at, speak_at) if at > now), default=inf)

    def _hear(self, _number: int, _frame: Any) -> None:
        self.ask()

    def _hold(self) -> None:
        # A signal that reached the child before its handlers are gone would be lost there.
        self._masks[get_ident()] = pthread_sigmask(SIG_BLOCK, SIGNALS)

    def _release(self) -> None:
        pthread_sigmask(SIG_SETMASK, self._masks.pop(get_ident()))

    def _leave(self) -> None:
        for number in SIGNALS:
            if getsignal(number) == self._hear:
                signal(number, SIG_DFL)
        self._release()
