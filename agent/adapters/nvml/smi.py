"""adapters/nvml/smi — a GPU reset by the driver's own `nvidia-smi`, since NVML has no call for it. Decides not which, nor when.

A reset wants the GPU for itself: no process of ours may have it open meanwhile, and persistence mode, which is the driver's own
hold on it, is off while it lasts.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import structlog

from agent.adapters.nvml.tool import Ended, ToolHangsError, kill_group, run_tool
from agent.errors import AgentError, Blame

_log = structlog.get_logger()

COMMAND = "nvidia-smi"
RESET_SECONDS = 120.0
_QUESTION_SECONDS = 15.0
_POLL_SECONDS = 0.2
_MOST_NOTED_BYTES = 4096

_REBOOT = "reboot the host"
_NO_PERMISSION = "the agent must be root with CAP_SYS_ADMIN, as its unit file has it"
# By nvidia-smi's exit code, then by what it says, the first that is said; its words differ from driver to driver.
_ADVICE_BY_CODE = {4: _NO_PERMISSION}
_ADVICE_BY_WORDS = (
    ("in use by", "`fuser -v /dev/nvidia*` names what has it open (DCGM, a display server); end that and ask again"),
    ("permission", _NO_PERMISSION),
    ("nvlink", f"those that NVLink ties to it must be reset with it, which the agent does not: {_REBOOT}"),
    ("not supported", f"its driver can't reset it: {_REBOOT}"),
)  # fmt: skip


class ResetFailedError(AgentError):
    """A GPU was not reset, or not known to be: it stays quarantined until it is, or until the host was rebooted."""

    code, blame = "reset_failed", Blame.HOST
    remedy = "`gpu-agent gpus show GPU` has the driver's words, and what to do about them."


class Smi:
    """`lock` is a file in a folder that a boot empties; `set_aside` keeps our own processes off the GPUs while its block runs."""

    def __init__(
        self,
        set_aside: Callable[[], AbstractAsyncContextManager[None]],
        lock: Path,
        seconds: float = RESET_SECONDS,
        end: Callable[[int], None] = kill_group,
    ) -> None:
        self._set_aside, self._lock = set_aside, lock
        self._seconds, self._end = seconds, end

    async def reset(self, gpu: str) -> None:
        """`gpu`: its PCI address, or its UUID, by which a sick one may not be found. Raises ResetFailedError, NvmlStuckError."""
        try:
            async with self._locked() as lock, self._set_aside():
                ended = await self._reset(gpu, lock)
        except OSError as error:
            raise ResetFailedError(f"the file {self._lock} can't be used: {error}") from error
        if ended.code != 0:
            said = ended.words or "nothing"
            raise ResetFailedError(f"{COMMAND} ended with {ended.code} and said: {said}; {_advise(ended)}")

    async def _reset(self, gpu: str, lock: int) -> Ended:
        await self._leave_persistence(gpu, lock)
        try:
            ended = await self._run(self._seconds, lock, "--gpu-reset", "-i", gpu)
        except ResetFailedError:
            with suppress(ResetFailedError):  # it is noted, and the first is told
                await self._restore_persistence(gpu, lock)
            raise
        await self._restore_persistence(gpu, lock)
        return ended

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[int]:
        """The lock is the tool's too: one that outlives the daemon which started it keeps the next daemon's from its GPU."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ResetFailedError(f"the lock of resets can't be opened: {error}") from error
        try:
            await self._take(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    async def _take(self, descriptor: int) -> None:
        until = asyncio.get_running_loop().time() + self._seconds
        while not _is_taken(descriptor):
            if asyncio.get_running_loop().time() >= until:
                raise ResetFailedError(f"an earlier reset has no end: it hangs in the driver, {_REBOOT}")
            await asyncio.sleep(_POLL_SECONDS)

    async def _leave_persistence(self, gpu: str, lock: int) -> None:
        """That it was on is noted before it is off: whoever goes on after a crash turns it on again."""
        query = "--query-gpu=persistence_mode", "--format=csv,noheader"
        if (await self._run(_QUESTION_SECONDS, lock, *query, "-i", gpu)).words == "Enabled":
            _note(lock, _noted(lock) | {gpu})
            await self._run(_QUESTION_SECONDS, lock, "--persistence-mode=0", "-i", gpu)

    async def _restore_persistence(self, gpu: str, lock: int) -> None:
        noted = _noted(lock)
        if gpu not in noted:
            return
        ended = await self._run(_QUESTION_SECONDS, lock, "--persistence-mode=1", "-i", gpu)
        if ended.code != 0:
            _log.warning("gpu.persistence_not_restored", gpu=gpu, words=ended.words)
        _note(lock, noted - {gpu})

    async def _run(self, seconds: float, lock: int, *arguments: str) -> Ended:
        try:
            return await run_tool((COMMAND, *arguments), seconds, lock, self._end)
        except FileNotFoundError as error:
            why = f"{COMMAND} is not on the agent's PATH: install the driver's tools on the host"
            raise ResetFailedError(why) from error
        except OSError as error:
            raise ResetFailedError(f"{COMMAND} can't be started: {error}") from error
        except ToolHangsError as error:
            left = "was killed" if error.is_gone else "can't be killed, since the driver holds it"
            raise ResetFailedError(f"{COMMAND} had {error} and {left}: {_REBOOT}") from error


def _advise(ended: Ended) -> str:
    said = ended.words.lower()
    by_words = next((advice for words, advice in _ADVICE_BY_WORDS if words in said), _REBOOT)
    return _ADVICE_BY_CODE.get(ended.code, by_words)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _noted(lock: int) -> set[str]:
    """The GPUs whose persistence mode is to be turned on again."""
    return set(os.pread(lock, _MOST_NOTED_BYTES, 0).decode(errors="replace").split())


def _note(lock: int, gpus: set[str]) -> None:
    """One write of whole lines; the rest, if it was longer, is cut off after it."""
    text = "".join(f"{gpu}\n" for gpu in sorted(gpus)).encode()
    os.pwrite(lock, text, 0)
    os.ftruncate(lock, len(text))
