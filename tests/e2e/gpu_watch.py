"""gpu_watch — notes which container has which GPUs, as the engine and the kernel tell it, and plays what its job does to them.

While a container runs, its GPUs are told to be in use, as a real driver would; some are so for a while after its end. Of the
daemon and its database nothing is asked.
"""

import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.client import Json, expect
from tests.e2e.daemon import quoted
from tests.e2e.gpu_stays import Spell, Stay
from tests.nvml_standin.library import Standin
from tests.nvml_standin.profiles import GIB, Host
from tests.private_engine import PrivateEngine
from tests.private_engine_host import UnixConnection

LONGEST_SECONDS = 3600.0
# Above the kernel's largest, so that no process of this host is meant.
PID = (1 << 22) + 1
PROCESS = (f"compute {PID} {GIB}",)
MEMORY = (f"memory {80 * GIB} {500 << 20} {2 * GIB}",)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What is told of a GPU after its container's end, and for how long."""

    name: str
    facts: tuple[str, ...]
    seconds: tuple[float, float]
    weight: int


def leftovers(clean_seconds: float) -> tuple[Leftover, ...]:
    return (
        Leftover("nothing", (), (0.0, 0.0), 14),
        Leftover("memory", MEMORY, (0.2, 0.8 * clean_seconds), 3),
        Leftover("a process", (*PROCESS, *MEMORY), (0.2, 0.8 * clean_seconds), 2),
        Leftover("memory that does not drain", MEMORY, (2 * clean_seconds, 4 * clean_seconds), 1),
    )


class Use:
    """What the stand-in tells to be in use, and since when."""

    def __init__(self, standin: Standin, host: Host) -> None:
        self._standin, self._host = standin, host
        self._places = {card.uuid: place for place, card in enumerate(host.cards)}
        self._turn = threading.Lock()
        self._open: dict[tuple[str, str], tuple[Spell, tuple[str, ...]]] = {}
        self.spells: list[Spell] = []

    def begin(self, gpus: frozenset[str], container: str, facts: tuple[str, ...]) -> int:
        """From when on it can be seen. What the container is told to use already is replaced in one step."""
        with self._turn:
            for gpu in gpus:
                known = self._open.get((gpu, container))
                spell = Spell(gpu, container, 0) if known is None else known[0]
                self._open[gpu, container] = (spell, facts)
            self._tell()
            now = time.time_ns()
            for key, (spell, told) in self._open.items():
                if spell.begin == 0:
                    self._open[key] = (replace(spell, begin=now), told)
            return now

    def end(self, gpus: frozenset[str], container: str) -> None:
        with self._turn:
            now = time.time_ns()
            for gpu in gpus:
                spell, _ = self._open.pop((gpu, container))
                self.spells.append(replace(spell, end=now))
            self._tell()

    def all_spells(self) -> list[Spell]:
        with self._turn:
            return [*self.spells, *(spell for spell, _ in self._open.values())]

    def _tell(self) -> None:
        host = self._host
        facts: dict[str, tuple[str, ...]] = {}
        for (gpu, _), (_, told) in self._open.items():
            facts[gpu] = (*facts.get(gpu, ()), *told)
        for gpu, told in facts.items():
            host = host.but(self._places[gpu], *told)
        self._standin.become(host)


