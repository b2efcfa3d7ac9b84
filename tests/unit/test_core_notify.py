"""What follows a try: delivered, again, given up, or the end."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.core.backoff import endpoint_pause, read_retry_after
from agent.core.job import Event
from agent.core.notify import (
    DEADLINE_SECONDS,
    TROUBLES,
    Decision,
    NotifyEnd,
    NotifyState,
    NotifyTarget,
    NotifyTrouble,
    Tried,
    decide,
    end_without_target,
)
from agent.core.outgoing import Reply, SendTrouble, Unsent

AT = 1_900_000_000.0
EVENT = Event(9, 4, "a", "ann", AT, "job.phase", {})
STATE = NotifyState(notified_n=2, delivered=1, dropped=1)
SOON = Tried(AT + 10, failures=2, jitter=0.5)
LATE = Tried(AT + DEADLINE_SECONDS, failures=200, jitter=0.5)
PASSING = [Reply(status) for status in (100, 301, 302, 307, 308, 408, 425, 429, 500, 502, 503, 599)]
PASSING_OR_UNSENT = [*PASSING, *map(Unsent, SendTrouble)]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered_also_past_the_deadline(status: int) -> None:
    for tried in (SOON, LATE):
        assert decide(STATE, EVENT, Reply(status), tried) == Decision(NotifyState(4, 2, 1))


@pytest.mark.parametrize("outcome", PASSING_OR_UNSENT, ids=str)
def test_what_may_pass_is_tried_again_with_jitter_and_the_cursor_stays(outcome: Reply | Unsent) -> None:
    decision = decide(STATE, EVENT, outcome, SOON)
    assert decision.again_after == 4.0
    assert (decision.state.notified_n, decision.state.delivered, decision.state.dropped) == (2, 1, 1)
    assert decision.state.trouble is not None
    assert (decision.state.trouble.n, decision.state.trouble.at) == (4, AT + 10)


@pytest.mark.parametrize("outcome", PASSING_OR_UNSENT, ids=str)
def test_after_a_day_it_is_given_up_and_the_next_event_has_its_turn(outcome: Reply | Unsent) -> None:
    decision = decide(STATE, EVENT, outcome, LATE)
    assert decision.again_after is None
    assert (decision.state.notified_n, decision.state.delivered, decision.state.dropped) == (4, 1, 2)
    assert decision.state.end is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422, 499])
def test_a_refusal_of_an_event_is_final_for_that_event_alone(status: int) -> None:
    refused = NotifyTrouble(4, "status_refused", SOON.at, status)
    assert decide(STATE, EVENT, Reply(status), SOON) == Decision(NotifyState(4, 1, 2, None, refused))


def test_gone_ends_it() -> None:
    decision = decide(STATE, EVENT, Reply(410, retry_after="5"), SOON)
    assert decision.state.end is NotifyEnd.GONE
    assert decision.again_after is None
    assert decision.state.notified_n == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60.0),
        (" 7 ", 7.0),
        ("1", 4.0),
        ("soon", 4.0),
        ("-5", 4.0),
        ("", 4.0),
        ("٣", 4.0),
        ("9" * 400, DEADLINE_SECONDS - 10),
    ],
)
def test_retry_after_is_a_least_and_the_deadline_a_most(text: str, seconds: float) -> None:
    assert decide(STATE, EVENT, Reply(503, retry_after=text), SOON).again_after == seconds


def test_a_clock_that_was_put_back_makes_no_wait_of_years() -> None:
    tried = Tried(AT - 10**9, 0, 0.5)
    assert decide(STATE, EVENT, Reply(503, retry_after="9999999999"), tried).again_after == DEADLINE_SECONDS


def test_retry_after_may_be_a_date() -> None:
    when = format_datetime(datetime.fromtimestamp(AT + 90, UTC), usegmt=True)
    assert read_retry_after(when, AT) == 90.0
    assert read_retry_after(when, AT + 100) == 0.0
    assert read_retry_after("Fri, 99 Foo 99999 00:00:00 GMT", AT) == 0.0


@given(st.text())
@example("5\x1f")
@example("\t 5 ")
def test_whatever_an_endpoint_says_is_read_or_passed_over(text: str) -> None:
    assert read_retry_after(text, AT) >= 0.0


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_wait_never_leaves_its_bounds(failures: int, jitter: float) -> None:
    assert 0 <= endpoint_pause(failures, jitter) < min(900.0, 2.0 * 2 ** min(failures, 20))


@given(st.integers(0, int(DEADLINE_SECONDS) - 1), st.integers(0, 500), st.floats(0, 1, exclude_max=True))
def test_no_wait_leads_past_the_deadline(after: int, failures: int, jitter: float) -> None:
    again = decide(STATE, EVENT, Reply(503), Tried(AT + after, failures, jitter)).again_after
    assert again is not None
    assert AT + after + again <= AT + DEADLINE_SECONDS


def test_without_a_target_it_ends_as_what_it_was() -> None:
    gone = NotifyState(trouble=NotifyTrouble(4, "gone", AT, 410))
    assert end_without_target(gone, EVENT, AT).end is NotifyEnd.GONE
    lost = end_without_target(STATE, EVENT, AT)
    assert (lost.end, lost.trouble) == (NotifyEnd.LOST, NotifyTrouble(4, "target_lost", AT))


def test_every_trouble_has_words() -> None:
    assert {trouble.value for trouble in SendTrouble} <= set(TROUBLES)
    assert {"gone", "status_failed", "status_refused", "target_lost"} <= set(TROUBLES)
    assert all(words.message and words.remedy for words in TROUBLES.values())


def test_a_target_shows_neither_its_url_nor_its_secret() -> None:
    assert repr(NotifyTarget("https://a/?hush-1", "hush-2")) == "NotifyTarget()"
