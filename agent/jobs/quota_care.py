"""jobs/quota_care — quota volumes, loop devices and reserved room that no row needs are given back. Never what a container writes to."""

import asyncio

import structlog

from agent.aio import Flag
from agent.core.container import QuotaVolume
from agent.core.reconcile import needs_volume
from agent.core.shortage import is_shortage
from agent.errors import AgentError
from agent.interfaces import Engine, EngineRefusedError, Quotas, QuotaUnavailableError, Store

log = structlog.get_logger()

SWEEP_SECONDS = 30.0
# Who asks for a look comes in crowds, and the engine looks at each of its volumes: one look serves all of so long.
PAUSE_SECONDS = 5.0
# A file system that is damaged stays so, and each try to mount it is told in the kernel's log.
STUCK_SECONDS = 3600.0


class QuotaCare:
    """Standing task `clean`. `look` asks for one look soon: after a close, and after a reconnect to the engine."""

    def __init__(self, engine: Engine, store: Store, quotas: Quotas) -> None:
        self._engine = engine
        self._store = store
        self._quotas = quotas
        self._flag = Flag()
        self._stuck: dict[str, float] = {}
        self._refused: set[str] = set()

    @property
    def stuck(self) -> frozenset[str]:
        """The jobs whose volume could not be removed, or whose quota not released, for /health."""
        return frozenset(self._stuck) | frozenset(self._refused)

    def look(self) -> None:
        self._flag.set()

    async def clean(self) -> None:
        """Give back what is not needed; again when asked, and each 30 s."""
        while True:
            self._flag.clear()
            try:
                await self._clean_once()
            except AgentError as error:
                # The engine or the disk is away: what is left stays as it is until the next look.
                log.info("quota_care.put_off", code=error.code, error=str(error))
            except OSError as error:
                log.warning("quota_care.put_off", error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
            await self._flag.wait(SWEEP_SECONDS)

    async def _clean_once(self) -> None:
        """The engine's volume first, then what it is on: a device that is let go may soon be another job's."""
        in_use = await self._remove_volumes()
        held = await self._quotas.held()
        self._stuck = {job_id: since for job_id, since in self._stuck.items() if job_id in held}
        for job_id in sorted(held - in_use):
            if not needs_volume(await self._store.read(job_id)):
                await self._release(job_id)
            else:
                await self._refill(job_id)
        await self._quotas.rest()

    async def _remove_volumes(self) -> set[str]:
        """The jobs whose volume must not lose its device: its container is on its way out, or the engine refuses to remove it."""
        in_use, refused = set(), set()
        for volume in await self._engine.volumes():
            # The row is read after the list: a volume of a job accepted in between would look unwanted.
            if needs_volume(await self._store.read(volume.job)):
                continue
            try:
                is_gone = await self._engine.remove_volume(volume.name)
            except EngineRefusedError as error:
                # The others must not wait for it: nobody would get their room.
                self._tell_refusal(volume, error)
                refused.add(volume.job)
                continue
            if is_gone:
                log.debug("volume.removed", job=volume.job, device=volume.device)
            else:
                in_use.add(volume.job)
        self._refused = refused
        return in_use | refused

    def _tell_refusal(self, volume: QuotaVolume, error: EngineRefusedError) -> None:
        tell = log.debug if volume.job in self._refused else log.warning
        tell("volume.not_removed", job=volume.job, code=error.code, error=str(error))

    async def _refill(self, job_id: str) -> None:
        try:
            is_full = await self._quotas.refill(job_id)
        except OSError as error:
            log.warning("disk.not_refilled", job=job_id, error=str(error))
            return
        if not is_full:
            log.warning("disk.not_refilled", job=job_id)

    async def _release(self, job_id: str) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._stuck.get(job_id, -STUCK_SECONDS) < STUCK_SECONDS:
            return
        try:
            await self._quotas.release(job_id)
        except (QuotaUnavailableError, OSError) as error:
            # One that can't be mounted, or read, keeps its room until it is forgotten; the others must not wait for it.
            log.warning("disk.not_released", job=job_id, error=str(error))
            if not is_shortage(error):
                self._stuck[job_id] = now
        else:
            log.debug("disk.released", job=job_id)
