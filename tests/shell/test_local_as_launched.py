"""LocalRunner and the launcher on the same files: what an author sees in a test is what a host is told."""

import json
import sys
from typing import Any

import pytest

from chutes._loading import load
from chutes.testing import LocalRunner
from tests.shell.launched import launched

PLAIN = "@chute.job()\ndef work(self):\n    {}\n"
ASYNC = "@chute.job()\nasync def work(self):\n    {}\n"
HOOK = "@chute.on_startup()\ndef start(self):\n    {}\n@chute.job()\ndef work(self):\n    return 1\n"
LINES = (
    "return {'pair': (1, 2), 3: None}",
    "return float('nan')",
    "return b'bytes'",
    "return {'a set'}",
    "return '\\ud800'",
    "return 'x' * (8 << 20)",
    "raise ValueError('no \\ud800')",
    "raise PermanentError('never')",
    "raise HTTPException(404, {'what': 'job'})",
    "raise type('Odd', (BaseException,), {})('odd')",
    "raise asyncio.CancelledError('by itself')",
    "sys.exit(3)",
    "sys.exit('a text')",
    "sys.exit(256)",
    "sys.exit()",
)
# In a coroutine these are a person's at the terminal, the interpreter's, and a coroutine that nobody awaits.
PLAIN_LINES = ("raise KeyboardInterrupt", "raise StopIteration('over')", "return asyncio.sleep(0, 'later')")
CODES = [
    *(PLAIN.format(line) for line in LINES + PLAIN_LINES),
    *(ASYNC.format(line) for line in LINES),
    *(HOOK.format(line) for line in ("raise OSError('no model')", "raise PermanentError('never')", "sys.exit(3)", "self.model = 1")),
    "@chute.job()\ndef work(self, needed, output_dir): ...\n",
    "@chute.job()\nasync def work(self, **job_data):\n    return sorted(job_data)\n",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("code", CODES)
async def test_a_test_sees_what_the_host_is_told(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with launched(code) as job:
        told = await job.ended()
        monkeypatch.setattr(sys, "path", [*sys.path])
        chute = load(str(job.root / "chute" / "main.py"))
        result = await LocalRunner(chute, output_dir=job.root / "outputs").run_async("work", {})
    assert (result.outcome, result.note) == (told.status, told.note)
    assert result.value == (json.loads(told.result) if told.result else None)
    assert facts(result.error and vars(result.error)) == facts(told.error)
    assert (result.error.exit_code if result.error else 0) == await job.code()


def facts(error: dict[str, Any] | None) -> dict[str, Any] | None:
    names = ("kind", "type", "message", "traceback", "status_code", "detail")
    return None if error is None else {name: error[name] for name in names}
