"""Progress: a bar on a terminal, one line elsewhere, nothing for scripts."""

from io import BytesIO, StringIO

from rich.console import Console

from agent.cli.bars import Bar
from agent.cli.screen import Form, Screen


def screen(err: StringIO, form: Form, is_terminal: bool | None) -> Screen:  # noqa: FBT001 - rich's own switch
    console = Console(file=err, width=80, force_terminal=is_terminal, highlight=False, markup=False)
    return Screen(form, Console(file=StringIO()), console, BytesIO(), BytesIO())


def test_a_terminal_sees_what_goes_on_and_how_far_it_is_and_nothing_is_left_at_the_end() -> None:
    err = StringIO()
    with Bar(screen(err, Form.PEOPLE, is_terminal=True)) as bar:
        bar.tell("pulling [red]busybox", 1 << 20, 4 << 20)
    drawn = err.getvalue()
    assert "pulling [red]busybox" in drawn
    assert "1.0/4.0 MiB" in drawn
    assert drawn.endswith("\x1b[2K")


def test_elsewhere_each_thing_is_one_line() -> None:
    err = StringIO()
    with Bar(screen(err, Form.PEOPLE, is_terminal=False)) as bar:
        for done in range(5):
            bar.tell("pulling busybox", done, 5)
            bar.advance(1)
        bar.tell("waiting for ports")
    assert err.getvalue() == "pulling busybox\nwaiting for ports\n"


def test_scripts_see_nothing() -> None:
    err = StringIO()
    with Bar(screen(err, Form.JSON, is_terminal=True)) as bar:
        bar.tell("pulling busybox", 1, 2)
        bar.advance(1)
    assert err.getvalue() == ""
