"""jobs/uploads/trying — the top of an upload's task: what goes wrong on this host is put off, and ends neither the daemon nor others."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from agent.errors import AgentError

log = structlog.get_logger()

# After the state folder failed; and after a mistake of ours in one job's upload.
RETRY_SECONDS, BROKEN_SECONDS = 5.0, 60.0


async def until_done(act: Callable[[], Awaitable[None]]) -> None:
    """`act` until it returns; however often it raises, alone or in groups, it is called again after a while."""
    pause: float | None = 0.0
    while pause is not None:
        await asyncio.sleep(pause)
        pause = await _try(act)


async def _try(act: Callable[[], Awaitable[None]]) -> float | None:
    pause = None
    try:
        await act()
    except* AgentError as errors:
        for error in errors.exceptions:
            log.warning("upload.put_off", error=str(error))
        pause = RETRY_SECONDS
    except* Exception:
        log.exception("upload.broke")
        pause = BROKEN_SECONDS
    task = asyncio.current_task()
    if task is not None and task.cancelling():  # an error of one file's task beside it must not hide that
        raise asyncio.CancelledError
    return pause
