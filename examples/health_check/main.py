"""A health check that comes every five minutes by itself: how much is free, as metrics, and one line that begins with ALERT for what is short.

gpu-agent chute run examples/health_check/main.py:health_check --local

On a host (`gpu-agent chute deploy examples/health_check/main.py --image python:3.12-slim`) it needs no more; to look at it, or not to wait for it:

gpu-agent schedule ls
gpu-agent schedule run health-check/health_check
gpu-agent chute run health-check/health_check --payload '{"least_free": 101}'
"""

import os
import shutil
from pathlib import Path

from chutes.chute import Chute

chute = Chute(username="examples", name="health-check", image="python:3.12-slim")

MEMORY = Path("/proc/meminfo")


@chute.job(name="health_check", schedule="*/5 * * * *", timeout=60)
async def health_check(self: Chute, least_free: float = 10) -> dict:
    """How much of the disk, its inodes and the memory is free, in percent; less than `least_free` is an alert."""
    alerts = []
    for name, look in LOOKS.items():
        try:
            free = look(self.output_dir)
        except (OSError, KeyError, ValueError) as unreadable:
            # That alone is worth an alert, and the other looks are worth having all the same.
            alerts.append(f"{name}: can't be read: {unreadable}")
            continue
        await self.record_metric(f"{name}_free", free)
        if free < least_free:
            alerts.append(f"{name}: {free:.1f} % is free, and {least_free} % has to be")
    for alert in alerts:
        self.logger.error("ALERT %s", alert)
    await self.record_metric("alerts", len(alerts))
    return {"is_healthy": not alerts, "alerts": alerts}


def disk(folder: str) -> float:
    usage = shutil.disk_usage(folder)
    return 100 * usage.free / usage.total


def inodes(folder: str) -> float:
    usage = os.statvfs(folder)
    # Some file systems make them as they are needed, and count none.
    return 100 * usage.f_favail / usage.f_files if usage.f_files else 100.0


def memory(_: str) -> float:
    lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
    available, total = (int(lines[name].split()[0]) for name in ("MemAvailable", "MemTotal"))
    return 100 * available / total


LOOKS = {"disk": disk, "inodes": inodes, "memory": memory}
