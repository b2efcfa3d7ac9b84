"""jobs/chutes/chutes — chutes as everyone asks for them: found, a function started by name, removed. Runs nothing itself; `deploys` makes them."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from agent.core.chute import Version
from agent.core.function import FunctionCall
from agent.core.job import Job, Kind, Viewer
from agent.interfaces import (
    Accepted,
    ChuteFolders,
    ChuteInUseError,
    NoSuchChuteError,
    Store,
)
from agent.interfaces.chutes import CallSpec, ChildSpec
from agent.jobs.chutes.starts import read_start, say_where
from agent.jobs.intake import Intake, Submission, digest_of
from agent.spec import (
    JobFunction,
    SpecRefusedError,
    compose,
    find_payload_fault,
    load_deploy,
    nearest,
)

log = structlog.get_logger(__name__)

Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class Chutes:
    """A start is for the chute's own owner alone: what it makes is a job of his.

    `close_cords` stops what answers the chute's cords, where nobody calls them.
    """

    intake: Intake
    folders: ChuteFolders
    close_cords: Callable[[Version], Awaitable[None]]
    _starting: Counter[Key] = field(default_factory=Counter, init=False)
    _closing: set[Key] = field(default_factory=set, init=False)

    @property
    def store(self) -> Store:
        """Where the rows are."""
        return self.intake.store

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
