"""lan — another machine for an engine in a network namespace: a namespace of its own, and a cable between the two. Starts no daemon."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_interface

from tests.e2e.network import Net

# Of nobody's (RFC 5737, RFC 3849): the host's end, and the other machine's.
HOST4, PEER4 = "192.0.2.1/24", "192.0.2.2/24"
HOST6, PEER6 = "2001:db8:7::1/64", "2001:db8:7::2/64"
ECHO = """
import socket, sys
sock = socket.socket(socket.AF_INET6 if sys.argv[2] == "6" else socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[2] == "6":
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
sock.bind(("", int(sys.argv[1])))
print("bound", flush=True)
while True:
    question, asker = sock.recvfrom(65536)
    sock.sendto(sys.argv[3].encode() + question, asker)
"""


@dataclass(frozen=True)
class Lan:
    """`peer` is the other machine; by these addresses it reaches the host."""

    peer: Net
    host4: str = str(ip_interface(HOST4).ip)
    host6: str = str(ip_interface(HOST6).ip)


@contextmanager
def cabled(namespace: str) -> Iterator[Lan]:
    """A machine beside the one that the namespace is."""
    name = uuid.uuid4().hex[:8]
    other, ours, theirs = f"gpu-agent-{name}", f"h{name}", f"p{name}"
    ip("netns", "add", other)
    try:
        ip("-netns", namespace, "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", other)
        for where, link, addresses in ((namespace, ours, (HOST4, HOST6)), (other, theirs, (PEER4, PEER6))):
            for address in addresses:
                # No look for a double: the address could not be used for a second.
                ip(
                    "-netns",
                    where,
                    "address",
                    "add",
                    address,
                    "dev",
                    link,
                    *(["nodad"] if ":" in address else []),
                )
            ip("-netns", where, "link", "set", link, "up")
        yield Lan(Net(other))
    finally:
        ip("netns", "delete", other)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


@contextmanager
def answering_udp(pid: int, port: int, version: str, before: str = "job: ") -> Iterator[None]:
    """A program in the network of a job's process that answers datagrams: the test's image has none that could."""
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", ECHO, str(port), version, before]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == b"bound\n"
            yield
        finally:
            program.kill()
