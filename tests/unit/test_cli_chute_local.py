"""`chute run --local`: a job in a process of its own, which may do anything, to its result and exit code."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from agent.cli import chutes
from agent.cli.chute_local import ChuteNotRunError, LocalJob, run_local
from agent.cli.refusals import BadArgumentError
from agent.cli.screen import Form, Screen

# Programs that are started and ended: seconds together.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HEAD = """
import asyncio, os, signal, subprocess, sys, threading, time
from pathlib import Path
from chutes import PermanentError
from chutes.chute import Chute

chute = Chute(username="me", name="mine")
"""


class Told:
    """A screen, and what was written on it."""

    def __init__(self, form: Form = Form.PEOPLE) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.screen = Screen(form, Console(file=self.out, width=200), Console(file=self.err, width=200))

    @property
    def result(self) -> object:
        return json.loads(self.out.getvalue())


Job = Callable[..., LocalJob]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Of the file's only job, which is `body` behind the imports."""

    def make(body: str, **given: object) -> LocalJob:
        file = tmp_path / "main.py"
        file.write_text(HEAD + body)
        facts = {
            "file": str(file), "chute": "chute", "name": None, "payload": {}, "output": None, "timeout_seconds": None, "grace_seconds": 1.0,
            "python": sys.executable,
        }  # fmt: skip
        return LocalJob(**{**facts, **given})  # type: ignore[arg-type]  # fields by name

    return make


async def test_the_result_goes_to_stdout_and_all_that_the_job_says_to_stderr(
    job: Job, capfd: pytest.CaptureFixture[str]
) -> None:
    told = Told()
    body = """
@chute.job()
async def work(self, name: str):
    print("printed")
    self.logger.info("logged")
    await self.update_job_progress(progress=100, message="done")
    return {"hello": name, "stdin": sys.stdin.read()}
"""
    assert await run_local(told.screen, job(body, payload={"name": "you"})) == 0
    assert told.result == {"hello": "you", "stdin": ""}
    assert "100.0 %  done" in told.err.getvalue()
    written = capfd.readouterr()
    assert written.out == ""
    assert "printed" in written.err
    assert "logged" in written.err


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("return None", 0),
        ("raise ValueError", 1),
        ("raise PermanentError", 1),
        ("sys.exit(7)", 7),
        ("sys.exit()", 0),
        ("os._exit(9)", 9),
        ("os._exit(0)", 125),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.closerange(3, 256); time.sleep(60)", 124),
        ("await asyncio.sleep(60)", 124),
        ("time.sleep(60)", 124),
    ],
)
async def test_it_exits_as_the_job_ended(job: Job, line: str, code: int) -> None:
    began = time.monotonic()
    given = job(f"@chute.job()\nasync def work(self):\n    {line}\n", timeout_seconds=1, grace_seconds=0.2)
    assert await run_local(Told().screen, given) == code
    assert time.monotonic() - began < 20


async def test_for_scripts_all_facts_are_one_document(job: Job) -> None:
    told = Told(Form.JSON)
    body = """
@chute.job(retry_count=1, name="first")
async def work(self, output_dir: str):
    if self.attempt == 1:
        raise ConnectionError("once")
    Path(output_dir, "file").write_text("x")
    await self.record_metric("loss", 0.5)
    await self.start_job("second", {"number": 2})
    return (1, 2)

@chute.job()
async def second(self, number: int):
    return number
"""
    assert await run_local(told.screen, job(body, name="first")) == 0
    document = told.result
    assert isinstance(document, dict)
    assert (document["outcome"], document["result"], document["outputs"]) == ("succeeded", [1, 2], ["file"])
    assert [each["outcome"] for each in document["attempts"]] == ["failed", "succeeded"]
    assert document["metrics"] == [["loss", 0.5]]
    assert [(each["name"], each["result"]) for each in document["children"]] == [("second", 2)]


