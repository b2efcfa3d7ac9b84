"""bench/function_start — how much later a function begins than a plain script would, for the launcher alone. Starts no container."""

import asyncio
import os
import shutil
import sys
import time
from statistics import median

from bench.figures import Figure, at_most, describe
from bench.host import Bench, run_alone
from tests.shell.launched import SDK, launch, prepared

STARTS = 40
# Of the 250 ms that a function may begin later than a plain container's first line.
MOST_MS = 150.0

FUNCTION = """
@chute.job()
async def work(self):
    os.write(1, b"%f" % time.time())
"""
SCRIPT = "import os, time; os.write(1, b'%f' % time.time())"


async def measure(bench: Bench) -> list[Figure]:
    """Raw, ours, raw, ours: whatever else the host does hits both. No compiled file is found, as in a container."""
    raw, ours = [], []
    for _ in range(bench.size(STARTS, least=3)):
        raw.append(await _start_script())
        ours.append(await _start_function())
    print(f"  python3: {describe(raw, 'ms', 1e3)}; a function: {describe(ours, 'ms', 1e3)}")
    later = 1e3 * (median(ours) - median(raw))
    name = (
        f"first line of a function after that of a plain script, median of {len(ours)}: the launcher's part"
    )
    return [at_most("function_start", name, later, MOST_MS, "{:.0f} ms")]


async def _start_script() -> float:
    began = time.time()
    script = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, stdout=asyncio.subprocess.PIPE, env={"PATH": os.environ["PATH"]}
    )
    return float((await script.communicate())[0]) - began


async def _start_function() -> float:
    async with prepared(FUNCTION, {}) as (root, host):
        (root / "sdk").unlink()
        shutil.copytree(SDK, root / "sdk", ignore=shutil.ignore_patterns("__pycache__"))
        await host.start()
        began = time.time()
        job = await launch(root, host)
        return float(await job.out()) - began


if __name__ == "__main__":
    run_alone(measure)
