"""jobs/chutes/deploys — a deploy as its client sends it: taken in, kept, waited for. What it declares is `describing`'s to find out."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from agent.core.chute import Version, VersionState
from agent.core.job import Viewer
from agent.interfaces import (
    ChuteFolders,
    Deployed,
    NoSuchChuteError,
    Receiving,
    Store,
    StoreUnavailableError,
    Unpacked,
)
from agent.jobs.bell import wait_for_ring
from agent.jobs.chutes.describing import Describing
from agent.jobs.chutes.judging import find_door_faults
from agent.jobs.intake import Intake, digest_of
from agent.spec import (
    Deploy,
    DeployRefusedError,
    Fault,
    dump_deploy,
    masked_defaults,
    nearest,
    parse_spec,
    read_deploy,
)

log = structlog.get_logger(__name__)

# A missed ring (there is none, but a wait has a deadline) costs a waiting client this much.
LOOK_AGAIN_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class Deploys:
    """`new_id` makes a fresh UUID."""

    intake: Intake
    folders: ChuteFolders
    describing: Describing
    new_id: Callable[[], str]
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary, init=False)

    @property
    def store(self) -> Store:
        """Where the rows are."""
        return self.intake.store

    async def receive(self) -> Receiving:
        """Where a deploy's archive goes as it arrives. Close it. Raises StateFullError, StateReadOnlyError."""
        return await self.folders.receive()

    async def deploy(self, viewer: Viewer, body: object, received: Receiving) -> Deployed:
        """Keep a deploy; when this returns, it is on disk, and is being described or was before. `body`: decoded JSON, maybe hostile.

        Raises DeployRefusedError with all that is wrong with the request and with the archive, TooManyDeploysError, TooMuchCodeError, StateFullError,
        StateReadOnlyError, StoreUnavailableError; nothing of it is left then.
        """
        version_id = self.new_id()
        self.describing.arriving.add(version_id)
        # One after the other of the same owner, so that who sends many keeps no others waiting.
        turn = self._turns.setdefault(viewer.principal, asyncio.Lock())
        try:
            async with turn:
                deployed = await self._keep(viewer, version_id, body, received)
        finally:
            self.describing.arriving.discard(version_id)
            # Also where the client has left: its row may be there all the same.
            self.describing.look()
        return deployed

    async def wait(self, viewer: Viewer, version_id: str, seconds: float) -> Version:
        """The version, as soon as it is settled, or as it then is. Raises NoSuchChuteError, StoreUnavailableError."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            ring = self.describing.settled.listen()
            version = await self.store.version(version_id, viewer)
            if version is None:
                raise NoSuchChuteError(f"there is no version {version_id[:64]!a}")
            left = deadline - loop.time()
            if version.state is not VersionState.DESCRIBING or left <= 0:
                return version
            await wait_for_ring(ring, min(left, LOOK_AGAIN_SECONDS))

    async def _keep(self, viewer: Viewer, version_id: str, body: object, received: Receiving) -> Deployed:
        try:
            deploy, unpacked = await self._unpack(version_id, body, received)
            deployed = await self.store.add_version(self._first_row(viewer, version_id, deploy, unpacked))
        except BaseException:
            await self._remove_unless_rowed(version_id, viewer)
            raise
        if deployed.is_replay:
            await self.folders.remove(version_id)
        else:
            log.info("deploy.accepted", version=version_id, owner=viewer.principal, image=deploy.image)
        return deployed

    async def _unpack(self, version_id: str, body: object, received: Receiving) -> tuple[Deploy, Unpacked]:
        """Both are looked at before either is refused."""
        faults: list[Fault] = []
        deploy = unpacked = None
        try:
            deploy = read_deploy(body)
            faults += find_door_faults(deploy, parse_spec(deploy.base), self.intake.current.policy)
        except DeployRefusedError as refused:
            faults += refused.faults
        try:
            text = "" if deploy is None else dump_deploy(deploy)
            unpacked = await self.folders.unpack(received, version_id, text)
        except DeployRefusedError as refused:
            faults += refused.faults
        if deploy is not None and unpacked is not None and deploy.entry.file not in unpacked.files:
            faults.append(_no_entry(deploy, unpacked))
        if faults or deploy is None or unpacked is None:
            raise DeployRefusedError(faults)
        return deploy, unpacked

    def _first_row(self, viewer: Viewer, version_id: str, deploy: Deploy, unpacked: Unpacked) -> Version:
        return Version(
            id=version_id,
            owner=viewer.principal,
            digest=digest_of([dump_deploy(deploy), unpacked.digest]),
            image=deploy.image,
            entry=deploy.entry,
            created_at=self.intake.clock.now(),
            defaults=masked_defaults(deploy),
            size_bytes=unpacked.size_bytes,
            catch_up=deploy.catch_up,
        )

    async def _remove_unless_rowed(self, version_id: str, viewer: Viewer) -> None:
        # A write that failed may have been done all the same (its answer was lost): then the folder is that row's.
        try:
            if await self.store.version(version_id, viewer) is None:
                await self.folders.remove(version_id)
        except StoreUnavailableError:
            log.warning("folder.left_to_the_sweep", version=version_id)


def _no_entry(deploy: Deploy, unpacked: Unpacked) -> Fault:
    scripts = tuple(sorted(path for path in unpacked.files if path.endswith(".py")))
    near = nearest(deploy.entry.file, scripts)
    message = f"names {deploy.entry.file}, which is no file of the code{near}"
    return Fault(
        "entry", "entry_not_found", message, "Name the file with the chute, or put it into the archive."
    )
