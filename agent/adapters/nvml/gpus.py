"""adapters/nvml/gpus — what NVML tells of the host: the last inventory at once, kept on disk; sheets of single GPUs. Leases nothing.

One loop of the daemon calls `look` and `learn_idle` from time to time; all else answers out of what they found, or asks the
child within a deadline.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import structlog

from agent.adapters.nvml.clean import idle_level
from agent.adapters.nvml.client import NvmlClient
from agent.adapters.nvml.errors import NvmlError, NvmlRefusedError, NvmlSilentError
from agent.adapters.nvml.hung import Hung
from agent.adapters.nvml.record import NOTHING_KNOWN, Known, Record, read_record, write_record
from agent.adapters.nvml.sightings import Row, Sighting, see
from agent.aio import Threads
from agent.core.gpus import Inventory
from agent.core.topology import LinkClass, Links

_log = structlog.get_logger()
_STEP_SECONDS = 10.0
# A child finds GPUs when it loads NVML, so a missing one is looked for by a new child; not more often than this.
_ANEW_SECONDS = 60.0
_MOST_HANGS_A_CALL = 3
_NO_GPUS = frozenset({"library_not_found", "driver_not_loaded"})
# Below this a change of the idle level is not worth a write to the disk.
_IDLE_STEP_BYTES = 16 << 20


class Reading(StrEnum):
    """What can be read of single GPUs. The fields are those of `adapters/nvml/readings`."""

    PROCESSES = "processes"
    HEALTH = "health"
    SAMPLE = "sample"


@dataclass(frozen=True, slots=True)
class Xid:
    """An error that a GPU reported, `times` at once. `instance`: the MIG GPU instance, where it is of one."""

    uuid: str
    xid: int
    instance: int | None
    times: int


class NvmlGpus:
    """`record` is the file of the last good inventory. `step_seconds` is how long one GPU may take to answer."""

    def __init__(self, client: NvmlClient, record: Path, step_seconds: float = _STEP_SECONDS) -> None:
        self._client, self._path, self._step_seconds = client, record, step_seconds
        self._threads = Threads("gpu-record", 1)
        self._turn = asyncio.Lock()
        self._record: Record | None = None
        self._was_looked_at = False
        self._seen = Sighting((), {})
        self._condition: str | None = None
        self._hung = Hung()
        self._anew_at = 0.0
        self._least_idle: dict[str, int] = {}
        self._linked: set[str] = set()
        self._tell_xid: Callable[[Xid], None] | None = None

    def listen(self, tell: Callable[[Xid], None]) -> None:
        """Be told of XIDs from the next look on. It must not wait. What comes while a child is started anew is lost here."""
        self._tell_xid = tell
        self._client.listen(self._hear, "events")

    async def inventory(self) -> Inventory:
        """At once; where nothing is known of old, as soon as the first look has ended: "none" is said of what was looked at."""
        if not (await self._known()).known and not self._was_looked_at:
            async with self._turn:
                if not self._was_looked_at:
                    await self._look()
        return Inventory(tuple(known.gpu for known in self._now.known), self._now.links)

    async def condition(self) -> str | None:
        await self.inventory()
        return self._condition

    async def read(self, what: Reading, uuids: Collection[str]) -> Mapping[str, Mapping[str, Any]]:
        """Raises NvmlError. A GPU that does not answer has the fault `gpu`, and hides no other."""
        if not uuids:
            return {}
        return cast("dict[str, dict[str, Any]]", await self._ask(what.value, uuids=list(uuids)))

    async def look(self) -> None:
        """Read the host anew. Raises nothing for what driver or disk do: `condition` says it."""
        async with self._turn:
            await self._look()

    async def _look(self) -> None:
        record = await self._known()
        self._look_anew_for_the_missing()
        try:
            answer = cast("dict[str, Any]", await self._ask("inventory"))
            self._take(answer["gpus"], record)
            links = await self._read_links(record.links)
            if self._tell_xid is not None:
                await self._ask("events")  # again: of GPUs that could not be watched before
        except NvmlError as error:
            self._take_refusal(error, record)
        else:
            await self._keep_seen(links)
        self._was_looked_at = True

    async def learn_idle(self, leased: AbstractSet[str]) -> None:
        """How much memory is in use on GPUs that nobody uses: neither a lease nor a process."""
        async with self._turn:
            record = await self._known()
            free = [
                known.gpu.uuid
                for known in record.known
                if known.gpu.uuid not in leased | self._seen.unwell.keys()
            ]
            try:
                sheets = await self.read(Reading.PROCESSES, free)
            except NvmlError:
                return  # `look` says it
            levels = {
                uuid: level for uuid, sheet in sheets.items() if (level := idle_level(sheet)) is not None
            }
            # The least that was seen: what a job leaves behind must not become what is idle.
            levels = {uuid: min(level, self._least_idle.get(uuid, level)) for uuid, level in levels.items()}
            self._least_idle |= levels
            old = self._now.idle_bytes
            if any(
                abs(level - old.get(uuid, -_IDLE_STEP_BYTES)) >= _IDLE_STEP_BYTES
                for uuid, level in levels.items()
            ):
                await self._keep(replace(self._now, idle_bytes={**old, **levels}))

    def units_of(self, whole: str) -> list[str]:
        """What is leased of a GPU: itself, or in MIG mode its instances."""
        return [known.gpu.uuid for known in self._now.known if known.whole == whole]

    async def idle_bytes(self) -> Mapping[str, int]:
        """The memory in use where nobody uses the GPU, as far as it was learnt."""
        return (await self._known()).idle_bytes

    async def nvlinks_once_up(self) -> Mapping[str, frozenset[int]]:
        """The NVLinks that were ever seen up, by UUID: by this daemon or one before it."""
        return (await self._known()).nvlinks_up

    async def note_nvlinks_up(self, up: Mapping[str, frozenset[int]]) -> None:
        once_up = await self.nvlinks_once_up()
        more = {uuid: once_up.get(uuid, frozenset()) | numbers for uuid, numbers in up.items() if numbers}
        if any(numbers != once_up.get(uuid) for uuid, numbers in more.items()):
            await self._keep(replace(self._now, nvlinks_up={**once_up, **more}))

    async def close(self) -> None:
        await self._client.close()
        self._threads.close()

    async def _known(self) -> Record:
        if self._record is None:
            read = await self._threads.run(read_record, self._path)
            self._record = self._record or read  # another call may have read it meanwhile, and changed it
        return self._record

    @property
    def _now(self) -> Record:
        """What a change goes out from, without a wait between: other calls change other parts of it."""
        return self._record or NOTHING_KNOWN

    def _look_anew_for_the_missing(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._seen.is_whole and now >= self._anew_at:
            self._anew_at = now + _ANEW_SECONDS
            self._client.retire()

    def _take(self, rows: Sequence[Row], record: Record) -> None:
        self._hung.answered({row["index"] for row in rows if row["faults"].get("gpu") != "skipped"})
        self._seen = see(rows, record.known)
        self._condition = None
        if self._seen.nameless:
            self._condition = f"GPUs that do not tell their name: {'; '.join(self._seen.nameless)}"
        elif not self._seen.known:
            self._condition = "the driver lists no GPU"

    async def _read_links(self, links: Links) -> Links:
        """What lies between GPUs changes with the GPUs only. Of those that are missing it is kept."""
        present = _uuids(self._seen.known) - self._seen.unwell.keys()
        if present == self._linked:
            return links
        pairs = cast("list[tuple[str, str, int]]", await self._ask("topology"))
        self._linked = present
        kept = {pair: link for pair, link in links.pairs.items() if not pair <= present}
        return Links({**kept, **{frozenset((one, other)): LinkClass(link) for one, other, link in pairs}})

    async def _keep_seen(self, links: Links) -> None:
        known, record = self._seen.known, self._now
        if known != record.known or links != record.links:
            uuids = _uuids(known)
            idle = {uuid: used for uuid, used in record.idle_bytes.items() if uuid in uuids}
            up = {uuid: numbers for uuid, numbers in record.nvlinks_up.items() if uuid in uuids}
            await self._keep(Record(known, links, idle, up))

    def _take_refusal(self, error: NvmlError, record: Record) -> None:
        """What is known stays, as missing."""
        self._condition = str(error)
        is_empty = isinstance(error, NvmlRefusedError) and error.why in _NO_GPUS and not record.known
        self._seen = Sighting(
            record.known,
            {known.gpu.uuid: str(error) for known in record.known},
            () if is_empty else (str(error),),
        )

    async def _keep(self, record: Record) -> None:
        self._record = record
        try:
            await self._threads.run(write_record, self._path, record)
        except OSError as error:
            # We know it; only the next start would not. Its own look comes first.
            _log.warning("gpus.record_not_written", path=str(self._path), cause=str(error))

    async def _ask(self, method: str, **params: object) -> object:
        """A GPU that hangs is left out from then on, so that the others are told of by the next child."""
        now = asyncio.get_running_loop().time
        for _ in range(_MOST_HANGS_A_CALL):
            skip = sorted({*self._hung.at(now()), *self._client.stuck_at()})
            try:
                return await self._client.call(method, {**params, "skip": skip}, self._step_seconds)
            except NvmlSilentError as error:
                if error.at is None:
                    raise
                _log.warning("gpus.hung", index=error.at, method=method)
                self._hung.add(error.at, now())
                silent = error
        raise silent

    def _hear(self, message: Mapping[str, Any]) -> None:
        if message["event"] == "xid" and self._tell_xid is not None:
            self._tell_xid(Xid(message["uuid"], message["xid"], message["instance"], message["times"]))


def _uuids(known: Iterable[Known]) -> set[str]:
    return {one.gpu.uuid for one in known}
