"""wan — the world outside of a private engine's host: a network namespace of its own, joined to the engine's by a wire.

It has public addresses, private ones, and the one of cloud metadata; programs there answer with a banner. Needs root, and an engine
that has a network namespace of its own: in the caller's, its routes would lead the caller's own packets astray.
"""

import contextlib
import socket
import struct
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e.network import Net

PUBLIC4, PUBLIC6 = "9.9.9.9", "2a00:9::9"
OTHER_PUBLIC4 = "11.9.9.9"
METADATA4, METADATA6 = "169.254.169.254", "fd00:ec2::254"
PRIVATE4 = (
    "10.99.0.1",
    "172.30.99.1",
    "192.168.99.1",
    "100.64.99.1",
    "168.63.129.16",
    "198.18.0.1",
    "192.0.0.192",
)
PRIVATE6 = ("fd77::1", "64:ff9b::a63:1", "2001:db8::1", "2002:a63:1::1", METADATA6)
ALLOWED4 = "192.168.77.1"
DNS4 = "10.53.0.1"
# What its DNS server knows. One name leads where a job must not go, as a name of an attacker's own does.
NAMES = {"public.test": PUBLIC4, "rebound.test": PRIVATE4[0], "metadata.test": METADATA4}
HOST4, HOST6 = "11.0.0.1", "2a00:1::1"
SELF4, SELF6 = "11.0.0.2", "2a00:1::2"
OUT_PORT, DNS_PORT = 80, 53
REACH_SECONDS = 1.5
WIRE = "wan0"


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"


