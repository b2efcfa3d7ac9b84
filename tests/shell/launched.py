"""A job's launcher as a process, in folders as the host mounts them, with the fake host behind its socket."""

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from signal import SIGKILL, Signals
from textwrap import dedent
from typing import Any

from tests.fakes.job_socket import Finished, JobSocket

SDK = Path(__file__).parents[2] / "agent" / "sdk"

JOB = "7a0c1c5e-9a51-4c7e-8a3b-0d4b2f8f8a01"

# The Python that an image has: `LAUNCHER_PYTHON=python3.8 pytest tests/shell -k launcher` tries another one.
PYTHON = os.environ.get("LAUNCHER_PYTHON", sys.executable)

HEAD = """
import asyncio, json, os, signal, sys, threading, time
from chutes import Chute, PermanentError, RetriableError, HTTPException
chute = Chute(username="me", name="mine")
"""


class Launched:
    def __init__(self, process: asyncio.subprocess.Process, host: JobSocket, root: Path) -> None:
        self.process = process
        self.host = host
        self.root = root
        self._out = asyncio.ensure_future(self._read())

    async def _read(self) -> tuple[bytes, bytes]:
        if self.process.stdout is None:
            await self.process.wait()
            return b"", b""
        return await self.process.communicate()

    def send(self, number: Signals) -> None:
        self.process.send_signal(number)

    async def code(self) -> int:
        await asyncio.wait_for(asyncio.shield(self._out), 30)
        assert self.process.returncode is not None
        return self.process.returncode

    async def out(self) -> str:
        return (await asyncio.shield(self._out))[0].decode(errors="replace")

    async def err(self) -> str:
        return (await asyncio.shield(self._out))[1].decode(errors="replace")

    async def ended(self) -> Finished:
        """What the host was told, once the process has ended."""
        await self.code()
        assert self.host.effects.finished is not None, await self.err()
        return self.host.effects.finished

    async def until_caught(self, number: Signals) -> None:
        """Wait until the process has a handler for this signal."""
        async with asyncio.timeout(20):
            while not _caught(self.process.pid) >> (number - 1) & 1:
                await asyncio.sleep(0.005)

    async def until_file(self, name: str) -> None:
        """Wait for a file that the author's code makes in its output folder."""
        async with asyncio.timeout(20):
            while not (self.root / "outputs" / name).exists():
                assert self.process.returncode is None, await self.err()
                await asyncio.sleep(0.005)


def hello(**changed: object) -> dict[str, Any]:
    return {
        "kind": "function",
        "job": {"id": JOB, "attempt": 1, "function": "work", "chute": "mine", "parent": None},
        "entry": {"file": "main.py", "chute": "chute"},
        "payload": {},
        "output_dir": "/outputs",
        "ports": [],
        "grace": 30,
        "stopping": False,
    } | changed


@asynccontextmanager
async def launched(
    code: str,
    *,
    python: str = PYTHON,
    files: dict[str, str] | None = None,
    log: int = asyncio.subprocess.PIPE,
    **said: object,
) -> AsyncIterator[Launched]:
    """`code` comes behind HEAD, in main.py; `said` is what hello says otherwise; `log` is where the output goes."""
    async with prepared(code, files or {}, **said) as (root, host):
        await host.start()
        job = await launch(root, host, python, log)
        try:
            yield job
        finally:
            await end(job)


def cords(concurrency: int = 2, **changed: object) -> dict[str, Any]:
    """What hello says to the host job of a chute's cords."""
    job = {"id": JOB, "attempt": 1, "function": None, "chute": "mine", "parent": None}
    return {"kind": "cords", "job": job, "payload": None, "concurrency": concurrency} | changed


@asynccontextmanager
async def prepared(code: str, files: dict[str, str], **said: object) -> AsyncIterator[tuple[Path, JobSocket]]:
    # A socket's path is short, and pytest's own folders are not.
    root = Path(tempfile.mkdtemp(prefix="job-"))
    for folder in ("chute", "job", "outputs"):
        (root / folder).mkdir()
    (root / "sdk").symlink_to(SDK)
    for name, text in {"main.py": HEAD + dedent(code)}.items() | files.items():
        file = root / "chute" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(text))
    host = JobSocket(root / "job" / "agent.sock", hello(**{"output_dir": str(root / "outputs")} | said))
    try:
        yield root, host
    finally:
        await host.die()
        shutil.rmtree(root)


async def launch(
    root: Path, host: JobSocket, python: str = PYTHON, log: int = asyncio.subprocess.PIPE, **env: str
) -> Launched:
    process = await asyncio.create_subprocess_exec(
        python,
        str(root / "sdk" / "chutes_launch.py"),
        cwd=root / "chute",
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    return Launched(process, host, root)


async def end(job: Launched) -> None:
    # Of a session of its own: what the author's code forked goes with it.
    with suppress(ProcessLookupError):
        os.killpg(job.process.pid, SIGKILL)
    await job.err()


def _caught(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("SigCgt:")[2].split()[0], 16)


def parsed(line: str) -> dict[str, str]:
    """A structured line of the log, as any logfmt reader sees it."""
    fields = {}
    rest = line
    while rest:
        name, _, rest = rest.partition("=")
        if rest.startswith('"'):
            value, used = json.JSONDecoder().raw_decode(rest)
            rest = rest[used + 1 :]
        else:
            value, _, rest = rest.partition(" ")
        fields[name] = value
    return fields
