"""bench/lagging_agent — the agent as it is, that tells each second how late its event loop was. Only for bench/function_calls."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from agent.aio import beside
from agent.cli.serving import main
from agent.jobs.functions import Functions
from bench.lag import Lag

LATE_FILE = "BENCH_LATE"

Keep = Callable[[Functions], Coroutine[Any, Any, None]]


def watched(keep: Keep, file: Path) -> Keep:
    async def keep_beside_lag(functions: Functions) -> None:
        lag = Lag()
        async with beside(lag.watch(), "lag"), beside(tell(lag, file), "lag told"):
            await keep(functions)

    return keep_beside_lag


async def tell(lag: Lag, file: Path) -> None:
    """A line of seconds for each tick."""
    while True:
        await asyncio.sleep(1)
        late, lag.late = lag.late, []
        with file.open("a") as opened:
            opened.writelines(f"{seconds:.6f}\n" for seconds in late)


if __name__ == "__main__":
    Functions.keep = watched(Functions.keep, Path(os.environ[LATE_FILE]))  # type: ignore[method-assign]
    # As `gpu-agent serve --config FILE`, which would become another process, without what was set here.
    sys.exit(main(("json", sys.argv[-1])))
