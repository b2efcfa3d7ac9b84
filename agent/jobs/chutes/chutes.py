"""jobs/chutes/chutes — chutes as everyone asks for them: deploy, wait, list, start a function by name, remove. Runs nothing itself."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import structlog

from agent.core.chute import Version, VersionState
from agent.core.function import FunctionCall
from agent.core.job import Job, Kind, Viewer
from agent.interfaces import (
    Accepted,
    ChuteFolders,
    ChuteInUseError,
    Deployed,
    NoSuchChuteError,
    Receiving,
    Store,
    StoreUnavailableError,
    Unpacked,
)
from agent.interfaces.chutes import CallSpec, ChildSpec
from agent.jobs.bell import wait_for_ring
from agent.jobs.chutes.describing import Describing
from agent.jobs.chutes.judging import find_door_faults
from agent.jobs.chutes.starts import read_start, say_where
from agent.jobs.intake import Intake, Submission, digest_of
from agent.spec import (
    Deploy,
    DeployRefusedError,
    Fault,
    JobFunction,
    SpecRefusedError,
    compose,
    dump_deploy,
    find_payload_fault,
    load_deploy,
    masked_defaults,
    nearest,
    parse_spec,
    read_deploy,
)

log = structlog.get_logger(__name__)

# A missed ring (there is none, but a wait has a deadline) costs a waiting client this much.
LOOK_AGAIN_SECONDS = 5.0
Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class Chutes:
    """`new_id` makes a fresh UUID. A start is for the chute's own owner alone: what it makes is a job of his.

    `close_cords` stops what answers the chute's cords, where nobody calls them.
    """

    intake: Intake
    folders: ChuteFolders
    describing: Describing
    new_id: Callable[[], str]
    close_cords: Callable[[Version], Awaitable[None]]
    _turns: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary, init=False)
    _starting: Counter[Key] = field(default_factory=Counter, init=False)
    _closing: set[Key] = field(default_factory=set, init=False)

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

    async def find(self, viewer: Viewer, name: str) -> Version:
        """The chute's current version. Raises NoSuchChuteError, StoreUnavailableError."""
        chute = await self.store.chute(name, viewer)
        if chute is None:
            known = tuple(str(other.chute) for other in await self.store.chutes(viewer))
            raise NoSuchChuteError(f"there is no chute {name[:64]!a}{nearest(name, known)}")
        return chute

    async def start(
        self, viewer: Viewer, name: str, function: str, body: object, key: str | None
    ) -> Accepted:
        """Accept a job that calls the function. `body`: `{"payload": …, "spec": {…}}`, decoded JSON, maybe hostile.

        What a key has made is found whatever has become of the chute since. Raises NoSuchChuteError, and as `Intake.accept` does.
        """
        earlier = (
            None if key is None else await self._find_earlier(viewer.principal, name, function, body, key)
        )
        if earlier is not None:
            return Accepted(earlier, is_replay=True)
        chute = await self.find(Viewer(viewer.principal), name)
        with self.using(chute):
            declared = find_function(chute, function)
            payload, spec = read_start(body)
            mismatch = find_payload_fault(declared, payload)
            if mismatch is not None:
                raise SpecRefusedError([mismatch])
            call = call_of(chute, declared)
            asked = Submission(
                await self.compose(chute, declared, spec),
                Kind.FUNCTION,
                call,
                json.dumps(payload).encode(),
                key=key,
                digest=_digest_of_start(name, function, payload, spec),
            )
            try:
                return await self.intake.accept(viewer.principal, asked)
            except SpecRefusedError as refused:
                raise SpecRefusedError(say_where(fault, spec) for fault in refused.faults) from None

    async def _find_earlier(self, owner: str, name: str, function: str, body: object, key: str) -> Job | None:
        digest = _digest_of_start(name, function, *read_start(body))
        return await self.store.accepted_before(owner, key, digest)

    @contextmanager
    def using(self, chute: Version) -> Iterator[None]:
        """While the block runs the chute is not removed. Raises NoSuchChuteError: it is being removed already."""
        key = _key(chute)
        if key in self._closing:
            raise NoSuchChuteError(f"the chute {chute.chute} is being removed")
        self._starting[key] += 1
        try:
            yield
        finally:
            self._starting[key] -= 1
            if not self._starting[key]:
                del self._starting[key]

    async def compose_child(self, owner: str, version: str, function: str) -> ChildSpec | None:
        """As interfaces.Chutes promises it."""
        found = await self.store.version(version, Viewer(owner))
        declared = None if found is None or found.manifest is None else found.manifest.find_job(function)
        if found is None or declared is None:
            return None
        return ChildSpec(await self.compose(found, declared, {}), found.entry.file, found.entry.attribute)

    async def compose_call(self, owner: str, chute: str, function: str) -> CallSpec:
        """As interfaces.ScheduledFunctions promises it."""
        found = await self.find(Viewer(owner), chute)
        declared = find_function(found, function)
        body = await self.compose(found, declared, {})
        return CallSpec(body, call_of(found, declared))

    async def compose(self, version: Version, function: JobFunction, spec: dict[str, object]) -> object:
        """The body of the spec of a job of this function. Raises ChuteFilesMissingError, SpecRefusedError."""
        assert version.manifest is not None  # noqa: S101 - a version that was described has one
        deploy = load_deploy(await self.folders.deploy(version.id))
        selector = version.manifest.chute.node_selector
        models = list[str]()
        if selector is not None and selector.names_models:
            # Who needs none does not wait for a driver that is slow.
            models += [gpu.model for gpu in (await self.intake.usable_gpus()).gpus]
        return compose(deploy, version.manifest, function, spec, models)

    async def remove(self, viewer: Viewer, name: str) -> None:
        """Remove a chute, all its versions and their files. Raises NoSuchChuteError, ChuteInUseError, StoreUnavailableError."""
        chute = await self.find(viewer, name)
        key = _key(chute)
        if self._starting[key]:
            raise ChuteInUseError(name, self._starting[key])
        # A start that is let in now would find its version gone before its job is accepted.
        self._closing.add(key)
        try:
            await self._refuse_running(chute)
            await self.close_cords(chute)
            removed = await self.store.remove_chute(chute)
        finally:
            self._closing.discard(key)
        for version_id in removed:
            await self.folders.remove(version_id)
        log.info("chute.removed", chute=name, owner=chute.owner, versions=len(removed))

    async def _refuse_running(self, chute: Version) -> None:
        """Before anything is stopped for a removal that is then refused. Whoever comes later, the store refuses."""
        owner, name = _key(chute)
        running = [job for job in await self.store.unfinished_of(owner, name) if job.kind is not Kind.CORDS]
        if running:
            raise ChuteInUseError(name, len(running))

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


