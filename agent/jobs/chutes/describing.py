"""jobs/chutes/describing — from an upload to a chute that can be used: the describe job is sent, awaited, read. Never imports a user's file.

Each step looks first whether it is done: a version that is describing gets its one job, whose id is made of the version's; a job that has
ended is read, and the version is settled in one transaction. So a start of the daemon is a look as any other.
"""

import asyncio
from collections.abc import Callable

import structlog

from agent.aio import Apart, Flag
from agent.core.chute import Described, Version, VersionState
from agent.core.function import FunctionCall
from agent.core.job import Job, Kind, Outcome
from agent.core.shortage import is_shortage
from agent.errors import AgentError
from agent.interfaces import ChuteFilesMissingError, ChuteFolders
from agent.jobs.bell import Bell
from agent.jobs.chutes.judging import judge, place_reason, refused_by
from agent.jobs.intake import Intake, Submission
from agent.spec import MAX_MANIFEST_BYTES, Fault, SpecRefusedError, compose_describe, load_deploy

log = structlog.get_logger(__name__)

# Whoever writes events pokes, and there may be many: one look serves all of a while.
PAUSE_SECONDS = 0.05
LOOK_AGAIN_SECONDS = 5.0
# How many jobs of others' versions end is nobody's concern here: versions that nobody needs any more are let go at some time.
IDLE_SECONDS = 600.0
BROKEN = Fault(
    "code",
    "internal_error",
    "what its file declares could not be read; this is a defect of the agent's own",
    "The agent's log has the traceback; report it with that.",
)
TOO_LARGE = Fault(
    "manifest",
    "manifest_invalid",
    f"has more than {MAX_MANIFEST_BYTES} bytes",
    "Let the file declare less: fewer functions, or shorter texts.",
)


class Describing:
    """Standing task `watch`. `arriving`: versions whose folders are being made, and have no row yet."""

    def __init__(
        self, folders: ChuteFolders, intake: Intake, note_deployed: Callable[[Version], None]
    ) -> None:
        # Each is told of every version that becomes its chute's current one: its cords and its schedules may be others now.
        self.on_deployed: list[Callable[[Version], None]] = [note_deployed]
        self.arriving: set[str] = set()
        self.settled = Bell()
        self._store = intake.store
        self._folders = folders
        self._intake = intake
        self._flag = Flag()
        self._is_waiting = True
        # A manifest may take a while to be judged, and the loop is everybody's.
        self._apart = Apart("judge a manifest", 1)
        self._store.on_events(self._heed)

    def look(self) -> None:
        """A version was added."""
        self._flag.set()

    def _heed(self) -> None:
        """Something happened to some job."""
        if self._is_waiting:
            self._flag.set()

    async def watch(self) -> None:
        """Take every describing version a step further, when something happened, and each 5 s; where there is none, tidy up now and then."""
        while True:
            self._flag.clear()
            seconds = LOOK_AGAIN_SECONDS
            try:
                if not await self.take_all_further():
                    await self._tidy_up()
                    seconds = IDLE_SECONDS
            except AgentError as error:
                log.info("describe.put_off", code=error.code, error=str(error))
            except OSError as error:
                log.warning("describe.put_off", error=str(error))
            await asyncio.sleep(PAUSE_SECONDS)
            await self._flag.wait(seconds)

    async def take_all_further(self) -> bool:
        """Whether some are left. Raises StoreUnavailableError, and what a full disk raises."""
        left = False
        for version in await self._store.describing():
            try:
                left = not await self._take_further(version) or left
            except AgentError:
                raise
            except Exception as error:
                if is_shortage(error):
                    raise
                # What a hostile container reported, or a damaged folder, ends its own deploy, and neither the daemon nor other deploys.
                log.exception("describe.broke", version=version.id)
                await self._settle(version, Described(None, (BROKEN,)))
        self._is_waiting = left
        return left

    async def _tidy_up(self) -> None:
        """Let go of versions that nobody needs any more, and of what an upload that broke off has left."""
        for version_id in await self._store.drop_stale_versions():
            log.info("version.let_go", version=version_id)
        # In this order: a deploy that arrives meanwhile is in the second or the third, if it is in the first.
        names = await self._folders.names()
        arriving = set(self.arriving)
        for name in await self._folders.sweep(names, await self._store.version_ids() | arriving):
            log.info("folder.swept", folder=name)

    async def _take_further(self, version: Version) -> bool:
        """Whether it is settled now."""
        job = await self._store.read(version.describe_job)
        if job is None:
            return await self._send(version)
        if job.outcome is None:
            return False
        await self._settle(version, await self._read(version, job))
        return True

    async def _send(self, version: Version) -> bool:
        call = FunctionCall("", version.id, None, version.entry.file, version.entry.attribute)
        try:
            deploy = load_deploy(await self._folders.deploy(version.id))
            asked = Submission(
                compose_describe(deploy),
                Kind.DESCRIBE,
                call,
                b"null",
                version.describe_job,
                digest=version.digest,
            )
            await self._intake.accept(version.owner, asked)
        except (SpecRefusedError, ChuteFilesMissingError) as error:
            # The host's limits, or its disk, are not what they were as the deploy came in.
            await self._settle(version, refused_by(error))
            return True
        except AgentError as error:
            log.info("describe.put_off", version=version.id, code=error.code, error=str(error))
        return False

    async def _read(self, version: Version, job: Job) -> Described:
        if job.outcome is not Outcome.SUCCEEDED:
            return Described(None, (place_reason(job.reason, job.id),))
        stored = await self._intake.folders.report(job.id, job.attempt, MAX_MANIFEST_BYTES)
        if stored is None:
            return Described(None, (place_reason(None, job.id),))
        data = stored.result
        if data is None:
            return Described(None, (TOO_LARGE,))
        try:
            deploy = load_deploy(await self._folders.deploy(version.id))
            policy = self._intake.current.policy
            return await self._apart.run(lambda: judge(data, deploy, policy))
        except (SpecRefusedError, ChuteFilesMissingError) as error:
            return refused_by(error)

    async def _settle(self, version: Version, described: Described) -> None:
        settled = await self._store.settle_version(version.id, described)
        try:
            if settled is not None and settled.state is VersionState.REFUSED:
                log.info(
                    "deploy.refused", version=version.id, owner=version.owner, faults=len(settled.faults)
                )
                await self._folders.remove(version.id)
            elif settled is not None:
                for note in self.on_deployed:
                    note(settled)
                log.info("chute.deployed", version=version.id, owner=version.owner, chute=settled.chute)
        finally:
            # Whoever waits is answered by the row, whatever becomes of the files.
            self.settled.ring()
