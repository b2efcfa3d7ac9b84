"""Who may log in and for how long, what is told of it, and what a client is given to log in with."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.api.ssh_views import show_keys, show_ssh
from agent.api.views import Addresses
from agent.core.event_form import show_time
from agent.core.injection import NOTHING_TO_HAND_OVER
from agent.core.job import ExitFacts, Job, Kind, Verdict
from agent.core.lease import Lease, PortLease
from agent.core.pace import BURST, PER_SECOND, Pace, pass_by
from agent.core.plan import Mounted, SshMounts, plan
from agent.core.ports import NatMap
from agent.core.ssh import (
    SshState,
    add_key,
    authorized_keys,
    fingerprint,
    keys_left,
    keys_of,
    replace_keys,
    seconds_to_expiry,
    state_of,
    valid_keys,
)
from agent.core.ssh_audit import tell
from agent.core.ssh_key import SshKey
from agent.core.ssh_kit import SshKit
from agent.core.ssh_log import Closed, Opened
from agent.core.ssh_server import PAUSES, pause_before, server_plan
from agent.errors import Phase
from agent.interfaces import NewJob
from agent.jobs.record import read_record, write_record
from agent.spec import Proto, parse_spec
from tests.fakes.host_keys import public_key
from tests.unit.core_values import make_job
from tests.unit.test_core_plan import POLICY

LINES = [public_key(number).line for number in range(5)]
KEYS = [SshKey(f"{line} key{number}", "bob") for number, line in enumerate(LINES)]
HOST = public_key(99)
NOW = 1000.0


def ssh_job(**columns: object) -> Job:
    return make_job({"ssh": {"authorized_keys": [KEYS[0].line]}}, ssh_host_key=HOST.line, **columns)


def test_a_row_that_is_made_anew_has_of_the_specs_keys_those_that_nobody_took_out() -> None:
    job = make_job({"ssh": {"authorized_keys": [key.line for key in KEYS[:2]]}}, ssh_host_key=HOST.line)
    assert keys_left(job, None) is None
    assert keys_left(job, authorized_keys(keys_of(job))) == keys_of(job)
    assert keys_left(job, authorized_keys(KEYS[1:4])) == keys_of(job)[1:]
    assert keys_left(job, authorized_keys(KEYS[3:])) == keys_left(job, "") == ()


def test_at_first_the_keys_are_the_specs_and_the_owners() -> None:
    assert keys_of(ssh_job()) == (SshKey(KEYS[0].line, "alice"),)
    assert keys_of(make_job()) == ()


def test_replaced_keys_are_all_there_are() -> None:
    job, events = replace_keys(ssh_job(), KEYS[1:3], "bob")
    assert keys_of(job) == tuple(KEYS[1:3])
    assert [event.type for event in events] == ["ssh.keys"]
    assert events[0].data == {
        "change": "replaced",
        "by": "bob",
        "keys": [{"fingerprint": fingerprint(key), "expires_at": None} for key in KEYS[1:3]],
    }


def test_an_added_key_takes_the_place_of_itself_and_of_what_is_over() -> None:
    over = replace(KEYS[1], expires_at=NOW - 1)
    job = ssh_job(ssh_keys=(KEYS[0], over, KEYS[2]))
    again = replace(KEYS[2], line=LINES[2], expires_at=NOW + 60)
    changed, events = add_key(job, again, NOW)
    assert keys_of(changed) == (KEYS[0], again)
    assert events[0].data["keys"] == [{"fingerprint": fingerprint(again), "expires_at": show_time(NOW + 60)}]


EXPIRIES = st.lists(st.none() | st.floats(0, 2000), max_size=5)


@given(EXPIRIES, st.floats(0, 2000))
def test_a_key_is_in_the_file_until_its_time_and_never_after(ends: list[float | None], now: float) -> None:
    keys = [replace(key, expires_at=end) for key, end in zip(KEYS, ends, strict=False)]
    kept = valid_keys(keys, now)
    assert {key.line for key in kept} == {
        key.line for key in keys if key.expires_at is None or key.expires_at > now
    }
    text = authorized_keys(kept)
    assert text.count("\n") == len(kept)
    assert all((key.line in text) == (key in kept) for key in keys)
    seconds = seconds_to_expiry(kept, now)
    if seconds is not None:
        # Looked at again then, one of them is over, and until then none is.
        assert valid_keys(kept, now + seconds / 2) == kept or seconds == 0
        assert len(valid_keys(kept, now + seconds + 1e-9)) < len(kept)


def test_every_line_of_the_file_forbids_what_the_server_has_no_switch_for() -> None:
    for line in authorized_keys(KEYS).splitlines():
        options = line.partition(" ssh-")[0]
        assert 'no-agent-forwarding,no-X11-forwarding,command="/.agent/ssh/session"' in options


def test_the_state_is_the_servers_while_the_job_runs_and_ended_after() -> None:
    for phase in (Phase.QUEUED, Phase.STARTING, Phase.RUNNING):
        assert state_of(ssh_job(phase=phase), None) is SshState.STARTING
    assert state_of(ssh_job(phase=Phase.RUNNING), SshState.DOWN) is SshState.DOWN
    grace = ssh_job(phase=Phase.STOPPING)
    assert state_of(grace, SshState.READY) is SshState.READY
    over = replace(grace, run=replace(grace.run, exit=ExitFacts(Verdict.OWN, 0)))
    assert state_of(over, SshState.READY) is SshState.ENDED
    assert state_of(ssh_job(phase=Phase.FINISHED), SshState.READY) is SshState.ENDED


OPENED = Opened(13, "root", fingerprint(KEYS[1]), "192.0.2.7:4242")


def test_a_login_is_told_with_whose_key_it_was() -> None:
    event = tell(OPENED, KEYS, attempt=2, missed=3)
    assert event.type == "ssh.opened"
    assert event.data == {
        "attempt": 2,
        "session": 13,
        "user": "root",
        "address": "192.0.2.7:4242",
        "missed": 3,
        "fingerprint": fingerprint(KEYS[1]),
        "comment": "key1",
        "by": "bob",
    }
    assert tell(OPENED, KEYS[2:], 1, 0).data["by"] is None
    assert tell(Closed(13, "root", "192.0.2.7:4242"), KEYS, 1, 0).type == "ssh.closed"


@given(st.lists(st.floats(0, 5), max_size=300))
def test_however_often_a_job_is_logged_in_to_so_much_is_told_and_all_is_counted(pauses: list[float]) -> None:
    pace, at, told, missed = Pace(0.0), 0.0, 0, 0
    for pause in pauses:
        at += pause
        pace, before = pass_by(pace, at)
        if before is not None:
            told, missed = told + 1, missed + before
    assert told <= BURST + at * PER_SECOND
    assert told + missed + pace.missed == len(pauses)


def test_a_dead_server_is_started_three_times_more() -> None:
    assert [pause_before(restart) for restart in (1, 2, 3, 4)] == [*PAUSES, None]
    assert len(PAUSES) == 3


def test_the_server_runs_as_the_container_does_and_nothing_is_added() -> None:
    made = server_plan()
    assert (made.user, made.workdir, made.environment, made.terminal) == (None, None, (), None)
    assert made.command[:2] == ("/bin/sh", "-c")
    assert "-s" in made.command  # no passwords
    assert ":089A/0A" in made.command[2]


def test_a_container_gets_the_kit_and_its_jobs_own_folder_read_only() -> None:
    kit = SshKit("/kits/abc", "abc", "dropbear 1", "lib/ld.so")
    mounted = Mounted("/outputs", None, SshMounts(kit, "/state/jobs/x/ssh"))
    made = plan(ssh_job(lease=Lease()), POLICY, mounted, NOTHING_TO_HAND_OVER)
    mounts = {mount.target: mount for mount in made.mounts}
    assert set(mounts) == {"/outputs", "/.agent/ssh", "/.agent/ssh-keys"}
    for target, source in {"/.agent/ssh": "/kits/abc", "/.agent/ssh-keys": "/state/jobs/x/ssh"}.items():
        assert (mounts[target].source, mounts[target].read_only) == (source, True)


LEASED = Lease(ports=(PortLease("web", 8080, Proto.HTTP, 20001), PortLease("ssh", 2202, Proto.TCP, 20002)))


@pytest.mark.parametrize(
    ("addresses", "host", "port"),
    [
        (Addresses(("0.0.0.0",), NatMap("")), "127.0.0.1", 20002),
        (Addresses(("0.0.0.0",), NatMap("gpu.example.org")), "gpu.example.org", 20002),
        (
            Addresses(("0.0.0.0",), NatMap("gpu.example.org", ((20000, 20009, 40000),))),
            "gpu.example.org",
            40002,
        ),
        (Addresses(("::",), NatMap("")), "::1", 20002),
    ],
)
def test_a_client_is_given_a_line_to_log_in_with_and_the_host_key(
    addresses: Addresses, host: str, port: int
) -> None:
    job = ssh_job(phase=Phase.RUNNING, lease=LEASED)
    job = replace(job, run=replace(job.run, ssh_user="worker"))
    assert show_ssh(job, SshState.READY, addresses) == {
        "state": "ready",
        "command": f"ssh -p {port} worker@{host}",
        "fingerprint": HOST.fingerprint,
        "known_hosts": f"[{host}]:{port} {HOST.line}",
    }


def test_what_is_not_known_yet_is_null_and_a_job_without_ssh_has_none_of_it() -> None:
    addresses = Addresses(("0.0.0.0",), NatMap(""))
    shown = show_ssh(ssh_job(), SshState.STARTING, addresses)
    assert shown is not None
    assert (shown["command"], shown["known_hosts"], shown["fingerprint"]) == (None, None, HOST.fingerprint)
    waiting = show_ssh(ssh_job(lease=LEASED), SshState.STARTING, addresses)
    assert waiting is not None
    assert waiting["command"] is None
    assert show_ssh(make_job(), SshState.STARTING, addresses) is None


def test_on_the_usual_port_known_hosts_has_the_bare_name() -> None:
    job = ssh_job(lease=Lease(ports=(PortLease("ssh", 2202, Proto.TCP, 20002),)))
    shown = show_ssh(
        job, SshState.READY, Addresses(("0.0.0.0",), NatMap("gpu.example.org", ((20002, 20002, 22),)))
    )
    assert shown is not None
    assert shown["known_hosts"] == f"gpu.example.org {HOST.line}"


def test_keys_are_shown_by_fingerprint_and_never_whole() -> None:
    (shown,) = show_keys([replace(KEYS[1], expires_at=0.0)])
    assert shown == {
        "type": "ssh-ed25519",
        "fingerprint": fingerprint(KEYS[1]),
        "comment": "key1",
        "by": "bob",
        "expires_at": "1970-01-01T00:00:00.000Z",
    }


def test_a_repair_finds_the_host_key_in_the_jobs_record() -> None:
    spec = parse_spec({"image": "x", "ssh": {"authorized_keys": [LINES[0]]}})
    new = NewJob(
        "0" * 8 + "-0000-7000-8000-" + "0" * 12, "alice", Kind.CONTAINER, spec, 1.0, None, "d", HOST.line
    )
    assert read_record(write_record(new)).ssh_host_key == HOST.line
