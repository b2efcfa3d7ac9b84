"""chutes/_runtime/cords/platform — the members of `self` in a cord: as in a job, but that a job it starts is of the call. Counts no calls itself."""

from __future__ import annotations

from typing import Any

from chutes._runtime.cords.calls import current_call
from chutes._runtime.platform import JobPlatform


class CordPlatform(JobPlatform):
    async def _start(self, name: str, payload: Any, key: str | None) -> str:
        call = current_call()
        if call is None:
            return await super()._start(name, payload, key)
        return await self._start_counted(name, payload, key, call.counts, {"cord": call.identity})
