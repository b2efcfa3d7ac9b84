"""Commands in a real job by the program itself, on a real terminal and on pipes; and what is left of them when anything dies."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e.client import Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import REPOSITORY, Daemon
from tests.private_engine import PrivateEngine

SECONDS = 30.0
PROGRAM = [sys.executable, "-m", "agent", "exec"]


@pytest.fixture
def daemon(make_daemon: Make) -> Daemon:
    return make_daemon().start()


@pytest.fixture
def job(daemon: Daemon) -> str:
    return running(
        daemon, daemon.local.submit("sleep 600", grace=0, env={"GREETING": "hello"}, workdir="/tmp")
    )


def running(daemon: Daemon, job_id: str) -> str:
    expect(lambda: daemon.local.job(job_id)["phase"] == "running", "the job runs")
    return job_id


def environ(daemon: Daemon) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "GPU_AGENT_CONFIG": str(daemon.config_file)}


def run(daemon: Daemon, *words: str, stdin: bytes | None = None) -> "subprocess.CompletedProcess[bytes]":
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    return subprocess.run(
        [*PROGRAM, *words], cwd=REPOSITORY, env=environ(daemon), capture_output=True, timeout=SECONDS, check=False, **given
    )  # fmt: skip


def events(daemon: Daemon, job_id: str) -> list[tuple[str, Json]]:
    rows = daemon.query(
        "SELECT events.type, events.data FROM events JOIN jobs ON jobs.seq = events.job"
        " WHERE jobs.id = ? AND events.type LIKE 'exec.%' ORDER BY events.n",
        job_id,
    )
    return [(row["type"], json.loads(row["data"])) for row in rows]


def count_inside(daemon: Daemon, job_id: str, words: str) -> int:
    return int(
        run(daemon, job_id, "sh", "-c", f"ps -o args | grep -c '[{words[0]}]{words[1:]}' || true").stdout
    )


@dataclass
class Terminal:
    master: int
    slave: int
    process: "subprocess.Popen[bytes]"
    before: list[object]
    seen: bytes = b""
    rest: bytes = field(default=b"")

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def until(self, words: bytes) -> bytes:
        """What came before these words; what came behind them is kept."""
        deadline = time.monotonic() + SECONDS
        while words not in self.rest:
            assert time.monotonic() < deadline, self.rest
            with contextlib.suppress(BlockingIOError):
                self.rest += os.read(self.master, 65_536)
                continue
            time.sleep(0.01)
        before, _, self.rest = self.rest.partition(words)
        return before

    def drag(self, columns: int, rows: int) -> None:
        set_size(self.master, columns, rows)

    def end(self) -> int:
        code = self.process.wait(SECONDS)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is not as it was"
        return code


def set_size(descriptor: int, columns: int, rows: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextlib.contextmanager
def terminal(daemon: Daemon, *words: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    set_size(slave, 100, 30)
    os.set_blocking(master, False)
    before = termios.tcgetattr(slave)

    # Of a session of its own, whose terminal it is; and it hears ^C, also where the tests run in a background that does not.
    process = subprocess.Popen(
        ["setsid", "--ctty", "env", "--default-signal=INT", *PROGRAM, *words], cwd=REPOSITORY, env=environ(daemon), stdin=slave, stdout=slave, stderr=slave
    )  # fmt: skip
    try:
        yield Terminal(master, slave, process, before)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def test_a_shell_in_a_job_as_if_one_sat_in_it(daemon: Daemon, job: str) -> None:
    with terminal(daemon, job[:8]) as shell:
        shell.type(b"stty size; echo $GREETING-$PWD-$((6 * 7))\n")
        assert b"30 100\r\n" in shell.until(b"hello-/tmp-42\r\n")
        shell.drag(132, 50)
        shell.type(b"sleep 0.2; stty size\n")
        shell.until(b"50 132\r\n")
        shell.type(b"sleep 603\n")
        expect(lambda: count_inside(daemon, job, "sleep 603") == 1, "it sleeps")
        shell.type(b"\x03")
        shell.type(b"echo still-$?\n")
        shell.until(b"still-130\r\n")
        shell.type(b"exit 9\n")
        assert shell.end() == 9
    told = events(daemon, job)
    begun = told[0][1]
    (ended,) = [facts for kind, facts in told if kind == "exec.ended" and facts["exec"] == begun["exec"]]
    assert (begun["principal"], begun["peer"], begun["program"]) == ("local", None, "/bin/sh")
    assert ended["code"] == 9


def test_a_screen_program_gets_each_key_at_once(daemon: Daemon, job: str) -> None:
    with terminal(daemon, "-it", job, "vi", "/tmp/note") as shell:
        shell.until(b"/tmp/note")
        shell.type(b"ihello")
        shell.until(b"o")
        shell.type(b"\x1b")
        time.sleep(0.5)  # vi takes what follows an Esc at once for a key of its own; a person is slower
        shell.type(b":wq\r")
        assert shell.end() == 0
    assert run(daemon, job, "cat", "/tmp/note").stdout == b"hello\n"


def test_pipes_are_clean_and_whole_in_both_directions(daemon: Daemon, job: str) -> None:
    sent = os.urandom(5_000_000)
    ran = run(daemon, "-i", job, "sh", "-c", "cat; echo bad >&2; exit 4", stdin=sent)
    assert (ran.returncode, ran.stdout == sent, ran.stderr) == (4, True, b"bad\n")
    assert run(daemon, job, "no-such-program").returncode in {126, 127}


def test_user_folder_and_variables_as_docker_has_them(daemon: Daemon, job: str) -> None:
    ran = run(
        daemon,
        "-u",
        "1234:5",
        "-w",
        "/",
        "-e",
        "GREETING=bye",
        job,
        "sh",
        "-c",
        "echo $(id -u):$(id -g) $PWD $GREETING",
    )
    assert ran.stdout == b"1234:5 / bye\n"


def test_what_runs_beside_the_job_has_no_more_rights_than_the_job(daemon: Daemon) -> None:
    script = "grep -E 'NoNewPrivs|CapEff|CapBnd|CapPrm|Seccomp:' /proc/self/status; cat /proc/self/oom_score_adj; ulimit -n"
    job = running(daemon, daemon.local.submit(f"({script}) > /outputs/own; sleep 600", grace=0))
    expect(
        lambda: run(daemon, job, "cat", "/outputs/own").stdout.count(b"\n") == 7,
        "the job has said what it may",
    )
    own = run(daemon, job, "cat", "/outputs/own").stdout
    assert run(daemon, "-u", "root", job, "sh", "-c", script).stdout == own
    assert b"NoNewPrivs:\t1" in own


def test_a_program_that_is_killed_takes_its_command_along(daemon: Daemon, job: str) -> None:
    with terminal(daemon, job) as shell:
        shell.type(b"echo re''ady; sleep 601\n")
        shell.until(b"ready\r\n")
        shell.process.kill()
        expect(lambda: count_inside(daemon, job, "sleep 601") == 0, "the shell and what it ran are gone")
    expect(
        lambda: [
            facts for kind, facts in events(daemon, job) if kind == "exec.ended" and facts["code"] is None
        ],
        "it is noted",
    )


def test_a_daemon_that_is_stopped_takes_no_time_and_hangs_up_and_the_job_goes_on(
    daemon: Daemon, job: str
) -> None:
    with terminal(daemon, job) as shell:
        shell.type(b"echo re''ady; sleep 602\n")
        shell.until(b"ready\r\n")
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 8
        assert shell.end() == 125
        shell.until(b"the agent is leaving")
    daemon.start()
    assert count_inside(daemon, job, "sleep 602") == 0
    assert daemon.local.job(job)["phase"] == "running"


def test_a_daemon_that_is_killed_leaves_a_terminal_as_it_was(daemon: Daemon, job: str) -> None:
    with terminal(daemon, job) as shell:
        shell.type(b"echo re''ady\n")
        shell.until(b"ready\r\n")
        daemon.kill()
        assert shell.end() == 125
    daemon.start()
    assert run(daemon, job, "true").returncode == 0


def test_an_engine_that_is_killed_ends_the_command_and_not_the_job(
    daemon: Daemon, job: str, engine: PrivateEngine
) -> None:
    with terminal(daemon, job) as shell:
        shell.type(b"echo re''ady\n")
        shell.until(b"ready\r\n")
        engine.kill()
        assert shell.end() == 125
        shell.until(b"engine")
        engine.launch()
    expect(lambda: run(daemon, job, "true").returncode == 0, "commands run again")
    assert daemon.local.job(job)["phase"] == "running"


def test_the_end_of_the_job_ends_its_commands(daemon: Daemon, job: str) -> None:
    with terminal(daemon, job) as shell:
        shell.type(b"echo re''ady\n")
        shell.until(b"ready\r\n")
        daemon.local.call("POST", f"/v1/jobs/{job}/cancel?grace=0")
        assert shell.end() == 137
    daemon.local.wait_finished(job)
    assert run(daemon, job, "true").returncode == 125


def test_a_job_at_its_limit_of_processes_says_so_and_goes_on(daemon: Daemon) -> None:
    # What can't fork any more ends, but for what needs no process more.
    script = "(while :; do sleep 600 & done) 2>/dev/null; exec sleep 600"
    job = running(daemon, daemon.local.submit(script, grace=0, pids=16))
    ran = run(daemon, job, "sh", "-c", "echo in; true | true")
    assert ran.returncode != 0
    assert daemon.local.job(job)["phase"] == "running"


def test_signals_at_the_terminal_are_no_way_to_break_it(daemon: Daemon, job: str) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        with terminal(daemon, job) as shell:
            shell.type(b"echo re''ady\n")
            shell.until(b"ready\r\n")
            shell.process.send_signal(number)
            assert shell.end() == 128 + number
