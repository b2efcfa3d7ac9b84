"""An answer: what was to be told with it is told before whoever waits goes on, since that may end the process."""

from threading import Thread

import pytest

from chutes._runtime.answer import Answer


def test_who_waits_goes_on_once_all_was_told():
    answer, seen = Answer(), []

    def wait():
        answer.wait(10)
        seen.append("waited")

    def tell():
        waiting.join(0.1)  # it would have gone on by then
        seen.append("told")

    waiting = Thread(target=wait)
    answer.tell(tell)
    waiting.start()
    answer.fail(ValueError("no"))
    waiting.join()
    assert seen == ["told", "waited"]


def test_who_waits_goes_on_though_what_was_told_broke():
    answer = Answer()

    def break_down():
        raise ZeroDivisionError

    answer.tell(break_down)
    with pytest.raises(ZeroDivisionError):
        answer.give(1)
    assert answer.wait(0)
    assert answer.value == 1
