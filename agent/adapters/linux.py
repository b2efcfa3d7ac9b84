"""adapters/linux — facts of this host that its kernel and /etc tell: clocks, DNS servers, ephemeral ports. Changes nothing but this process."""

import ctypes
import os
import re
import resource
import time
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from agent.core.bridge import HostIpv6
from agent.core.ports import EphemeralPorts, PortRange

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RESOLV_CONF = Path("/etc/resolv.conf")
_IPV6, _IPV6_ROUTES = Path("/proc/sys/net/ipv6/conf"), Path("/proc/net/ipv6_route")
# linux/ipv6_route.h: the kernel has it from a router's advertisement.
_RTF_ADDRCONF = 0x40000
_IPV4 = Path("/proc/sys/net/ipv4")
_PROC = Path("/proc")
_MOUNTS = Path("/proc/self/mountinfo")
_OCTAL = re.compile(r"\\([0-7]{3})")
_NODES = Path("/sys/devices/system/node")
_NO_MEMORY = re.compile(r"MemTotal:\s+0 kB")
_DEVICES, _NVIDIA_DRIVER = Path("/dev"), Path("/proc/driver/nvidia/version")
# malloc.h of glibc
_M_ARENA_MAX = -8


class SystemClock:
    """The real clocks. CLOCK_BOOTTIME goes on through suspend and takes no steps (man clock_gettime)."""

    def __init__(self) -> None:
        self.boot_id = _BOOT_ID.read_text("ascii").strip()

    def now(self) -> float:
        return time.time()

    def boot_seconds(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def share_one_heap() -> None:
    """All threads take their memory from one heap, from now on: each of one's own would keep what a block of a file took.

    Eight large files on their way cost 19 MiB so, 36 without, and a fifth less CPU time: memory that was used a moment ago is
    used again. Where the C library is not glibc it is nothing.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, 1)


def read_dns_servers(path: Path = _RESOLV_CONF) -> tuple[str, ...]:
    """The host's DNS servers that a container can reach: those on loopback are the host's alone. Missing file: none."""
    try:
        lines = path.read_text("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return ()
    fields = [line.split() for line in lines]
    named = [words[1] for words in fields if len(words) > 1 and words[0] == "nameserver"]
    return tuple(server for server in named if _is_reachable(server))


def _is_reachable(server: str) -> bool:
    try:
        address = ip_address(server)
    except ValueError:
        return False  # with a zone (fe80::1%eth0): it means nothing inside a container
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


def read_ephemeral_ports(settings: Path = _IPV4) -> EphemeralPorts:
    """What the kernel gives to outgoing connections (man 7 ip); the files of IPv4 hold for IPv6, too."""
    first, last = (settings / "ip_local_port_range").read_text("ascii").split()
    reserved = (settings / "ip_local_reserved_ports").read_text("ascii").strip()
    spans = [span.partition("-") for span in reserved.split(",") if span]
    return EphemeralPorts(
        PortRange(int(first), int(last)),
        tuple(PortRange(int(begin), int(end or begin)) for begin, _, end in spans),
    )


def read_forwarding(settings: Path = _IPV4) -> bool:
    """Whether the kernel passes on packets of IPv4 that are not for this host: the engine turns it on."""
    return (settings / "ip_forward").read_text("ascii").strip() == "1"


def read_ipv6(settings: Path = _IPV6, routes: Path = _IPV6_ROUTES) -> HostIpv6:
    """Whether this host has IPv6. Without the kernel's part for it there are no such files."""
    try:
        off = [(settings / scope / "disable_ipv6").read_text("ascii").strip() for scope in ("all", "default")]
        forwards = (settings / "all" / "forwarding").read_text("ascii").strip() != "0"
        lines = [line.split() for line in routes.read_text("ascii").splitlines()]
    except FileNotFoundError:
        return HostIpv6(is_on=False, forwards=False, learners=())
    learned = {
        line[9]
        for line in lines
        if set(line[0]) == {"0"} and line[1] == "00" and int(line[8], 16) & _RTF_ADDRCONF
    }
    # 1: advertisements count, unless the host forwards. 2: they count all the same. 0: who learned it was not the kernel.
    learners = [name for name in sorted(learned) if _read_or_none(settings / name / "accept_ra") == "1"]
    return HostIpv6(off == ["0", "0"], forwards, tuple(learners))


def _read_or_none(path: Path) -> str | None:
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:  # the interface is gone
        return None


def read_node_cpus(nodes: Path = _NODES) -> Mapping[int, str]:
    """The CPUs of each NUMA node that has both CPUs and memory, in the kernel's notation (`0-3,8`). A kernel without NUMA: none."""
    cpus: dict[int, str] = {}
    for folder in nodes.glob("node[0-9]*"):
        try:
            listed = (folder / "cpulist").read_text("ascii").strip()
            memory = (folder / "meminfo").read_text("ascii")
        except OSError:
            continue
        # The engine refuses to pin to a node that lacks one of the two (a GPU's own memory may be a node).
        if listed and not _NO_MEMORY.search(memory):
            cpus[int(folder.name.removeprefix("node"))] = listed
    return cpus


def read_fs_type(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The file system that the path lies on, or would lie on, as `tmpfs`. None: it is in none that we see."""
    place, found, kind = path.resolve(), "", None
    for line in mounts.read_text("utf-8", "surrogateescape").splitlines():
        # proc_pid_mountinfo(5): the mount point is the fifth field, the type the first behind the dash.
        fields, _, behind = line.partition(" - ")
        point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), fields.split()[4])
        if len(point) >= len(found) and place.is_relative_to(point):  # of one place the latest counts
            found, kind = point, behind.split()[0]
    return kind


def has_nvidia_gpus(devices: Path = _DEVICES, driver: Path = _NVIDIA_DRIVER) -> bool:
    """Whether this host has NVIDIA's driver or device nodes: with it, well or not, it is no CPU-only host."""
    return driver.exists() or any(devices.glob("nvidia[0-9]*"))


def read_cpus() -> int | None:
    return os.cpu_count()


def read_memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def most_open_files() -> int:
    """Our own hard limit on open files. It stands for the engine's, which no call tells: on a host where nobody may raise it
    (a container without CAP_SYS_RESOURCE) the engine can't give a job more either, and refuses to start it.
    """
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def read_holders(device: str, proc: Path = _PROC) -> tuple[str, ...]:
    """The processes in whose mount namespaces the device is mounted, one of each namespace, as `number (name)`."""
    found: dict[str, str] = {}
    for folder in sorted(proc.glob("[0-9]*"), key=lambda entry: int(entry.name)):
        with suppress(OSError):  # it has ended meanwhile
            if f" {device} " in (folder / "mountinfo").read_text("utf-8", "replace"):
                namespace = str((folder / "ns" / "mnt").readlink())
                name = (folder / "comm").read_text("utf-8", "replace").strip()
                found.setdefault(namespace, f"{folder.name} ({name})")
    return tuple(found.values())
