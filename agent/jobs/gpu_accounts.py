"""jobs/gpu_accounts — the accounts of all GPUs that jobs use now: sampled each five seconds, kept twice a minute. Sums nothing itself.

Who holds none costs nothing: without a job on a GPU it waits for one. What is kept is one line of the database for all of
them, written each half minute: a SIGKILL loses the peaks and the utilisation since, and no energy, since the counter goes on.
"""

import asyncio
from collections.abc import Mapping

import structlog

from agent.aio import Flag
from agent.core.gpu_account import GpuAccount, dump_accounts, fold, is_late, load_accounts, opened
from agent.core.gpu_usage import GpuUsage
from agent.core.job import Job
from agent.interfaces import Clock, Store, StoreUnavailableError
from agent.jobs.gpu_samples import GpuReading, GpuSamples

log = structlog.get_logger()

META_KEY = "gpu_accounts"
SAMPLE_SECONDS = 5.0
KEEP_SECONDS = 30.0
# A driver that hangs may cost the last sample, and must not keep a job from its end.
LAST_SECONDS = 2.0


class GpuAccounts:
    """Standing task `watch`. A job's task says which container holds GPUs, and asks for the sums at its end."""

    def __init__(self, samples: GpuSamples, store: Store, clock: Clock) -> None:
        self._samples = samples
        self._store = store
        self._clock = clock
        self._flag = Flag()
        self._held: dict[str, tuple[str, ...]] = {}
        self._accounts: dict[str, GpuAccount] | None = None
        self._kept_at = float("-inf")

    def hold(self, job: Job) -> None:
        """Its container was seen to run: from now on, until `finish`, what its GPUs do is the job's."""
        if job.container in self._held or job.run.started_at is None:
            return
        if job.container is not None and job.lease is not None and job.lease.gpus:
            self._held[job.container] = job.lease.gpus
            self._flag.set()

    async def watch(self) -> None:
        while True:
            self._flag.clear()
            try:
                await self._look()
            except StoreUnavailableError as error:
                log.warning("state.unavailable", code=error.code, error=str(error))
            await self._flag.wait(SAMPLE_SECONDS if self._held else None)

    async def usage(self, job: Job, reading: GpuReading) -> GpuUsage | None:
        """What it used so far, with a reading that somebody has taken. Raises StoreUnavailableError."""
        accounts = await self._known()
        account = accounts.get(job.container or "")
        if account is not None and account.container in self._held:
            account = accounts[account.container] = fold(account, reading.at, reading.samples)
        return None if account is None else account.usage

    async def finish(self, job: Job) -> GpuUsage | None:
        """Once its container has ended and before its GPUs are free: what it used. May be asked again until `forget`.

        None: it held none, or ended before anything was seen. Raises StoreUnavailableError.
        """
        if job.container is None or job.lease is None or not job.lease.gpus:
            return None
        accounts = await self._known()
        self._held.pop(job.container, None)
        account = accounts.get(job.container)
        if account is None:
            return None
        ended_at = None if job.run.exit is None else job.run.exit.finished_at
        # A daemon that was away at the end must not count what an idle GPU took until it came back.
        if account.boot_id == self._clock.boot_id and not is_late(self._clock.now(), ended_at):
            account = accounts[job.container] = await self._with_last(account, job.lease.gpus)
        return account.usage

    def forget(self, container: str) -> None:
        """What it used is in the row of its job."""
        if self._accounts is not None:
            self._accounts.pop(container, None)

    async def _with_last(self, account: GpuAccount, uuids: tuple[str, ...]) -> GpuAccount:
        try:
            async with asyncio.timeout(LAST_SECONDS):
                reading = await self._samples.take_now(uuids)
        except TimeoutError:
            log.warning("gpus.last_sample_missed", container=account.container)
            return account
        return fold(account, reading.at, reading.samples)

    async def _look(self) -> None:
        accounts = await self._known()
        held = dict(self._held)
        if not held:
            return
        new = held.keys() - accounts.keys()
        # One that begins has nothing to do with a reading that is older than its container.
        take = self._samples.take_now if new else self._samples.take
        reading = await take([uuid for uuids in held.values() for uuid in uuids])
        for container in held.keys() & self._held.keys():  # one may have finished meanwhile
            account = accounts.get(container) or opened(container, self._clock.boot_id, held[container])
            accounts[container] = fold(account, reading.at, reading.samples)
        if new or asyncio.get_running_loop().time() >= self._kept_at + KEEP_SECONDS:
            await self._keep(accounts)

    async def _keep(self, accounts: Mapping[str, GpuAccount]) -> None:
        await self._store.set_meta(META_KEY, dump_accounts(accounts))
        self._kept_at = asyncio.get_running_loop().time()

    async def _known(self) -> dict[str, GpuAccount]:
        """At first: what an earlier daemon kept of containers that are not freed yet."""
        if self._accounts is None:
            kept = _read(await self._store.meta(META_KEY))
            containers = {job.container for job in await self._store.unfinished()}
            if self._accounts is None:  # else somebody was faster
                self._accounts = {key: kept[key] for key in kept.keys() & containers}
        return self._accounts


def _read(text: str | None) -> dict[str, GpuAccount]:
    try:
        return load_accounts(text or "[]")
    except ValueError as error:
        log.warning("gpus.accounts_damaged", error=str(error))
        return {}
