"""loops — whether this machine can make loop devices, and which of them an agent has. Needs root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.adapters.folders.loops import Loop, loops_of

CAN_MAKE_LOOPS = os.access("/dev/loop-control", os.R_OK | os.W_OK)
# Who runs the tests alone on such a machine is told; where a machine runs them for everybody, they fail instead.
needs_loops = pytest.mark.skipif(
    not CAN_MAKE_LOOPS and "CI" not in os.environ, reason="this machine can make no loop devices"
)


def loops_of_state(folder: Path) -> list[Loop]:
    """Of the agent whose state folder this is."""
    return loops_of((folder / "agent-id").read_text().strip())


@contextmanager
def mounted(device: str, target: Path) -> Iterator[Path]:
    """As an engine mounts it, in the namespace of the host."""
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "ext4", "-o", "nosuid,nodev", device, str(target)], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)