async def test_a_failure_is_told_with_its_traceback_and_nothing_on_stdout(job: Job) -> None:
    told = Told()
    body = "@chute.job()\nasync def work(self):\n    raise ValueError('wrong \\x1b[31m')\n"
    await run_local(told.screen, job(body))
    assert told.out.getvalue() == ""
    assert "ValueError: wrong \\x1b[31m" in told.err.getvalue()
    assert "main.py" in told.err.getvalue()


async def test_a_failure_is_told_once_and_without_a_frame_of_ours(job: Job) -> None:
    for body, last in (
        ("@chute.job()\nasync def work(self):\n    raise ValueError('once')\n", "ValueError: once"),
        ("@chute.job()\nasync def work(self, a, b): ...\n", "PayloadError: the payload does not fit"),
    ):
        told = Told()
        assert await run_local(told.screen, job(body)) == 1
        assert told.err.getvalue().count(last) == 1
        assert "chutes/testing" not in told.err.getvalue()


async def test_a_file_that_can_not_be_read_is_shown_where_it_is_wrong_and_nothing_of_ours(
    job: Job, capfd: pytest.CaptureFixture[str]
) -> None:
    for body, shown in (("def broken(:\n", "def broken(:"), ("1 / 0\n", "in <module>")):
        with pytest.raises(ChuteNotRunError):
            await run_local(Told().screen, job(body))
        written = capfd.readouterr().err
        assert shown in written
        assert [each for each in ("chutes/testing", "importlib") if each in written] == []


@pytest.mark.slow  # the pause before its retry
async def test_what_failed_before_a_retry_is_told_as_it_happens(job: Job) -> None:
    told = Told()
    body = """
@chute.job(retry_count=1)
async def work(self):
    if self.attempt == 1:
        raise ConnectionError("reset by peer")
"""
    assert await run_local(told.screen, job(body)) == 0
    text = told.err.getvalue()
    assert "ConnectionError: reset by peer" in text
    assert "attempt 2 of work" in text


async def test_what_failed_in_a_child_is_told(job: Job) -> None:
    told = Told()
    body = """
@chute.job(name="parent")
async def parent(self):
    await self.start_job("child", {})

@chute.job(name="child")
async def child(self):
    raise ValueError("in the child")
"""
    assert await run_local(told.screen, job(body, name="parent")) == 0
    assert "ValueError: in the child" in told.err.getvalue()
    assert "local.1  child failed" in told.err.getvalue()


