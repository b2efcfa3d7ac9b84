"""When a job may start by itself: five fields of cron, or a word for them; every wrong field is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chutes._schedule_rules import FIELDS, WORDS, find_time_faults


@pytest.mark.parametrize(
    "schedule",
    [
        *WORDS,
        "* * * * *", "0 3 * * *", "59 23 31 12 7", "0 0 1 1 0", "*/5 9-17 * * MON-FRI", "0,15,30-45/5 */2 1,15 JAN,jul-Sep sun",
        "5/15 * * * *", "0  3\t* * *", " 0 3 * * * ", "00 003 * * *", "1-1 * * * *", "*/1000 * * * *", "*,5 * * * *",
    ],
)  # fmt: skip
def test_what_cron_takes_is_taken(schedule: str) -> None:
    assert list(find_time_faults(schedule)) == []


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("60 * * * *", "minute '60': '60' is no number from 0 to 59"),
        ("* 24 * * *", "hour '24'"),
        ("* * 0 * *", "day of the month '0'"),
        ("* * 32 * *", "day of the month '32'"),
        ("* * * 13 *", "month '13': '13' is no number from 1 to 12, and no name as JAN"),
        ("* * * MON *", "month 'MON'"),
        ("* * * * 8", "day of the week '8'"),
        ("* * * * MONDAY", "day of the week 'MONDAY'"),
        ("*/0 * * * *", "'0' is no step"),
        ("*/ * * * *", "'' is no step"),
        ("*/-1 * * * *", "'-1' is no step"),
        ("1/2/3 * * * *", "'2/3' is no step"),
        ("5-1 * * * *", "'5-1' ends before it begins"),
        ("1-2-3 * * * *", "'2-3' is no number"),
        ("1-* * * * *", "'*' is no number"),
        (", * * * *", "'' is no number"),
        ("1,,2 * * * *", "'' is no number"),
        ("-1 * * * *", "'' is no number"),
        ("+1 * * * *", "'+1' is no number"),
        ("٣ * * * *", "is no number"),
        (f"{'9' * 150} * * * *", "is no number"),
        ("? * * * *", "'?' is no number"),
        ("@reboot", "must be five fields or one of @yearly"),
        ("@Daily", "must be five fields"),
        ("@every 5m", "must be five fields"),
        ("* * * *", "must be five fields"),
        ("* * * * * *", "must be five fields"),
        ("", "must be five fields"),
        ("\x00", "must be five fields"),
        (f"*{' ' * 200}* * * *", "a text of at most 200 characters"),
        (5, "a text of at most 200 characters"),
        (b"@daily", "a text of at most 200 characters"),
    ],
)
def test_what_is_no_time_is_refused_with_the_field_and_what_to_write(schedule: object, words: str) -> None:
    (fault,) = find_time_faults(schedule)
    assert words in fault.message
    assert fault.field == "schedule"
    assert "Write it as in" in fault.remedy


def test_every_wrong_field_is_named_once() -> None:
    told = [fault.message.partition(" '")[0] for fault in find_time_faults("60,61 24 0 13 8")]
    assert told == [field.name for field in FIELDS]


@st.composite
def term(draw: st.DrawFn, number: int) -> str:
    field = FIELDS[number]
    values = [*map(str, range(field.low, field.high + 1)), *field.names]
    first = draw(st.sampled_from(values))
    last = draw(st.sampled_from([str(field.high), first]))
    written = draw(st.sampled_from(["*", first, f"{first}-{last}"]))
    step = draw(st.sampled_from(["", "/1", "/7", "/99"]))
    return written + step


@given(st.data())
def test_nothing_of_the_grammar_is_refused(data: st.DataObject) -> None:
    fields = [",".join(data.draw(st.lists(term(number), min_size=1, max_size=3))) for number in range(5)]
    assert list(find_time_faults(" ".join(fields))) == []


@given(st.text(max_size=300) | st.text(alphabet="*/-,0123456789 MONJAN", max_size=60))
def test_any_text_is_judged_and_none_raises(schedule: str) -> None:
    assert all(fault.field == "schedule" for fault in find_time_faults(schedule))
