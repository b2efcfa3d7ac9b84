"""core/kernel_log — one record of the kernel's log, read for the XID in it and for the moment it came at. Pure: opens no log, knows no GPU.

The driver writes `NVRM: Xid (PCI:0000:3b:00): 79, pid=..., name=..., words`, with ` GPU-I:05 GPU-CI:02` behind the address in MIG
mode; old drivers leave out `PCI:` or what comes after the number. What follows the number is anybody's: the name is the
program's own. So a record counts only where it *begins* so, and where it is the kernel's own: what a program writes into the
log has another facility, which the kernel sees to (Documentation/ABI/testing/dev-kmsg).
"""

import re
from dataclasses import dataclass

# Domain, bus, device. The domain is wider than four digits behind some bridges, and eight wide as NVML writes it.
Address = tuple[int, int, int]

# More than the kernel's clock is ahead of the others by what passes in a boot before those begin.
MARGIN_SECONDS = 10.0

_ADDRESS = r"([0-9a-fA-F]{1,8}):([0-9a-fA-F]{1,2}):([0-9a-fA-F]{1,2})(?:\.[0-7])?"
_ATTRIBUTES = r"(?: [A-Z-]{1,16}:[0-9a-fA-F]{1,8}){0,4}"
_PCI = re.compile(_ADDRESS)
_XID = re.compile(
    r"(?P<priority>[0-9]{1,10}),(?P<record>[0-9]{1,19}),(?P<micros>[0-9]{1,19}),[^;\n]{0,64};"
    rf"NVRM: Xid \((?:PCI:)?{_ADDRESS}{_ATTRIBUTES}\): (?P<xid>[1-9][0-9]{{0,3}})(?![0-9A-Za-z])".encode()
)
# Most records are no XIDs, and this tells so at a tenth of the cost.
_MARK = b"NVRM: Xid ("


@dataclass(frozen=True, slots=True)
class XidLine:
    """`record` is the number that the kernel gave the record in this boot, `micros` its clock then."""

    address: Address
    xid: int
    record: int
    micros: int


@dataclass(frozen=True, slots=True)
class LoggedXid:
    """`at`: seconds on CLOCK_BOOTTIME, the earliest that it can have come at."""

    address: Address
    xid: int
    record: int
    at: float


@dataclass(frozen=True, slots=True)
class KernelClocks:
    """One moment on CLOCK_BOOTTIME, CLOCK_MONOTONIC and CLOCK_MONOTONIC_RAW, in seconds."""

    boot: float
    monotonic: float
    raw: float


def read_xid_line(record: bytes) -> XidLine | None:
    """The XID of one record, as a read of /dev/kmsg gives it. None: it has none, or is not the kernel's own."""
    match = _XID.match(record) if _MARK in record else None
    if match is None or int(match["priority"]) >> 3:
        return None
    address = int(match[4], 16), int(match[5], 16), int(match[6], 16)
    return XidLine(address, int(match["xid"]), int(match["record"]), int(match["micros"]))


def read_address(pci: str) -> Address | None:
    """What NVML and sysfs write: `00000000:3B:00.0`, `0000:3b:00.0`."""
    match = _PCI.fullmatch(pci)
    return None if match is None else (int(match[1], 16), int(match[2], 16), int(match[3], 16))


def earliest_at(micros: int, now: KernelClocks) -> float:
    """The earliest moment on CLOCK_BOOTTIME at which a record can have been written, for one that was not read at once.

    Its stamp is of a clock that no program can read. Where the CPU's counter is trusted it runs as CLOCK_MONOTONIC_RAW does,
    else as CLOCK_MONOTONIC, and the two part by some 20 ms in 1000 s: the one that makes the record older is taken. It stands
    still while the host sleeps, and it is not said when that was: all of it counts. Who errs so may leave out a job that was
    hit within that time of its start, and never stops one for what came before it.
    """
    slept = max(0.0, now.boot - now.monotonic)
    return now.boot - (max(now.monotonic, now.raw) - micros / 1e6) - slept - MARGIN_SECONDS