class GpuWatch:
    """Reads the engine's events in a thread of its own, while `watching`; what goes wrong there is raised at its end."""

    def __init__(self, engine: PrivateEngine, use: Use, draw: random.Random, clean_seconds: float) -> None:
        self._engine, self._use, self._draw = engine, use, draw
        self._leftovers = leftovers(clean_seconds)
        self._gpus: dict[str, frozenset[str]] = {}
        self._staying: dict[str, Stay] = {}
        self._used: dict[str, int] = {}
        self._timers: list[threading.Timer] = []
        self._reader: Future[None] | None = None
        self.counts: Counter[str] = Counter()
        self.unseen: dict[str, str] = {}
        self.stays: list[Stay] = []
        self.faults: list[str] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        connection = UnixConnection(self._engine.socket, LONGEST_SECONDS)
        connection.request("GET", f"/events?filters={quoted({'type': ['container', 'network']})}")
        ours: socket.socket = connection.sock
        with closing(connection), ThreadPoolExecutor(1) as thread:
            reader = self._reader = thread.submit(self._read, connection)
            try:
                yield
                expect(lambda: reader.done() or not self._staying, "every container was seen at its end")
            finally:
                ours.shutdown(socket.SHUT_RDWR)
                reader.result(10)
                for timer in self._timers:
                    timer.join()

    def check(self) -> None:
        """Raises what ended the watch: from then on GPUs stay in use, and jobs would wait for ever."""
        if self._reader is not None and self._reader.done():
            self._reader.result()

    def all_stays(self) -> list[Stay]:
        return [*self.stays, *self._staying.values()]

    def _read(self, connection: UnixConnection) -> None:
        with connection.getresponse() as reply:
            for line in reply:
                self._take(json.loads(line))

    def _take(self, event: Json) -> None:
        actor, at = event["Actor"], event["timeNano"]
        container = actor["Attributes"].get("container") or actor["ID"]
        match f"{event['Type']} {event['Action']}":
            case "container create":
                self._gpus_of(container)
            case "network connect":  # the engine's first act of a start
                self._begin(container, at)
            case "container start":
                self._use_gpus(container)
            case "network disconnect" | "container die" | "container destroy":
                self._end(container, at)

    def _look(self, container: str) -> Json | None:
        status, body = self._engine.request("GET", f"/containers/{container}/json")
        found: Json = json.loads(body)
        if status != 200:
            self.unseen[container] = f"{status} {found}"
            return None
        return found

    def _gpus_of(self, container: str) -> frozenset[str] | None:
        """What was asked for at its creation, which never changes. None: it could not be looked at, as one that is gone."""
        if container not in self._gpus and (found := self._look(container)) is not None:
            asked = found["HostConfig"]["DeviceRequests"] or []
            names = [name for request in asked for name in request["DeviceIDs"]]
            self._gpus[container] = frozenset(name.partition("=")[2] for name in names)
        return self._gpus.get(container)

    def _begin(self, container: str, at: int) -> None:
        gpus = self._gpus_of(container)
        if gpus is None:
            self.faults.append(f"{container[:12]} was started, and is not seen: {self.unseen[container]}")
        else:
            self._staying[container] = Stay(container, gpus, at)

    def _use_gpus(self, container: str) -> None:
        if container not in self._staying:
            return  # `_begin` has told why
        gpus = self._staying[container].gpus
        self._used[container] = self._use.begin(gpus, container, (*PROCESS, *MEMORY))
        self.counts["started"] += 1
        found = self._look(container)
        nodes = None if found is None else nodes_of(found["State"]["Pid"])
        if nodes is None:
            return  # its process is over
        self.counts["seen inside"] += 1
        leased = {f"nvidia{int(gpu[4:12], 16)}" for gpu in gpus}
        if nodes != leased:
            self.faults.append(f"{container[:12]} has {sorted(nodes)} and was given {sorted(leased)}")

    def _end(self, container: str, at: int) -> None:
        stay = self._staying.pop(container, None)
        if stay is None:
            return
        self.stays.append(replace(stay, end=at))
        used_at = self._used.pop(container, None)
        if used_at is None:  # its start failed
            return
        weights = [leftover.weight for leftover in self._leftovers]
        (left,) = self._draw.choices(self._leftovers, weights)
        if used_at >= at or not left.facts:  # told too late, or nothing is left
            self._use.end(stay.gpus, container)
            return
        self.counts[left.name] += 1
        self._use.begin(stay.gpus, container, left.facts)
        seconds = self._draw.uniform(*left.seconds)
        timer = threading.Timer(seconds, self._use.end, (stay.gpus, container))
        timer.start()
        self._timers.append(timer)


def nodes_of(pid: int) -> set[str] | None:
    """The GPUs' nodes that a process of this host sees. None: it is over."""
    try:
        names = [path.name for path in Path(f"/proc/{pid}/root/dev").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return {name for name in names if re.fullmatch(r"nvidia\d+", name)} if pid else None
