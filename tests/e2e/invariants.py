"""invariants — DESIGN §7 looked at from outside: the database read-only, the engine, the API. Changes nothing."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.adapters.linux import read_holders
from agent.core.state import EDGES
from tests.e2e.daemon import Daemon
from tests.private_engine_host import is_first_process, wait

OPEN = {"queued", "starting", "running", "stopping"}
# Five seconds by the rules, and what a host that is busy with other tests may add.
RECOVERED_SECONDS = 5.0 + 15.0
# A sweep of what no row needs, and what was read last goes a while after it.
QUOTAS_SECONDS = 60.0 + 30.0


@dataclass
class Invariants:
    """Keeps what it saw, to see what may never change. `violations` are sentences."""

    daemon: Daemon
    violations: list[str] = field(default_factory=list)
    finished: dict[str, tuple[object, ...]] = field(default_factory=dict)

    def check(self, accepted: set[str]) -> None:
        """After a recovery, while jobs run: I1, I2, I3, I4, I7, I9."""
        self._eventually(self._strays, "I3")
        self._eventually(self._doubled_containers, "I7")
        self._hold(self._doubled_ports(), "I2")
        self._eventually(self._ports_elsewhere, "I2")
        self._hold(self._leased_gpus(), "I1")
        self._hold(self._lost_or_changed(accepted), "I4")
        self._hold(self._broken_paths(), "I9")

    def check_end(self, accepted: set[str]) -> None:
        """When every job is finished: nothing is left, and the daemon made no mistake that it noticed itself."""
        self.check(accepted)
        self._eventually(lambda: [f"container {found['Names']}" for found in self.daemon.containers()], "I3")
        self._eventually(self._quotas_left, "I3", QUOTAS_SECONDS)
        self._hold([f"port {port} is held" for port in self.daemon.held_ports()], "I2")
        phases = Counter(row["phase"] for row in self.daemon.query("SELECT phase FROM jobs"))
        self._hold([f"{count} are {phase}" for phase, count in phases.items() if phase != "finished"], "I4")

    def _hold(self, faults: list[str], name: str) -> None:
        self.violations += [f"{name}: {fault}" for fault in faults]

    def _eventually(
        self, look: Callable[[], list[str]], name: str, seconds: float = RECOVERED_SECONDS
    ) -> None:
        if not wait(lambda: not look(), seconds):
            self._hold(look(), name)

    def _quotas_left(self) -> list[str]:
        volumes = [f"volume {volume['Name']} is left" for volume in self.daemon.volumes()]
        faults = []
        for loop in self.daemon.loops():
            holders = read_holders(loop.device)
            # Of one whose engine was killed within its start, the first process may stay: the engine does not know it any more.
            if not holders or not all(is_first_process(holder.split()[1].strip("()")) for holder in holders):
                faults.append(f"{loop.device} is left of {loop.job}, held by {holders}")
        return volumes + faults

    def _rows(self) -> list[dict[str, Any]]:
        rows = self.daemon.query("SELECT id, phase, attempt, outcome, rest FROM jobs")
        return [{**dict(row), "rest": json.loads(row["rest"])} for row in rows]

    def _strays(self) -> list[str]:
        containers = self.daemon.containers()
        rows = {row["id"]: row for row in self._rows()}
        faults = []
        for container in containers:
            labels = container["Labels"]
            row = rows.get(labels["gpu-agent.job"])
            if row is None or row["phase"] not in OPEN or str(row["attempt"]) != labels["gpu-agent.attempt"]:
                faults.append(f"{container['Names']} {container['State']} belongs to {row and row['phase']}")
        return faults

    def _doubled_containers(self) -> list[str]:
        running = Counter(
            found["Labels"]["gpu-agent.job"]
            for found in self.daemon.containers()
            if found["State"] == "running"
        )
        return [f"{count} containers of {job} run" for job, count in running.items() if count > 1]

    def _doubled_ports(self) -> list[str]:
        held = Counter(self.daemon.held_ports())
        return [f"port {port} is in {count} leases" for port, count in held.items() if count > 1]

    def _ports_elsewhere(self) -> list[str]:
        """A job that runs is published on the ports of its lease, each for its own proto, and on no other."""
        rows = {row["id"]: row for row in self._rows() if row["phase"] == "running"}
        faults = []
        for container in self.daemon.containers():
            row = rows.get(container["Labels"]["gpu-agent.job"])
            if container["State"] != "running" or row is None:
                continue
            seen = {(port["PublicPort"], port["Type"]) for port in container["Ports"] if "PublicPort" in port}
            leased = {
                (port["host_port"], "udp" if port["proto"] == "udp" else "tcp")
                for port in (row["rest"]["lease"] or {"ports": []})["ports"]
            }
            if seen != leased:
                faults.append(f"{container['Names']} is published on {seen}, its lease is {leased}")
        return faults

    def _leased_gpus(self) -> list[str]:
        leases = [row["rest"]["lease"] for row in self._rows() if row["phase"] != "finished"]
        held = Counter(gpu for lease in leases if lease for gpu in lease["gpus"])
        return [f"GPU {gpu} is in {count} leases" for gpu, count in held.items() if count > 1]

    def _lost_or_changed(self, accepted: set[str]) -> list[str]:
        rows = {row["id"]: row for row in self._rows()}
        faults = [f"{job} was accepted and is gone" for job in accepted - set(rows)]
        for job, row in rows.items():
            if row["phase"] == "finished":
                end = (row["outcome"], json.dumps(row["rest"], sort_keys=True))
                if self.finished.setdefault(job, end) != end:
                    faults.append(f"{job} changed after its end: {self.finished[job]} → {end}")
            elif job in self.finished:
                faults.append(f"{job} was finished and is {row['phase']}")
        return faults

    def _broken_paths(self) -> list[str]:
        rows = self.daemon.query(
            "SELECT jobs.id, events.n, events.type, events.data FROM events"
            " JOIN jobs ON jobs.seq = events.job ORDER BY events.job, events.n"
        )
        paths: dict[str, list[Any]] = {}
        for row in rows:
            paths.setdefault(row["id"], []).append(row)
        return [fault for job, path in paths.items() for fault in broken_path(job, path)]


def broken_path(job: str, events: list[Any]) -> list[str]:
    """Gap-free by `n`, and each phase follows from the one before by an edge of the machine."""
    faults = []
    if [event["n"] for event in events] != list(range(1, len(events) + 1)):
        faults.append(f"{job}: its events are numbered {[event['n'] for event in events]}")
    moves = [json.loads(event["data"]) for event in events if event["type"] == "job.phase"]
    edges = {(str(came), str(to)) for came, to in EDGES}
    at = "queued"
    for move in moves:
        if move["from"] != at or (move["from"], move["to"]) not in edges:
            faults.append(f"{job}: {at}, then {move['from']} → {move['to']}")
        at = move["to"]
    return faults
