"""jobs/xid_inbox — XIDs that wait for the next look at their GPU, from the driver and from the kernel's log. Judges none.

Of a kind there is one, however often it came; one that came by both ways is one, too. What the log tells of an address at
which no GPU is known waits until one is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from agent.core.gpu_record import newest
from agent.core.gpus import Inventory
from agent.core.kernel_log import Address, LoggedXid, read_address
from agent.core.xid_reports import SAME_SECONDS, Reports, XidReport, merge
from agent.interfaces import Clock

# Far above what the driver knows of kinds, on as many GPUs as a host can have. Past it the oldest is let go.
MOST_WAITING = 1024


class XidInbox:
    """`wake`: called when there is something new to look at."""

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._logged: dict[tuple[Address, int], LoggedXid] = {}
        self._xids: dict[str, dict[int, XidReport]] = {}
        self._records: dict[str, int | None] = {}
        # When each kind was last taken in, by the way it came.
        self._taken_in: dict[tuple[str, int, bool], float] = {}

    def tell(self, uuid: str, xid: int) -> None:
        """From the driver, as it comes."""
        if self._take_in(uuid, XidReport(xid, self._clock.boot_seconds())):
            self._wake()

    def log(self, found: Sequence[LoggedXid]) -> None:
        """From the kernel's log. In a storm of what is waiting already nobody is woken."""
        new = [one for one in found if (one.address, one.xid) not in self._logged]
        self._logged |= {(one.address, one.xid): one for one in found}
        for key in list(self._logged)[: max(0, len(self._logged) - MOST_WAITING)]:
            del self._logged[key]
        if new:
            self._wake()

    def assign(self, inventory: Inventory) -> None:
        """What was logged goes to its GPU. Of one in MIG mode it is told of all instances: which it meant is not always said."""
        if not self._logged:
            return
        units: dict[Address | None, list[str]] = {}
        for gpu in inventory.gpus:
            units.setdefault(read_address(gpu.pci), []).append(gpu.uuid)
        for key, one in list(self._logged.items()):
            if one.address in units:
                del self._logged[key]
            for uuid in units.get(one.address, ()):
                self._records[uuid] = newest(self._records.get(uuid), one.record)
                self._take_in(uuid, XidReport(one.xid, one.at, one.record))

    def take(self, uuids: Iterable[str]) -> dict[str, Reports]:
        """All that waits for these; every UUID is a key."""
        return {
            uuid: Reports(tuple(self._xids.pop(uuid, {}).values()), self._records.pop(uuid, None))
            for uuid in uuids
        }

    def give_back(self, taken: Mapping[str, Reports]) -> None:
        """They could not be judged: they wait for the next look."""
        for uuid, reports in taken.items():
            self._records[uuid] = newest(self._records.get(uuid), reports.record)
            for report in reports.xids:
                self._put(uuid, report)

    def _take_in(self, uuid: str, report: XidReport) -> bool:
        """False: it is the one that came by the other way."""
        is_logged = report.record is not None
        other_at = self._taken_in.get((uuid, report.xid, not is_logged))
        if other_at is not None and abs(report.at - other_at) <= SAME_SECONDS:
            return False
        if len(self._taken_in) >= MOST_WAITING:
            self._taken_in.clear()
        self._taken_in[uuid, report.xid, is_logged] = report.at
        self._put(uuid, report)
        return True

    def _put(self, uuid: str, report: XidReport) -> None:
        waiting = self._xids.setdefault(uuid, {})
        waiting[report.xid] = merge(waiting.get(report.xid), report)
