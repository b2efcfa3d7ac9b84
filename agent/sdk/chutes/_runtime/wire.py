"""chutes/_runtime/wire — calls to the host over the job's socket: each is sent until it is answered. Knows no meaning of any.

One thread of its own does all of it with plain sockets, so that it works whatever the author's event loop does. What it uses of the
standard library is bound by name when this is imported, before any of the author's code could replace it.
"""

from __future__ import annotations

from collections import deque
from itertools import count
from json import dumps, loads
from os import getpid, register_at_fork
from select import POLLIN, poll
from threading import RLock, Thread
from time import monotonic, sleep
from typing import Any, Callable, Mapping

from chutes._runtime.answer import Answer
from chutes._runtime.bell import Bell
from chutes._runtime.link import Link
from chutes.errors import PlatformError

SDK = "1"

# The host closes a connection that brings a longer line, and the call would be sent for ever.
_LONGEST_LINE_BYTES = 2 << 20

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.05, 1.0

# Descriptors may be closed under a sleeping thread, which then hears nothing.
_LONGEST_SLEEP_SECONDS = 1.0

Tick = Callable[[float], float]


class _Call:
    __slots__ = ("answer", "frame", "wait")

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.answer = Answer()
        self.wait = _FIRST_WAIT_SECONDS


class Wire:
    def __init__(self, path: str) -> None:
        self._path = path
        self._pid = getpid()
        # A signal handler of the author's may call in the middle of a call.
        self._lock = RLock()
        self._ids = count(1)
        self._calls: dict[int, _Call] = {}
        self._unsent: deque[int] = deque()
        self._postponed: list[tuple[float, int]] = []
        self._link: Link | None = None
        self._hello_id: int | None = None
        self._is_greeted = False
        self._connect_at = 0.0
        self._wait = _FIRST_WAIT_SECONDS
        self._bell = Bell()
        self._ticks: list[Tick] = []
        self._welcomes: list[Callable[[dict[str, Any]], None]] = []
        self.greeting = Answer()

    def start(self) -> None:
        """Connect, say hello, and go on for as long as the process lives. `greeting` has the first answer to hello."""
        register_at_fork(after_in_child=self._leave)
        Thread(target=self._run, name="chutes-wire", daemon=True).start()

    def each_turn(self, tick: Tick) -> None:
        """Have it called in the wire's thread with the time; it says when it wants to be called again at the latest."""
        self._ticks.append(tick)
        self.poke()

    def each_hello(self, welcome: Callable[[dict[str, Any]], None]) -> None:
        """Have it called in the wire's thread with what the host answers to each hello but the first."""
        self._welcomes.append(welcome)

    def poke(self) -> None:
        """Have the ticks called now. Safe in a signal handler."""
        self._bell.ring()

    def call(self, name: str, fields: Mapping[str, Any], raw: bytes = b"") -> Answer:
        """Send it, again and again if need be. `raw` is what goes behind the line."""
        self.refuse_children(name)
        with self._lock:
            number = next(self._ids)
            line = _line(number, name, fields)
            call = _Call(line + raw)
            if len(line) > _LONGEST_LINE_BYTES:
                call.answer.fail(PlatformError("bad_call", f"this call of {name} is too large to be sent"))
                return call.answer
            self._calls[number] = call
            self._unsent.append(number)
        self.poke()
        return call.answer

    def refuse_children(self, name: str) -> None:
        """Raises PlatformError in a forked child: there is no thread here to send anything, and a lock may be held for ever."""
        if getpid() != self._pid:
            raise PlatformError(
                "forked",
                f"{name} works in the job's own process only, and this is a child of it: hand it to the parent",
            )

    @property
    def has_unanswered(self) -> bool:
        return bool(self._calls)

    def wait_for_all(self, until: float) -> bool:
        """Wait until nothing is unanswered. False where that did not come true in time."""
        while True:
            with self._lock:
                waited = next(iter(self._calls.values()), None)
            if waited is None:
                return True
            if not waited.answer.wait(max(0.0, until - monotonic())):
                return False

    def _run(self) -> None:
        while True:
            self._try_turn()

    def _try_turn(self) -> None:
        try:
            self._turn()
        except Exception:  # noqa: BLE001 — without this thread no result leaves: what failed a turn is tried anew
            self._lose_link()
            # Where the author has left us no descriptor to sleep on, either.
            sleep(_FIRST_WAIT_SECONDS)

    def _turn(self) -> None:
        now = monotonic()
        wanted = [tick(now) for tick in self._ticks]
        if self._link is None and now >= self._connect_at:
            self._connect()
        if self._link is not None and self._is_greeted:
            self._send(self._link, now)
        wanted += [at for at, _ in self._postponed]
        if self._link is None:
            wanted.append(self._connect_at)
        self._sleep(min(wanted, default=now + _LONGEST_SLEEP_SECONDS) - now)
        if self._link is not None:
            self._link.flush()
            for line in self._link.lines():
                self._take(loads(line))

    def _connect(self) -> None:
        link = Link(self._path)
        self._hello_id = next(self._ids)
        link.put(_line(self._hello_id, "hello", {"sdk": SDK, "pid": self._pid}))
        link.flush()
        self._link = link

    def _send(self, link: Link, now: float) -> None:
        due = [number for at, number in self._postponed if at <= now]
        self._postponed = [(at, number) for at, number in self._postponed if at > now]
        with self._lock:
            self._unsent.extend(due)
            while self._unsent:
                call = self._calls.get(self._unsent.popleft())
                if call is not None:
                    link.put(call.frame)
        link.flush()

    def _sleep(self, seconds: float) -> None:
        waiting = poll()
        waiting.register(self._bell.fileno(), POLLIN)
        if self._link is not None:
            waiting.register(self._link.fileno(), self._link.awaits)
        # A millisecond more, since poll() takes whole ones and a turn too early is a turn for nothing.
        try:
            waiting.poll(1000 * min(max(seconds, 0.0), _LONGEST_SLEEP_SECONDS) + 1)
        except OSError:
            # An author may have left the process no descriptors at all, and poll() then refuses what is open still.
            sleep(_FIRST_WAIT_SECONDS)
        self._bell.silence()

    def _take(self, message: dict[str, Any]) -> None:
        number = message["id"]
        if number is not None and number == self._hello_id:
            self._hear_hello(message)
            return
        error = message.get("error")
        if error is not None and error["code"] == "unavailable":
            self._postpone(number)
            return
        call = self._calls.get(number)
        if call is None:
            return  # answered twice, since it was sent twice
        if error is None:
            call.answer.give(message["ok"])
        else:
            call.answer.fail(PlatformError(error["code"], error["message"]))
        # Only now: the process may end once nothing is unanswered.
        with self._lock:
            del self._calls[number]

    def _hear_hello(self, message: dict[str, Any]) -> None:
        error = message.get("error")
        if error is not None:
            if error["code"] != "unavailable":
                self.greeting.fail(PlatformError(error["code"], error["message"]))
            self._lose_link()
            return
        self._wait = _FIRST_WAIT_SECONDS
        self._is_greeted = True
        with self._lock:
            self._unsent = deque(self._calls)
            self._postponed = []
        if not self.greeting.is_there:
            self.greeting.give(message["ok"])
            return
        for welcome in self._welcomes:
            welcome(message["ok"])

    def _postpone(self, number: int) -> None:
        call = self._calls.get(number)
        if call is not None:
            self._postponed.append((monotonic() + call.wait, number))
            call.wait = min(2 * call.wait, _LONGEST_WAIT_SECONDS)

    def _lose_link(self) -> None:
        link, self._link = self._link, None
        self._is_greeted, self._hello_id = False, None
        self._connect_at = monotonic() + self._wait
        self._wait = min(2 * self._wait, _LONGEST_WAIT_SECONDS)
        if link is not None:
            link.close()

    def _leave(self) -> None:
        # In a forked child: what is open is the parent's. A lock may have been held there when the child was made.
        self._lock = RLock()
        self._bell.close()
        if self._link is not None:
            self._link.close()


def _line(number: int, name: str, fields: Mapping[str, Any]) -> bytes:
    return dumps({"id": number, "call": name, **fields}, allow_nan=False).encode() + b"\n"
