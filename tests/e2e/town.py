"""town — a daemon's jobs as seen from within their networks: who is where, and what stands between. Asserts nothing."""

import contextlib
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from tests import private_engine
from tests.e2e.client import Json, expect
from tests.e2e.daemon import Daemon
from tests.e2e.network import Net
from tests.e2e.wan import net_of, run
from tests.private_engine import PrivateEngine


def make(host: PrivateEngine, folder: Path, settings: Json) -> Daemon:
    return Daemon(folder, host, private_engine.BUSYBOX_TAG, settings)


@dataclass(frozen=True)
class Inside:
    """One job, and its network."""

    id: str
    net: Net
    addresses: tuple[str, ...]
    host_ports: tuple[int, ...]


@dataclass(frozen=True)
class Town:
    daemon: Daemon
    attacker: Inside
    sibling: Inside
    gateways: tuple[str, ...]

    @property
    def host(self) -> Net:
        return self.daemon.net


def begin(daemon: Daemon, ports: list[Json]) -> Inside:
    job_id = daemon.local.submit("sleep 600", network="egress", ports=ports)
    job = daemon.local.wait_phase(job_id, "running")
    return look_inside(daemon, job)


def look_inside(daemon: Daemon, job: Json) -> Inside:
    (container,) = daemon.containers(job["id"])
    facts = json.loads(daemon.engine.request("GET", f"/containers/{container['Id']}/json")[1])
    (network,) = facts["NetworkSettings"]["Networks"].values()
    addresses = [network["IPAddress"], network["GlobalIPv6Address"]]
    ports = tuple(port["host_port"] for port in job["ports"])
    net = net_of(facts["State"]["Pid"])
    # The kernel makes sure first that nobody else has the address, and lets nobody use it meanwhile.
    expect(lambda: not net.inside(has_tentative_address), "the job's IPv6 addresses may be used")
    return Inside(job["id"], net, tuple(filter(None, addresses)), ports)


def has_tentative_address() -> bool:
    lines = Path("/proc/thread-self/net/if_inet6").read_text().splitlines()
    return any(int(line.split()[4], 16) & 0x40 for line in lines)  # IFA_F_TENTATIVE


def gateways_of(daemon: Daemon) -> tuple[str, ...]:
    facts = json.loads(daemon.engine.request("GET", f"/networks/{daemon.bridge}")[1])
    subnets = [config["Subnet"] for config in facts["IPAM"]["Config"]]
    return tuple(str(next(ip_interface(subnet).network.hosts())) for subnet in sorted(subnets))  # IPv4 first


def at(addresses: tuple[str, ...], *ports: int) -> list[tuple[str, int]]:
    return [(address, port) for address in addresses for port in ports]


def link_local_of(net: Net, interface: str) -> str:
    """`…%eth0`, as one on the link writes it."""

    def read() -> str:
        # This thread's own network, not the process's.
        for line in Path("/proc/thread-self/net/if_inet6").read_text().splitlines():
            digits, *_, name = line.split()
            if name == interface and digits.startswith("fe80"):
                return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)) + "%eth0"
        raise AssertionError(f"{interface} has no link-local address")

    return net.inside(read)


@contextlib.contextmanager
def nobody_else_refuses(host: PrivateEngine) -> Iterator[None]:
    """The engine has rules of its own, some of which refuse what ours do. They are passed over, so that ours alone are seen."""
    for tool in ("iptables", "ip6tables"):
        run(*host.prefix, tool, "-I", "FORWARD", "-j", "ACCEPT")
    yield
    for tool in ("iptables", "ip6tables"):
        run(*host.prefix, tool, "-D", "FORWARD", "-j", "ACCEPT")
