"""adapters/nvml/xids — a thread that waits for XID events and tells of them, at most ten times a second. Judges none."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pynvml

from agent.adapters.nvml.driver import Driver, Failure, ask

# A GPU may report thousands a second; equal ones are counted, so that neither pipe nor memory grows.
_TELL_SECONDS = 0.1
_WAIT_SECONDS = 5.0
_PAUSE_SECONDS = 1.0
_NO_INSTANCE = 0xFFFFFFFF


class Xids:
    def __init__(self, tell: Callable[[dict[str, object]], None]) -> None:
        self._tell = tell
        self._set: Any = None
        self._uuids: dict[int, str] = {}

    def watch(self, driver: Driver) -> dict[str, object]:
        """Watch all GPUs that let themselves be watched. Again: those that were not yet."""
        faults: dict[str, str] = {}
        try:
            self._start()
        except Failure as failure:
            # Some drivers have no events at all: the kernel's log has to do.
            return {"watched": [], "faults": {"events": failure.code}}
        for index in range(driver.count()):
            try:
                self._watch_one(driver.gpu(index))
            except Failure as failure:
                faults[str(index)] = failure.code
        return {"watched": sorted(set(self._uuids.values())), "faults": faults}

    def _start(self) -> None:
        if self._set is None:
            self._set = ask(pynvml.nvmlEventSetCreate)
            threading.Thread(target=self._loop, name="xids", daemon=True).start()

    def _watch_one(self, gpu: Any) -> None:  # noqa: ANN401 - a handle
        uuid = ask(pynvml.nvmlDeviceGetUUID, gpu)
        if uuid in self._uuids.values():
            return
        # An event names a handle, and a GPU that fell off the bus no longer tells its UUID: remember it now.
        self._uuids[_address(gpu)] = uuid
        try:
            ask(pynvml.nvmlDeviceRegisterEvents, gpu, pynvml.nvmlEventTypeXidCriticalError, self._set)
        except Failure:
            del self._uuids[_address(gpu)]
            raise

    def _loop(self) -> None:
        seen: Counter[tuple[str, int, int | None]] = Counter()
        told_at = -_TELL_SECONDS
        while True:
            due_seconds = told_at + _TELL_SECONDS - time.monotonic()
            if seen and due_seconds <= 0:
                self._tell_all(seen)
                seen.clear()
                told_at = time.monotonic()
            event = self._wait(max(due_seconds, 0.001) if seen else _WAIT_SECONDS)
            if event is not None:
                seen[event] += 1

    def _wait(self, seconds: float) -> tuple[str, int, int | None] | None:
        try:
            event = ask(pynvml.nvmlEventSetWait_v2, self._set, int(seconds * 1000) + 1)
        except Failure as failure:
            if failure.code != "timeout":
                # A lost GPU makes each wait fail at once.
                self._tell({"event": "xids_failed", "code": failure.code})
                time.sleep(_PAUSE_SECONDS)
            return None
        instance = None if event.gpuInstanceId == _NO_INSTANCE else event.gpuInstanceId
        return self._uuids.get(_address(event.device), ""), event.eventData, instance

    def _tell_all(self, seen: Counter[tuple[str, int, int | None]]) -> None:
        for (uuid, xid, instance), times in seen.items():
            self._tell({"event": "xid", "uuid": uuid, "xid": xid, "instance": instance, "times": times})


def _address(handle: Any) -> int:  # noqa: ANN401 - a handle
    return int(pynvml.cast(handle, pynvml.c_void_p).value or 0)