def call_of(chute: Version, function: JobFunction) -> FunctionCall:
    """Nobody's: a job that somebody starts, or a schedule."""
    return FunctionCall(str(chute.chute), chute.id, function.name, chute.entry.file, chute.entry.attribute)


def find_function(chute: Version, name: str) -> JobFunction:
    """By the name that it is started by. Raises NoSuchChuteError."""
    assert chute.manifest is not None  # noqa: S101 - a version that was described has one
    found = chute.manifest.find_job(name)
    if found is None:
        known = tuple(job.name for job in chute.manifest.jobs)
        told = f"{chute.chute} has no job {name[:64]!a}{nearest(name, known)}"
        raise NoSuchChuteError(told)
    return found


def _digest_of_start(name: str, function: str, payload: object, spec: dict[str, object]) -> str:
    return digest_of({"chute": name, "function": function, "payload": payload, "spec": spec})


def _key(chute: Version) -> Key:
    return chute.owner, str(chute.chute)


def _no_entry(deploy: Deploy, unpacked: Unpacked) -> Fault:
    scripts = tuple(sorted(path for path in unpacked.files if path.endswith(".py")))
    near = nearest(deploy.entry.file, scripts)
    message = f"names {deploy.entry.file}, which is no file of the code{near}"
    return Fault(
        "entry", "entry_not_found", message, "Name the file with the chute, or put it into the archive."
    )
