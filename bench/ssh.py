"""bench/ssh — how soon one can log in to a job that runs, how fast files go, and what a hundred servers cost the host."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.figures import TIMES, Figure, at_least, at_most, describe
from bench.host import BRIDGE, Agent, Bench, Json, run_alone
from bench.processes import descendants, held_megabytes
from bench.sightings import Sightings, phase_of_job, reading
from tests.private_engine_host import command_line, ensure_packages, processes_of
from tests.ssh_kit import KITS, built_kit

MOST_READY_SECONDS, READY_SAMPLES = 0.6, 50
LEAST_OF_RAW, MEBIBYTES, ROUNDS = 0.7, 256, 5
MOST_MEGABYTES_A_JOB, JOBS = 3.0, 100
RAW_PORT, FIRST_PORT = 20022, 23000
# What the comparison is with: the distribution's server as it comes.
RAW_TOOLS = {
    "dropbear": "dropbear-bin",
    "dropbearkey": "dropbear-bin",
    "/usr/lib/sftp-server": "openssh-sftp-server",
}
SETTLE_SECONDS = 10.0


async def measure(bench: Bench) -> list[Figure]:
    await asyncio.to_thread(built_kit)
    await asyncio.to_thread(ensure_packages, RAW_TOOLS)
    keys = Keys(bench.folder / "ssh")
    async with bench.agent(_settings(JOBS)) as agent:
        return [
            *await _ready(bench, agent, keys),
            *await _files(bench, agent, keys),
            *await _memory(bench, agent, keys),
        ]


def _settings(jobs: int) -> dict[str, Json]:
    return {
        "queues.default": {"concurrency": jobs},
        "ports": {"range": f"{FIRST_PORT}-{FIRST_PORT + 2 * jobs}"},
        "ssh": {"kit": str(KITS)},
    }


class Keys:
    """A user's key, and the options of his clients."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.file = folder / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file], check=True)
        self.public = self.file.with_suffix(".pub").read_text().strip()
        kept = {
            "IdentityFile": str(self.file),
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "LogLevel": "ERROR",
        }
        self.options = ["-F", "none", *(f"-o{name}={value}" for name, value in kept.items())]

    def spec(self, agent: Agent) -> Json:
        return agent.spec("sleep", "3600", network=BRIDGE, ssh={"authorized_keys": [self.public]})


async def _ready(bench: Bench, agent: Agent, keys: Keys) -> list[Figure]:
    told, entered = [], []
    async with reading(agent.api, "http://agent/v1/events", _ssh_or_phase) as sightings:
        for _ in range(bench.size(READY_SAMPLES, 5)):
            job = await agent.submit(keys.spec(agent))
            running = await _seen(agent, sightings, job, "running")
            entering = asyncio.to_thread(_enter, agent, keys, await _port(agent, job))
            ready, entered_at = await asyncio.gather(sightings.at((job, "ready")), entering)
            told.append(ready - running)
            entered.append(entered_at - running)
            await agent.cancel(job)
            await sightings.at((job, "finished"))
    print(f"  told: {describe(told, 'ms', 1e3)}; entered: {describe(entered, 'ms', 1e3)}")
    name = f"ssh: running → the first command has run, of {len(entered)}"
    return [
        at_most("ssh", f"{name}: median", median(entered), MOST_READY_SECONDS, "{:.3f} s"),
        at_most("ssh", f"{name}: slowest", max(entered), MOST_READY_SECONDS, "{:.3f} s"),
    ]


async def _seen(agent: Agent, sightings: Sightings, job: str, word: str) -> float:
    """When that was told of the job; one that ends before has failed, and its reason is what one wants to read."""
    told, ended = (asyncio.ensure_future(sightings.at((job, one))) for one in (word, "finished"))
    try:
        await asyncio.wait((told, ended), return_when=asyncio.FIRST_COMPLETED)
        if told.done():
            return told.result()
        raise RuntimeError(str((await agent.call("GET", f"/v1/jobs/{job}"))["reason"]))
    finally:
        for watch in (told, ended):
            watch.cancel()


def _ssh_or_phase(line: bytes) -> Hashable | None:
    if line.startswith(b"data: ") and b'"ssh.state"' in line:
        event = json.loads(line[6:])
        return (event["job"], event["data"]["state"])
    return phase_of_job(line)


async def _port(agent: Agent, job: str) -> int:
    ports = (await agent.call("GET", f"/v1/jobs/{job}"))["ports"]
    return int(next(port["host_port"] for port in ports if port["port"] == 2202))


def _enter(agent: Agent, keys: Keys, port: int) -> float:
    """Knock until one is let in."""
    command = [*agent.daemon.engine.prefix, "ssh", *keys.options, "-p", str(port), "root@127.0.0.1", "exit 0"]
    deadline = time.monotonic() + 30
    while subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
        assert time.monotonic() < deadline, "nobody was let in"
    return time.perf_counter()