async def test_a_crash_leaves_a_traceback(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    body = "@chute.job()\nasync def work(self):\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
    assert await run_local(Told().screen, job(body)) == 139
    assert "in work" in capfd.readouterr().err


@pytest.mark.slow
async def test_what_is_ended_since_it_does_not_stop_says_where_it_was(job: Job) -> None:
    told = Told()
    body = "@chute.job()\nasync def work(self):\n    stuck()\n\ndef stuck():\n    time.sleep(60)\n"
    assert await run_local(told.screen, job(body, timeout_seconds=0.5, grace_seconds=0.1)) == 124
    assert "in stuck" in told.err.getvalue()
    assert "chutes/testing" not in told.err.getvalue()


async def test_an_interrupt_of_the_authors_own_is_his(job: Job, capfd: pytest.CaptureFixture[str]) -> None:
    told = Told()
    body = "@chute.job()\nasync def work(self):\n    raise KeyboardInterrupt\n"
    assert await run_local(told.screen, job(body)) == 130
    written = capfd.readouterr().err
    assert "in work" in written
    assert "chutes/testing" not in written


async def test_a_death_without_a_result_is_a_document_for_scripts_too(job: Job) -> None:
    told = Told(Form.JSON)
    assert await run_local(told.screen, job("@chute.job()\nasync def work(self):\n    os._exit(9)\n")) == 9
    document = told.result
    assert isinstance(document, dict)
    assert (document["outcome"], document["result"], document["error"]["exit_code"]) == ("failed", None, 9)


@pytest.mark.parametrize("program", ["true", "echo"])
async def test_what_is_no_python_or_an_old_one_is_told_by_name(job: Job, program: str) -> None:
    with pytest.raises(ChuteNotRunError, match=f"--python {program} is no Python 3.8 or newer"):
        await run_local(Told().screen, job("@chute.job()\ndef work(self): ...\n", python=program))


async def test_outputs_are_kept_where_that_is_asked_for(job: Job, tmp_path: Path) -> None:
    body = (
        "@chute.job()\nasync def work(self):\n    Path(self.output_dir, 'file').write_text(self.output_dir)\n"
    )
    await run_local(Told().screen, job(body, output=tmp_path / "kept"))
    assert (tmp_path / "kept" / "file").exists()
    told = Told(Form.JSON)
    body = "@chute.job()\nasync def work(self):\n    return self.output_dir\n"
    await run_local(told.screen, job(body))
    assert isinstance(told.result, dict)
    assert not is_there(told.result["result"])


async def test_it_works_in_the_folder_of_its_file_and_finds_what_lies_beside(
    job: Job, tmp_path: Path
) -> None:
    (tmp_path / "beside.py").write_text("text = open('data.txt').read()\n")
    (tmp_path / "data.txt").write_text("data")
    told = Told()
    body = "import beside\n@chute.job()\nasync def work(self):\n    return beside.text\n"
    assert await run_local(told.screen, job(body)) == 0
    assert told.result == "data"


async def test_the_progress_of_a_child_is_told_as_its_own(job: Job) -> None:
    told = Told()
    body = """
@chute.job()
async def first(self):
    await self.start_job("second")

@chute.job()
async def second(self):
    await self.update_job_progress(progress=100)
    await self.update_job_status("part", "done")
"""
    await run_local(told.screen, job(body, name="first"))
    lines = told.err.getvalue().splitlines()
    assert lines == ["started second as local.1", "local.1  100.0 %", "local.1  part: done"]


async def test_a_python_that_is_not_there_is_refused(job: Job) -> None:
    with pytest.raises(BadArgumentError, match="--python /nonexistent can't be run"):
        await run_local(Told().screen, job("", python="/nonexistent"))


@pytest.mark.parametrize(
    ("body", "given", "said"),
    [
        ("", {"file": "/nonexistent.py"}, "no file"),
        ("", {}, "its jobs are: none"),
        ("", {"chute": "other"}, "nothing under the name 'other'"),
        ("@chute.job()\ndef a(self): ...\n@chute.job()\ndef b(self): ...\n", {}, "its jobs are: a, b"),
        ("@chute.job()\ndef a(self): ...\n", {"name": "c"}, "no job 'c'; its jobs are: a"),
        ("@chute.job(timeout=1, retry_count=-1)\ndef a(self): ...\n", {}, "2 faults"),
        ("raise RuntimeError('at import')\n", {}, "RuntimeError: at import"),
        ("sys.exit(3)\n", {}, "SystemExit"),
    ],
)
async def test_what_can_not_be_run_is_refused_with_what_there_is(
    job: Job, body: str, given: dict[str, object], said: str
) -> None:
    with pytest.raises(ChuteNotRunError, match=said):
        await run_local(Told().screen, job(body, **given))


HERE = {"timeout": "9s", "grace": "9s", "chute": "other", "python": "python3"}
THERE = {"spec": "spec.json", "force": True, "detach": True}


@pytest.mark.parametrize(
    ("target", "given", "named"),
    [
        ("digits/train", HERE, ["--timeout, --grace, --chute, --python", "with --local only"]),
        ("main.py:train", {"local": True, **THERE}, ["--spec, --force, --detach", "not with --local"]),
    ],
)
async def test_an_option_that_would_change_nothing_is_refused_by_name(
    target: str, given: dict[str, Any], named: list[str]
) -> None:
    call: Any = None
    with pytest.raises(BadArgumentError) as refused:
        await chutes.run(call, target, **given)
    assert [each for each in named if each not in str(refused.value)] == []


def is_there(path: str) -> bool:
    return Path(path).exists()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def interrupted(told: Told, given: LocalJob, mark: Path, times: int) -> int:
    """Ctrl-C, so often, once the job has made the file `mark`."""

    async def interrupt() -> None:
        await until(mark.exists)
        for number in range(times):
            os.kill(os.getpid(), signal.SIGINT)
            if number == 0:
                await until(lambda: "stopping" in told.err.getvalue())

    async with asyncio.TaskGroup() as group:
        group.create_task(interrupt())
        return await run_local(told.screen, given)


async def test_an_interrupt_lets_the_job_stop_by_itself(job: Job, tmp_path: Path) -> None:
    body = f"""
@chute.job()
async def work(self):
    Path({str(tmp_path)!r}, "mark").touch()
    while not self.should_shutdown:
        await asyncio.sleep(0.01)
    return "saved"
"""
    told = Told()
    assert await interrupted(told, job(body, grace_seconds=20), tmp_path / "mark", 1) == 130
    assert told.result == "saved"


async def test_a_python_is_named_from_where_the_command_is_typed(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path / "bin")
    body = "@chute.job()\nasync def work(self):\n    return 1\n"
    assert await run_local(Told().screen, job(body, python="./python")) == 0


@pytest.mark.parametrize(("times", "grace"), [(2, 600), (1, 0.2)])
async def test_a_second_one_or_the_end_of_the_grace_ends_what_does_not_stop(
    job: Job, tmp_path: Path, times: int, grace: float
) -> None:
    body = f"@chute.job()\nasync def work(self):\n    Path({str(tmp_path)!r}, 'mark').touch()\n    time.sleep(60)\n"
    began = time.monotonic()
    assert await interrupted(Told(), job(body, grace_seconds=grace), tmp_path / "mark", times) == 130
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    "leaves",
    [
        "child = subprocess.Popen(['sleep', '60']).pid",
        "child = os.fork()\n    if child == 0: time.sleep(60); os._exit(0)",
        "child = os.getpid()\n    threading.Thread(target=time.sleep, args=(60,), daemon=False).start()",
    ],
)
async def test_what_the_job_leaves_running_ends_with_it_and_holds_nothing_up(job: Job, leaves: str) -> None:
    told = Told()
    began = time.monotonic()
    assert (
        await run_local(told.screen, job(f"@chute.job()\ndef work(self):\n    {leaves}\n    return child\n"))
        == 0
    )
    assert time.monotonic() - began < 20
    pid = told.result
    assert isinstance(pid, int)
    await until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_is_asked_to_stop_when_the_command_is_killed(job: Job, tmp_path: Path) -> None:
    given = job(f"""
@chute.job()
async def work(self):
    Path({str(tmp_path)!r}, "mark").touch()
    while not self.should_shutdown:
        await asyncio.sleep(0.01)
    Path({str(tmp_path)!r}, "stopped").touch()
""")
    words = [sys.executable, "-m", "agent", "chute", "run", f"{given.file}:work", "--local"]
    (tmp_path / "temporary").mkdir()
    command = subprocess.Popen(words, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")})
    wait_for((tmp_path / "mark").exists)
    assert any((tmp_path / "temporary").iterdir())
    command.kill()
    command.wait()
    wait_for((tmp_path / "stopped").exists)
    # Its outputs, which nobody wanted to keep.
    wait_for(lambda: not any((tmp_path / "temporary").iterdir()))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_command_as_it_is_typed(job: Job, tmp_path: Path) -> None:
    given = job("@chute.job()\nasync def work(self, n: int):\n    return n\n")
    words = [
        sys.executable,
        "-m",
        "agent",
        "chute",
        "run",
        f"{given.file}:work",
        "--local",
        "--timeout",
        "1m",
    ]
    told = subprocess.run(
        [*words, "--payload", '{"n": 3}'], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert told.stdout == "3\n"
    told = subprocess.run(words[:-3], cwd=ROOT, check=False, capture_output=True, text=True)
    assert (told.returncode, "--local" in told.stderr) == (125, True)
