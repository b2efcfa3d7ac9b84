"""bench/proxy — a job's web server reached through the agent, against its published port itself: a large file, and small answers."""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from bench.figures import Figure, at_least, at_most, describe
from bench.host import BRIDGE, Agent, Bench, run_alone, until

LEAST_RATIO = 0.6
MOST_ADDED_MILLISECONDS = 2.0
BYTES = 1 << 30
ROUNDS = 5
SAMPLES = 300
SMALL = 1024
BUFFER = 1 << 20
# /tmp is the container's own layer; the large file is sparse, so that no disk takes part.
SERVE = "mkdir /tmp/www; cd /tmp/www; truncate -s {size} large; truncate -s {small} small; exec httpd -f -p 8080 -h /tmp/www"
PORTS = [{"name": "web", "port": 8080, "proto": "http"}]


@dataclass(frozen=True, slots=True)
class Way:
    """How to reach the server: a port of the host, what is before the path, and headers of one's own."""

    connect: Callable[[], socket.socket]
    prefix: str = ""
    headers: str = ""

    def fetch(self, name: str) -> int:
        """GET it on a connection of its own; the bytes of its body."""
        request = (
            f"GET {self.prefix}/{name} HTTP/1.1\r\nHost: localhost\r\n{self.headers}Connection: close\r\n\r\n"
        )
        buffer = bytearray(BUFFER)
        with self.connect() as sock:
            sock.sendall(request.encode())
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(BUFFER)
                if not piece:
                    raise RuntimeError(f"no answer: {head[:200]!r}")
                head += piece
            head, _, body = head.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"not served: {head[:200]!r}")
            count = len(body)
            while read := sock.recv_into(buffer):
                count += read
        return count

    def answers(self) -> bool:
        try:
            return self.fetch("small") == SMALL
        except (OSError, RuntimeError):
            return False


async def measure(bench: Bench) -> list[Figure]:
    size = bench.size(BYTES, 64 << 20)
    async with bench.agent() as agent:
        script = SERVE.format(size=size, small=SMALL)
        job = await agent.submit(agent.spec("sh", "-c", script, network=BRIDGE, ports=PORTS))
        await until(lambda: agent.daemon.local.job(job)["phase"] == "running", 60)
        direct, ours = ways(agent, job)
        await until(direct.answers, 30)
        await until(ours.answers, 30)
        rounds = bench.size(ROUNDS, 3)
        ratio = await asyncio.to_thread(_throughput, direct, ours, size, rounds)
        added = await asyncio.to_thread(_added, direct, ours, bench.size(SAMPLES, 50))
        await agent.cancel(job)
    name = f"a job's answer of {size >> 20} MiB through the proxy, median of {rounds}"
    return [
        at_least("proxy", name, ratio, LEAST_RATIO, "{:.2f} \N{MULTIPLICATION SIGN} direct"),
        at_most("proxy", "added by the proxy to an answer of 1 KiB, p50", added, MOST_ADDED_MILLISECONDS, "{:.2f} ms"),
    ]  # fmt: skip


def ways(agent: Agent, job: str) -> tuple[Way, Way]:
    daemon = agent.daemon
    port = daemon.local.job(job)["ports"][0]["host_port"]
    own = daemon.config.api.listen.port
    # The job is the Unix socket's.
    bearer = f"Authorization: Bearer {daemon.token('bench', ('jobs:read', 'jobs:all'))}\r\n"
    return (
        Way(lambda: daemon.net.connect(port)),
        Way(lambda: daemon.net.connect(own), f"/v1/jobs/{job}/ports/web", bearer),
    )


def _throughput(direct: Way, ours: Way, size: int, rounds: int) -> float:
    """Median rate through the proxy over that without it: in turn, so that what else the machine does hits both."""
    rates: dict[Way, list[float]] = {direct: [], ours: []}
    for _ in range(rounds):
        for way, seen in rates.items():
            began = time.perf_counter()
            if way.fetch("large") != size:
                raise RuntimeError("the file came short")
            seen.append(size / (time.perf_counter() - began))
    for name, way in (("direct", direct), ("proxied", ours)):
        print(f"  {name}: {describe(rates[way], 'MB/s', 1e-6)}")
    return median(rates[ours]) / median(rates[direct])


def _added(direct: Way, ours: Way, samples: int) -> float:
    taken: dict[Way, list[float]] = {direct: [], ours: []}
    for _ in range(samples):
        for way, seen in taken.items():
            began = time.perf_counter()
            way.fetch("small")
            seen.append(time.perf_counter() - began)
    for name, way in (("direct", direct), ("proxied", ours)):
        print(f"  {name}: {describe(taken[way], 'ms', 1e3)}")
    return (median(taken[ours]) - median(taken[direct])) * 1e3


if __name__ == "__main__":
    run_alone(measure)
