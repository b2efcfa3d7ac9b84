"""bench/gpu_idle — what it costs to watch eight GPUs that nobody uses: the daemon and its child, against a daemon on a host without any."""

import asyncio
import tempfile
from pathlib import Path

from bench.figures import Figure, at_most
from bench.host import Agent, Bench, run_alone, until
from bench.processes import children, cpu_seconds, resident_megabytes
from tests.e2e.gpu_host import gpu_host
from tests.nvml_standin.library import environ_without
from tests.nvml_standin.profiles import hgx_h100

MOST_PERCENT_OF_A_CORE = 0.2
MOST_CHILD_MEGABYTES = 30.0
# Eight GPUs that are well are looked at each minute.
SECONDS = 240
SETTLE_SECONDS = 10
FIRST_LOOK_SECONDS = 30.0


async def measure(bench: Bench) -> list[Figure]:
    folder = Path(tempfile.mkdtemp(dir=bench.folder))
    seconds = bench.size(SECONDS, 60)
    without = environ_without(Path(tempfile.mkdtemp(dir=bench.folder)))
    with gpu_host(bench.engine, folder, hgx_h100()) as standin:
        async with (
            bench.agent(environment=without) as none,
            bench.agent(environment=standin.environ) as eight,
        ):
            await until(lambda: _are_well(eight), FIRST_LOOK_SECONDS)
            (child,) = children(eight.pid)
            await asyncio.sleep(SETTLE_SECONDS)
            pids = {"without GPUs": none.pid, "with eight": eight.pid, "its child": child}
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            await asyncio.sleep(seconds)
            percent = {name: (cpu_seconds(pid) - before[name]) / seconds * 100 for name, pid in pids.items()}
            assert children(eight.pid) == [child], "another child would have to be counted too"
            megabytes = resident_megabytes(child)
    print(f"  {', '.join(f'{name} {share:.3f} %' for name, share in percent.items())} of a core")
    watching = percent["with eight"] + percent["its child"] - percent["without GPUs"]
    return [
        at_most(
            "gpu_idle",
            f"watching 8 idle GPUs: CPU of daemon and child over {seconds} s",
            watching,
            MOST_PERCENT_OF_A_CORE,
            "{:.2f} % of a core",
        ),
        at_most(
            "gpu_idle",
            "watching 8 idle GPUs: memory of the child",
            megabytes,
            MOST_CHILD_MEGABYTES,
            "{:.0f} MB",
        ),
    ]


def _are_well(agent: Agent) -> bool:
    gpus = agent.daemon.local.call("GET", "/v1/gpus").json["items"]
    return [gpu["state"] for gpu in gpus] == ["ok"] * 8


if __name__ == "__main__":
    run_alone(measure)
