"""bench/processes — what a process has used, from /proc (man 5 proc_pid_stat). Starts none."""

import os
from pathlib import Path

KERNEL_STACK_KILOBYTES = 16  # of each thread, on x86-64 and on arm64
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of all its threads. Those of children that it has waited for don't count."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_megabytes(pid: int) -> float:
    """Millions of bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")) / 1e6


def children(pid: int) -> list[int]:
    """Of whichever of its threads."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for listed in lists for child in listed.read_text().split()]


def descendants(pid: int) -> list[int]:
    """With itself. One that ends meanwhile is left out."""
    try:
        return [pid, *(one for child in children(pid) for one in descendants(child))]
    except OSError:
        return []


def held_megabytes(pid: int) -> float:
    """Its share of each page that it has (a page of two processes counts half for each), page tables, kernel stacks. 0 if it has ended."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    threads = _number(status, "Threads")
    kilobytes = _number(rollup, "Pss") + _number(status, "VmPTE") + threads * KERNEL_STACK_KILOBYTES
    return kilobytes * 1024 / 1e6


def _number(text: str, name: str) -> int:
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name}:")), 0)
