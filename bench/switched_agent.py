"""bench/switched_agent — the agent as it is, with a switch for the clean gate, and with its waits for the engine's create and start told.

Only for bench/gpu_lease: the engine's own time is longer, and varies by more, than what a lease may add.
"""

import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agent.adapters.docker.engine import DockerEngine
from agent.cli.serving import main
from agent.jobs.gpu_care import GpuCare

# The gate passes unseen while this file is there; each wait for the engine is a line of seconds in that one.
GATE_OFF_FILE, WAITS_FILE = "BENCH_GATE_OFF", "BENCH_WAITS"

Method = Callable[..., Awaitable[Any]]


def switched(gate: Method, off: Path) -> Method:
    async def unclean(care: GpuCare, uuids: object) -> object:
        return () if off.exists() else await gate(care, uuids)  # noqa: ASYNC240 - one look at a local name

    return unclean


def told(method: Method, waits: Path) -> Method:
    async def timed(*args: object) -> object:
        began = time.perf_counter()
        answer = await method(*args)
        with waits.open("a") as file:
            file.write(f"{time.perf_counter() - began}\n")
        return answer

    return timed


if __name__ == "__main__":
    waits = Path(os.environ[WAITS_FILE])
    GpuCare.unclean = switched(GpuCare.unclean, Path(os.environ[GATE_OFF_FILE]))  # type: ignore[method-assign]
    DockerEngine.create = told(DockerEngine.create, waits)  # type: ignore[method-assign]
    DockerEngine.start = told(DockerEngine.start, waits)  # type: ignore[method-assign]
    # As `gpu-agent serve --config FILE`, which would become another process, without what was set here.
    sys.exit(main(("json", sys.argv[-1])))