class Wan:
    """`host`: the engine's namespace."""

    def __init__(self, host: str) -> None:
        self.name = f"gawan-{uuid.uuid4().hex[:8]}"
        self.net = Net(self.name)
        self._host = host

    def join(self) -> None:
        ours, theirs = ("ip", "-netns", self.name), ("ip", "-netns", self._host)
        run("ip", "netns", "add", self.name)
        run(*ours, "link", "add", WIRE, "type", "veth", "peer", "name", WIRE, "netns", self._host)
        for side, four, six in ((ours, SELF4, SELF6), (theirs, HOST4, HOST6)):
            run(*side, "addr", "add", f"{four}/24", "dev", WIRE)
            run(*side, "addr", "add", f"{six}/64", "dev", WIRE, "nodad")
            run(*side, "link", "set", WIRE, "up")
        run(*ours, "link", "set", "lo", "up")
        for address in (PUBLIC4, OTHER_PUBLIC4, METADATA4, ALLOWED4, DNS4, *PRIVATE4):
            run(*ours, "addr", "add", f"{address}/32", "dev", "lo")
        for address in (PUBLIC6, *PRIVATE6):
            run(*ours, "addr", "add", f"{address}/128", "dev", "lo", "nodad")
        # So that anybody there may ask for an echo; in a container the engine has set it.
        run("ip", "netns", "exec", self._host, "sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        # Whatever the host does not know is out there: what does not arrive was refused, and not lost.
        run(*theirs, "route", "add", "default", "via", SELF4)
        run(*theirs, "-6", "route", "add", "default", "via", SELF6)

    def route_to(self, subnet: str) -> None:
        """As somebody in the host's network can, who wants past the published ports."""
        version = ("-6",) if ":" in subnet else ()
        via = HOST6 if ":" in subnet else HOST4
        run("ip", "-netns", self.name, *version, "route", "replace", subnet, "via", via)

    def leave(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)


def net_of(pid: int) -> Net:
    """The network of a process, with all the power that root has there, and no job."""
    return Net(str(Path("/proc", str(pid), "ns", "net")))


class Banner:
    """Programs on ports of one network, each of which says a word to whoever connects, or sends a packet, and hears what he says."""

    def __init__(
        self,
        net: Net,
        word: str,
        tcp: Iterable[int],
        udp: Iterable[int] = (),
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._word = word.encode()
        self._names = names or {}
        self.heard: list[tuple[bytes, str]] = []
        self._sockets = [net.inside(lambda port=port: _tcp(port)) for port in tcp]
        datagrams = [net.inside(lambda port=port: _udp(port)) for port in udp]
        for listener in self._sockets:
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
        for listener in datagrams:
            threading.Thread(target=self._hear, args=(listener,), daemon=True).start()
        self._sockets += datagrams

    def close(self) -> None:
        for listener in self._sockets:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(self._word)
            peer = connection.getpeername()[0]
            while said := connection.recv(4096):
                self.heard.append((said, peer))
                connection.sendall(said)

    def _hear(self, listener: socket.socket) -> None:
        while True:
            try:
                said, asked_at, _, peer = listener.recvmsg(4096, 256)
            except OSError:
                return
            if not said:
                return
            self.heard.append((said, peer[0].removeprefix("::ffff:")))
            with contextlib.suppress(OSError):
                # From the address that was asked: an answer from another is none to who asked.
                listener.sendmsg([answer_name(said, self._names) or self._word], asked_at, 0, peer)


def answer_name(question: bytes, names: Mapping[str, str]) -> bytes | None:
    """As a DNS server answers that knows these names and their IPv4 addresses. None: it is no question (RFC 1035)."""
    labels, at = [], 12
    while at < len(question) and 0 < question[at] < 64:
        labels.append(question[at + 1 : at + 1 + question[at]].decode(errors="replace"))
        at += 1 + question[at]
    if not labels or question[at : at + 1] != b"\0" or len(question) < at + 5:
        return None
    (kind,) = struct.unpack_from("!H", question, at + 1)
    found = names.get(".".join(labels).lower()) if kind == 1 else None
    head = question[:2] + struct.pack("!HHHHH", 0x8180, 1, 1 if found else 0, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(found) if found else b""
    return head + question[12 : at + 5] + record


def _tcp(port: int) -> socket.socket:
    return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)


def _udp(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    listener.bind(("::", port))
    return listener


@contextlib.contextmanager
def banner(
    net: Net,
    word: str,
    tcp: Iterable[int],
    udp: Iterable[int] = (),
    names: Mapping[str, str] | None = None,
) -> Iterator[Banner]:
    found = Banner(net, word, tcp, udp, names)
    try:
        yield found
    finally:
        found.close()


def reached(net: Net, targets: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """What the programs said, of those that could be connected to. An address may have a zone (fe80::1%eth0)."""
    return _try_all(net, targets, _ask_tcp)


def answered(net: Net, targets: Iterable[tuple[str, int]]) -> dict[tuple[str, int], str]:
    """As `reached`, by UDP."""
    return _try_all(net, targets, _ask_udp)


def pinged(net: Net, addresses: Iterable[str]) -> set[str]:
    """Those that answered an ICMP echo."""
    return {address for address, _ in _try_all(net, [(address, 0) for address in addresses], _ping)}


def _try_all(
    net: Net, targets: Iterable[tuple[str, int]], ask: Callable[[str, int], str]
) -> dict[tuple[str, int], str]:
    every = list(targets)

    def attempt(target: tuple[str, int]) -> str:
        try:
            return net.inside(lambda: ask(*target))
        except OSError:
            return ""

    with ThreadPoolExecutor(len(every)) as pool:
        words = dict(zip(every, pool.map(attempt, every), strict=True))
    return {target: word for target, word in words.items() if word}


def _ask_tcp(host: str, port: int) -> str:
    with socket.create_connection((host, port), timeout=REACH_SECONDS) as connection:
        return connection.recv(100).decode()


def _ask_udp(host: str, port: int) -> str:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as sender:
        sender.settimeout(REACH_SECONDS)
        sender.sendto(b"who is there?", address)
        return sender.recv(100).decode()


def _ping(host: str, _port: int) -> str:
    family, _, _, _, address = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)[0]
    six = family == socket.AF_INET6
    protocol, echo = (socket.IPPROTO_ICMPV6, 128) if six else (socket.IPPROTO_ICMP, 8)
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as sender:
        sender.settimeout(REACH_SECONDS)
        sender.sendto(struct.pack("!BBHHH", echo, 0, 0, 0, 1), address)
        return "echo" if sender.recv(100) else ""