async def _files(bench: Bench, agent: Agent, keys: Keys) -> list[Figure]:
    """Between sparse files and /dev/null: no disk holds anybody up."""
    mebibytes = bench.size(MEBIBYTES, 32)
    local = bench.folder / "ssh" / "sparse"
    _make_sparse(local, mebibytes)
    async with agent.phases() as phases:
        job = await agent.submit(keys.spec(agent))
        await _seen(agent, phases, job, "running")
    port = await _port(agent, job)
    await asyncio.to_thread(_enter, agent, keys, port)
    make = f"dd if=/dev/zero of=/tmp/sparse bs=1 count=0 seek={mebibytes}M 2>/dev/null"
    await asyncio.to_thread(_call, agent, ["ssh", *keys.options, "-p", str(port), "root@127.0.0.1", make])
    figures = []
    with _raw_server(agent, keys):
        for word, line in (("get", "get {} /dev/null"), ("put", f"put {local} /dev/null")):
            ratios = []
            for _ in range(ROUNDS):
                raw = await asyncio.to_thread(_sftp, agent, keys, RAW_PORT, line.format(local))
                ours = await asyncio.to_thread(_sftp, agent, keys, port, line.format("/tmp/sparse"))
                ratios.append(raw / ours)
                print(f"  {word}: raw {mebibytes / raw:.0f} MiB/s, ours {mebibytes / ours:.0f} MiB/s")
            name = f"sftp {word} of {mebibytes} MiB, median of {ROUNDS} rounds"
            figures.append(
                at_least("ssh", name, median(ratios), LEAST_OF_RAW, TIMES + "dropbear on loopback")
            )
    await agent.cancel(job)
    return figures


def _make_sparse(path: Path, mebibytes: int) -> None:
    with path.open("wb") as file:
        file.truncate(mebibytes << 20)


@contextmanager
def _raw_server(agent: Agent, keys: Keys) -> Iterator[None]:
    """The distribution's dropbear as it comes, in the engine's network, without a container around it."""
    # It wants a folder that only root can have put there, up to the root: below /tmp there is none.
    allowed = Path(tempfile.mkdtemp(dir="/run"))
    host_key = allowed / "host_key"
    (allowed / "authorized_keys").write_text(f"{keys.public}\n")
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", host_key], capture_output=True, check=True)
    command = [
        "dropbear",
        "-F",
        "-E",
        "-s",
        "-P",
        "",
        "-p",
        f"127.0.0.1:{RAW_PORT}",
        "-r",
        str(host_key),
        "-D",
        str(allowed),
    ]
    with subprocess.Popen([*agent.daemon.engine.prefix, *command], stderr=subprocess.DEVNULL) as server:
        try:
            _enter(agent, keys, RAW_PORT)
            yield
        finally:
            server.terminate()
            shutil.rmtree(allowed)


def _sftp(agent: Agent, keys: Keys, port: int, line: str) -> float:
    began = time.perf_counter()
    _call(agent, ["sftp", "-q", *keys.options, "-P", str(port), "-b", "-", "root@127.0.0.1"], line)
    return time.perf_counter() - began


def _call(agent: Agent, command: Sequence[str], text: str = "") -> None:
    whole = [*agent.daemon.engine.prefix, *command]
    done = subprocess.run(whole, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def _memory(bench: Bench, agent: Agent, keys: Keys) -> list[Figure]:
    """Jobs without a network, with a port, and with SSH, one kind after the other on one agent."""
    jobs = bench.size(JOBS, 10)
    port = {"name": "web", "port": 8080, "proto": "tcp"}
    kinds = {
        "nothing": agent.spec("sleep", "3600", network=BRIDGE),
        "a port": agent.spec("sleep", "3600", network=BRIDGE, ports=[port]),
        "ssh": keys.spec(agent),
    }
    held = {name: await _hold(agent, [spec] * jobs) for name, spec in kinds.items()}
    for name, before in (("a port", "nothing"), ("ssh", "a port")):
        parts = {part: (held[name][part] - held[before][part]) / jobs for part in held[name]}
        print(
            f"  {name} beside {before}, each of {jobs}: "
            + ", ".join(f"{part} {mb:.2f} MB" for part, mb in parts.items())
        )
    each = (sum(held["ssh"].values()) - sum(held["a port"].values())) / jobs
    name = f"memory of the host for ssh, each of {jobs} jobs, beside those of a job with a port"
    return [at_most("ssh", name, each, MOST_MEGABYTES_A_JOB, "{:.2f} MB")]


async def _hold(agent: Agent, specs: Sequence[Json]) -> dict[str, float]:
    """Megabytes while all of them run: of agent, engine and shims, of the engine's proxies, of what is in the containers."""
    async with reading(agent.api, "http://agent/v1/events", _ssh_or_phase) as sightings:
        jobs = [await agent.submit(spec) for spec in specs]
        for job in jobs:
            await _seen(agent, sightings, job, "ready" if specs[0].get("ssh") else "running")
        await asyncio.sleep(SETTLE_SECONDS)
        held = await asyncio.to_thread(_held_by_all, agent)
        for job in jobs:
            await agent.cancel(job)
        for job in jobs:
            await sightings.at((job, "finished"))
    return held


def _held_by_all(agent: Agent) -> dict[str, float]:
    held = {"agent": held_megabytes(agent.pid), "engine": 0.0, "proxies": 0.0, "containers": 0.0}
    tops = processes_of(agent.daemon.engine.root)
    for pid in {pid for top in tops for pid in descendants(top)}:
        held[_part(pid)] += held_megabytes(pid)
    return held


def _part(pid: int) -> str:
    words = command_line(pid)
    if "docker-proxy" in words:
        return "proxies"
    return (
        "engine"
        if words.partition("\0")[0].endswith(("dockerd", "containerd", "containerd-shim-runc-v2"))
        else "containers"
    )


if __name__ == "__main__":
    run_alone(measure)
