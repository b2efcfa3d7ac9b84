"""bench/gateless — the agent as it is, but with a gate that passes unseen while a file says so. Only to tell what the gate costs."""

import os
from collections.abc import Sequence
from pathlib import Path

from agent.cli import main
from agent.jobs.gpu_care import GpuCare

OFF_FILE = "BENCH_GATE_OFF"


def main_with_switch() -> None:
    """A switch in the running daemon, so that both ways are measured side by side."""
    off, gate = Path(os.environ[OFF_FILE]), GpuCare.unclean

    async def unclean(care: GpuCare, uuids: Sequence[str]) -> tuple[str, ...]:
        return () if off.exists() else await gate(care, uuids)  # noqa: ASYNC240 - one look at a local name

    GpuCare.unclean = unclean  # type: ignore[method-assign]
    main()


if __name__ == "__main__":
    main_with_switch()
