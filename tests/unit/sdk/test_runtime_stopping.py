"""When a stop does what: by the times at which it wants to be looked at."""

from math import inf, isclose

import pytest

from chutes._runtime.stopping import Stopping


class Stop:
    def __init__(self, grace: float) -> None:
        self.done: list[str] = []
        self.stopping = Stopping(lambda: None)
        self.stopping.grace = grace
        self.stopping.cancel_by(lambda: self.done.append("cancel"))
        self.stopping.last_words_by(lambda: self.done.append("last words"))

    def after(self, seconds: float) -> float:
        """What it wants next, so many seconds after it was asked."""
        return self.stopping.tick(self.stopping.asked_at + seconds) - self.stopping.asked_at


def test_nothing_happens_before_it_is_asked() -> None:
    stop = Stop(grace=30)
    assert (stop.stopping.tick(now=1e9), stop.done) == (inf, [])


def test_the_cancel_comes_after_half_the_grace_and_the_last_words_before_its_end() -> None:
    stop = Stop(grace=30)
    stop.stopping.ask()
    assert isclose(stop.after(0), 15)
    assert stop.done == []
    assert isclose(stop.after(15.1), 28)
    assert stop.done == ["cancel"]
    assert stop.after(28.1) == inf
    assert stop.done == ["cancel", "last words"]


def test_each_comes_once_however_often_it_is_asked_and_looked_at() -> None:
    stop = Stop(grace=10)
    stop.stopping.ask()
    asked_at = stop.stopping.asked_at
    for seconds in range(20):
        stop.stopping.ask()
        stop.after(seconds)
    assert stop.stopping.asked_at == asked_at
    assert stop.done == ["cancel", "last words"]


def test_what_can_be_cancelled_only_later_is_cancelled_then() -> None:
    stop = Stop(grace=10)
    stop.stopping.cancel_by(None)
    stop.stopping.ask()
    stop.after(6)
    assert not stop.stopping.has_cancelled
    stop.stopping.cancel_by(lambda: stop.done.append("cancel the function"))
    stop.after(6.1)
    assert stop.done == ["cancel the function"]


@pytest.mark.parametrize(("grace", "margin"), [(600, 2.0), (10, 1.0), (1, 0.3)])
def test_the_last_words_have_time_to_leave(grace: float, margin: float) -> None:
    stop = Stop(grace)
    stop.stopping.ask()
    assert isclose(stop.after(grace / 2 + 0.001), grace - margin)


def test_no_grace_is_last_words_at_once() -> None:
    stop = Stop(grace=0)
    stop.stopping.ask()
    stop.after(0)
    assert "last words" in stop.done
