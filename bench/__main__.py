"""bench — measures every figure on one private engine, and prints them as a table. `--markdown` is docs/performance.md's."""

import asyncio
import os
import platform
import sys
from datetime import UTC, datetime

from bench import (
    cancel_race,
    cords,
    exit_seen,
    function_calls,
    function_start,
    gpu_choice,
    gpu_idle,
    gpu_lease,
    gpu_packing,
    idle,
    listing,
    logs,
    network,
    proxy,
    recover,
    schedules,
    scrapes,
    ssh,
    submit,
    throughput,
    uploads,
)
from bench.figures import Figure, as_markdown, as_text
from bench.host import Bench, Measure, opened, parser

BENCHES: dict[str, Measure] = {
    "submit": submit.measure,
    "exit_seen": exit_seen.measure,
    "function_start": function_start.measure,
    "function_calls": function_calls.measure,
    "cords": cords.measure,
    "throughput": throughput.measure,
    "logs": logs.measure,
    "idle": idle.measure,
    "recover": recover.measure,
    "listing": listing.measure,
    "cancel_race": cancel_race.measure,
    "gpu_choice": gpu_choice.measure,
    "gpu_packing": gpu_packing.measure,
    "gpu_lease": gpu_lease.measure,
    "gpu_idle": gpu_idle.measure,
    "uploads": uploads.measure,
    "network": network.measure,
    "proxy": proxy.measure,
    "ssh": ssh.measure,
    "schedules": schedules.measure,
    "scrapes": scrapes.measure,
}


async def measure_all(names: list[str], share: float) -> tuple[str, list[Figure]]:
    figures: list[Figure] = []
    async with opened(share) as bench:
        for name in names:
            print(f"{name}:", flush=True)
            figures += await BENCHES[name](bench)
        return await _where(bench), figures


async def _where(bench: Bench) -> str:
    engine = await bench.raw.call("GET", "/version")
    share = "" if bench.share == 1.0 else f", {bench.share} of the full size"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Linux {platform.release()}, Docker {engine['Version']}, "
        f"Python {platform.python_version()}{share}"
    )


def main() -> int:
    arguments = parser()
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}; default: all")
    arguments.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    asked = arguments.parse_args()
    if unknown := set(asked.names) - BENCHES.keys():
        arguments.error(f"no such bench: {', '.join(sorted(unknown))}")
    where, figures = asyncio.run(measure_all(asked.names or list(BENCHES), asked.share))
    table = as_markdown(figures) if asked.markdown else as_text(figures)
    print(f"\n{where}\n\n{table}")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
