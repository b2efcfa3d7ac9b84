"""A pipe that stands in for /dev/kmsg: what was written is read a record a read, without waiting. What a ring keeps, a test writes again."""

import fcntl
import os
import time
from pathlib import Path

_CAPACITY_BYTES = 1 << 20


class KmsgStandin:
    """Open at both ends, so that a reader sees neither an end nor a writer who leaves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path, 0o600)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        # A pipe of packets (man 2 pipe, O_DIRECT): a read gives one, as /dev/kmsg gives one record.
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, os.O_NONBLOCK | os.O_DIRECT)
        fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, _CAPACITY_BYTES)
        self._ring: list[bytes] = []

    def write(self, text: str, seconds: float | None = None, priority: int = 2) -> None:
        """The next record. `seconds`: what the kernel's clock says then; None: what it says now."""
        micros = int((time.clock_gettime(time.CLOCK_MONOTONIC) if seconds is None else seconds) * 1e6)
        self._ring.append(f"{priority},{len(self._ring)},{micros},-;{text}\n".encode())
        os.write(self._descriptor, self._ring[-1])

    def write_xid(self, pci: str, xid: int, seconds: float | None = None) -> None:
        """`pci` as NVML writes it: `00000000:3B:00.0`."""
        domain, bus, device = pci.lower().removesuffix(".0").split(":")
        text = f"NVRM: Xid (PCI:{domain[-4:]}:{bus}:{device}): {xid}, pid='<unknown>', name=<unknown>, words"
        self.write(text, seconds)

    def write_again(self) -> None:
        """All of it once more, for a reader that opens it anew: a ring still has what was read."""
        for record in self._ring:
            os.write(self._descriptor, record)

    def close(self) -> None:
        os.close(self._descriptor)
