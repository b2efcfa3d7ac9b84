"""The lines of one version's job, and who waits for one: none is lost, and none of a job that is to end is used."""

import pytest

from agent.core.chute import Version, VersionState
from agent.core.reasons import reason
from agent.jobs.cords import CordMethodError
from agent.jobs.cords.host import PAUSE_SECONDS, QUICK_ENDS, QUICK_SECONDS, Host, HostState
from agent.spec import Entry
from tests.fakes.cord_lines import FakeCordLine
from tests.shell.cord_world import echo

VERSION = Version(
    "v", "ann", "d", "busybox", Entry("main.py", "chute"), 0.0, state=VersionState.ACTIVE, chute="c", number=1
)


@pytest.fixture
async def host() -> Host:
    made = Host(VERSION, 0.0)
    made.begin("job")
    return made


async def test_a_line_that_was_given_to_one_who_has_left_is_the_next_ones(host: Host) -> None:
    first, second = host.wait(), host.wait()
    line = FakeCordLine(echo)
    host.add(line, 0.0)
    assert first.result() is line
    host.give_up(first)
    assert second.result() is line


async def test_who_has_left_before_is_passed_over(host: Host) -> None:
    first, second = host.wait(), host.wait()
    host.give_up(first)
    line = FakeCordLine(echo)
    host.add(line, 0.0)
    assert second.result() is line
    assert not host.is_waited_for


async def test_a_line_of_a_job_that_is_left_is_closed_when_its_call_is_over(host: Host) -> None:
    line = FakeCordLine(echo)
    host.add(line, 0.0)
    assert host.take_free() is line
    host.leave(1.0)
    host.begin("next")
    waiting = host.wait()
    host.free(line)
    assert (line.is_open, waiting.done(), host.take_free()) == (False, False, None)


async def test_a_line_that_was_closed_while_it_was_free_is_given_to_nobody(host: Host) -> None:
    closed, good = FakeCordLine(echo), FakeCordLine(echo)
    for line in (closed, good):
        host.add(line, 0.0)
    closed.close()
    assert host.take_free() is good


@pytest.mark.parametrize(("lived", "paused_until"), [(0.0, 100.0 + PAUSE_SECONDS), (QUICK_SECONDS, 0.0)])
async def test_only_ends_soon_after_the_start_are_held_against_a_chute(
    host: Host, lived: float, paused_until: float
) -> None:
    for number in range(QUICK_ENDS):
        host.begin(f"job {number}")
        line = FakeCordLine(echo)
        host.add(line, 100.0)
        host.note_end(reason("exit_nonzero"), 100.0 + lived)
        host.drop(line)
    assert host.paused_until == paused_until


async def test_a_fault_that_no_other_start_would_heal_is_told_at_once(host: Host) -> None:
    host.note_end(reason("chute_import_failed"), 5.0)
    assert host.paused_until == 5.0 + PAUSE_SECONDS
    assert host.why is not None
    assert "chute_import_failed" in host.why


async def test_each_of_those_who_are_refused_has_an_error_of_his_own(host: Host) -> None:
    futures = [host.wait() for _ in range(3)]
    host.refuse_all(CordMethodError("PUT", "/a", ["GET"]))
    errors = [future.exception() for future in futures]
    assert len({id(error) for error in errors}) == 3
    assert {(str(error), getattr(error, "allowed", None)) for error in errors} == {
        ("'/a' takes GET, not 'PUT'", ("GET",))
    }


async def test_a_versions_state_is_that_of_what_answers_for_it(host: Host) -> None:
    assert host.state(0.0) is HostState.STARTING  # its job has not connected
    line = FakeCordLine(echo)
    host.add(line, 0.0)
    assert host.state(0.0) is HostState.WARM
    host.note_end(reason("chute_import_failed"), 5.0)
    host.drop(line)
    assert host.state(5.0) is HostState.FAILING
    assert host.state(5.0 + PAUSE_SECONDS) is HostState.COLD
    host.wait()
    assert host.state(5.0 + PAUSE_SECONDS) is HostState.STARTING
