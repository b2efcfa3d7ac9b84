"""jobs/starting — the acts that bring one job's container up: create, start, running. Called by the runner, step by step."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

import structlog

from agent.aio import Flag
from agent.core.container import Container, ContainerPlan, Injection, just_created
from agent.core.injection import (
    NOTHING_TO_HAND_OVER,
    Handover,
    blamed_gpus,
    choose_injection,
    near_cpus,
)
from agent.core.job import FailureKind, Job, Run, StartFailure, StartIntent
from agent.core.lease import Lease
from agent.core.ssh_login import NoLogin
from agent.core.state import move
from agent.core.timeout import deadline
from agent.errors import Phase
from agent.interfaces import (
    ChuteFilesMissingError,
    EngineRefusedError,
    EngineUnavailableError,
    JobFolderMissingError,
    NameTakenError,
    QuotaUnavailableError,
    StartFailedError,
)
from agent.interfaces.engine import Trouble
from agent.jobs import quota
from agent.jobs.failing import fail, folder_missing
from agent.jobs.moment import now_of
from agent.jobs.preparing import prepare
from agent.jobs.ssh import look_for_login
from agent.jobs.ssh_kit_missing import SshKitMissingError
from agent.jobs.tools import Tools
from agent.jobs.writing import Known, write
from agent.spec import Network

log = structlog.get_logger()

# For so long after a start whose answer was lost it may still take effect, counted while the engine answers (trace 2).
SETTLE_SECONDS = 3.0
# A name is reserved before its container can be seen: that long a 409 beside a 404 is an earlier create on its way.
CREATE_SECONDS = 60.0
_LOOK_AGAIN_SECONDS = 0.2
# As long as the rules of the network take to be looked at, or put back.
NETWORK_SECONDS = 0.25


@dataclass(slots=True)
class _Memory:
    """What this process knows, and a restart may forget."""

    start_unsettled_at: float | None = None
    name_taken_since: float | None = None
    gpus_passed: bool = False  # the gate, since this process began and the engine last was away


class Starting:
    """One a job. All acts look first, act, and write the fact; each may be cut off anywhere and done again."""

    def __init__(self, tools: Tools, flag: Flag) -> None:
        self._tools = tools
        self._flag = flag
        # An earlier daemon may have sent a start just before it died.
        self._memory = _Memory(start_unsettled_at=_loop_time())

    def settle_seconds(self, job: Job) -> float:
        """How long a start may still be on its way. Without a start intent none was ever sent."""
        if job.run.intent is None or self._memory.start_unsettled_at is None:
            return 0.0
        return max(0.0, self._memory.start_unsettled_at + SETTLE_SECONDS - _loop_time())

    def may_have_started(self, job: Job) -> bool:
        """Whether a start was sent, by us or by an earlier daemon, and no answer to it was seen."""
        return job.run.intent is not None and self._memory.start_unsettled_at is not None

    def note_no_answer(self) -> None:
        """The engine did not answer: what was on its way may take effect once it does."""
        self._memory.gpus_passed = False
        if self._memory.start_unsettled_at is not None:
            self._memory.start_unsettled_at = _loop_time()

    def forget(self) -> None:
        """The attempt is closed."""
        self._memory = _Memory()

    async def create(self, job: Job) -> Known | None:
        """The row and the new container. None: it failed, or the next look must tell."""
        facts = self._tools.witness.facts or await self._tools.engine.facts()
        if not facts.seccomp:
            message = f"engine {facts.version} has no seccomp, and no job is started on one without"
            await fail(self._tools, job, StartFailure(FailureKind.ENGINE, "no_seccomp", message))
            return None
        if job.spec.ssh is not None and facts.userns:
            # In there root of the host, whose the kit and the keys are, is nobody: the server would take none of them.
            message = "the host's engine maps users (userns-remap), and SSH does not work with that"
            await fail(
                self._tools, job, StartFailure(FailureKind.SSH_USERNS, "ssh_unsupported_host", message)
            )
            return None
        if not await self._gpus_pass(job):
            return None
        handover = await self._choose_handover(job.lease or Lease())
        if isinstance(handover, StartFailure):
            await self._fail_start(job, handover)
            return None
        try:
            planned, secrets = await prepare(self._tools, job, handover)
        except JobFolderMissingError as error:
            await fail(self._tools, job, folder_missing(error))
            return None
        except ChuteFilesMissingError as error:
            await fail(self._tools, job, StartFailure(FailureKind.CHUTE, error.code, str(error)))
            return None
        except SshKitMissingError as error:
            await fail(self._tools, job, StartFailure(FailureKind.SSH_KIT, error.code, str(error)))
            return None
        except (QuotaUnavailableError, NameTakenError, EngineRefusedError) as error:
            # Whatever it is: the job holds its lease, and nothing is waited for with it.
            await fail(self._tools, job, quota.volume_failed(error))
            return None
        # The hash is in the row before each create: a container with another one is of an earlier lease.
        job = await write(self._tools, replace(job, run=replace(job.run, plan=planned.digest)))
        log.debug("container.planned", plan=planned.digest[:12])
        return await self._create(job, planned, secrets)

    async def _gpus_pass(self, job: Job) -> bool:
        """Whether the leased GPUs are clean and well. If not, the row says so."""
        unclean = await self._tools.gpu_care.unclean(job.lease.gpus) if job.lease and job.lease.gpus else ()
        self._memory.gpus_passed = not unclean
        if unclean:
            for uuid in unclean:
                self._tools.bad_gpus.mark(uuid)
            message = f"not clean, or not well: {', '.join(unclean)}"
            await fail(self._tools, job, StartFailure(FailureKind.GATE, "gpu_not_clean", message))
        return not unclean

    async def _choose_handover(self, lease: Lease) -> Handover | StartFailure:
        if not lease.gpus:
            return NOTHING_TO_HAND_OVER
        chosen = await self._choose_injection(lease)
        if isinstance(chosen, StartFailure):
            return chosen
        policy = self._tools.policy
        nodes = [gpu.numa_node for gpu in self._tools.gpu_care.inventory.gpus if gpu.uuid in lease.gpus]
        return Handover(chosen, near_cpus(nodes, policy.node_cpus))

    async def _choose_injection(self, lease: Lease) -> Injection | StartFailure:
        """The engine is asked for all that it is (which takes it longer than a lease may) only where the specs do not do."""
        policy, engine, known = self._tools.policy, self._tools.engine, self._tools.witness.facts
        if known is not None and known.cdi_dirs:
            facts = await engine.renew_specs(known)
            chosen = choose_injection(policy.injection, facts, policy.runtime, lease.gpus)
            if chosen is Injection.CDI:
                return chosen
        return choose_injection(policy.injection, await engine.facts(), policy.runtime, lease.gpus)

    async def _create(self, job: Job, planned: ContainerPlan, secrets: Mapping[str, str]) -> Known | None:
        try:
            if planned.bridge is not None:
                # A stranger may have removed it since.
                await self._tools.engine.ensure_bridge(planned.bridge, self._tools.policy.subnet6)
            container = await self._tools.engine.create(planned, secrets)
        except NameTakenError as error:
            await self._wait_for_the_name(job, str(error))
        except StartFailedError as error:
            await self._fail_start(job, _as_at_create(error.failure))
        except EngineRefusedError as error:
            await fail(self._tools, job, StartFailure(FailureKind.ENGINE, error.code, str(error)))
        else:
            self._memory.start_unsettled_at = None  # new: no start of it was ever sent
            return Known(job, just_created(container, planned))
        return None

    async def _wait_for_the_name(self, job: Job, message: str) -> None:
        """An earlier create of ours is on its way, or a stranger has the name: the next look tells."""
        since = self._memory.name_taken_since or _loop_time()
        self._memory.name_taken_since = since
        if _loop_time() - since > CREATE_SECONDS:
            await fail(self._tools, job, StartFailure(FailureKind.NAME, "name_taken", message))
        else:
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def intend(self, job: Job, container: Container) -> Run | None:
        """What to write before the start. None: it can't be started, and the row says why."""
        clock = self._tools.clock
        user = job.run.ssh_user
        if job.spec.ssh is not None and user is None:
            # Now or never: from here on the container may be started at any time.
            try:
                login = await look_for_login(self._tools.engine, container.id)
            except EngineRefusedError as error:  # the job holds its lease, and no image is waited for with it
                await fail(self._tools, job, StartFailure(FailureKind.ENGINE, error.code, str(error)))
                return None
            if isinstance(login, NoLogin):
                await fail(
                    self._tools, job, StartFailure(FailureKind.SSH_IMAGE, "ssh_unsupported_image", login.why)
                )
                return None
            user = login.user
        return replace(
            job.run,
            intent=StartIntent(container.id, clock.boot_id, clock.boot_seconds()),
            live_restore=self._tools.witness.has_live_restore,
            ssh_user=user,
        )

    async def start(self, job: Job, container: Container) -> bool:
        """Whether the engine has started it. If not, the row says why, or it has to wait."""
        if job.spec.network is Network.EGRESS and (closed := self._tools.network.closed) is not None:
            # It was open at the grant, or an earlier daemon made that.
            log.debug("start.waits_for_network", why=closed.message)
            await self._flag.wait(NETWORK_SECONDS)
            return False
        # It may have been created long ago, by an earlier daemon or before the engine went away.
        if not self._memory.gpus_passed and not await self._gpus_pass(job):
            return False
        if job.spec.disk is not None and (moved := await quota.find_move(self._tools, job)) is not None:
            await fail(self._tools, job, moved)
            return False
        try:
            # Before the start: what the launcher does first is to connect.
            await self._tools.functions.open(job)
        except JobFolderMissingError as error:
            await fail(self._tools, job, folder_missing(error))
            return False
        before, self._memory.start_unsettled_at = self._memory.start_unsettled_at, _loop_time()
        try:
            await self._tools.engine.start(container.id)
        except EngineUnavailableError as error:
            if error.trouble is Trouble.DOWN:  # it was not even sent
                self._memory.start_unsettled_at = before
            raise
        except StartFailedError as error:
            self._memory.start_unsettled_at = None
            await self._fail_start(job, error.failure)
            return False
        self._memory.start_unsettled_at = None
        return True

    async def _fail_start(self, job: Job, failure: StartFailure) -> None:
        """What of the lease did not work is left alone for a while, so that the next lease has others."""
        lease = job.lease or Lease()
        if failure.kind is FailureKind.PORT:
            held = [port.host_port for port in lease.ports]
            # The engine's words may be a job's: no port is marked that was not its own.
            for port in [failure.host_port] if failure.host_port in held else held:
                self._tools.bad_ports.mark(port)
        if failure.kind is FailureKind.GPU:
            for uuid in blamed_gpus(lease.gpus, failure.message):
                self._tools.bad_gpus.mark(uuid)
        await fail(self._tools, job, failure)

    async def begin_running(self, job: Job, container: Container) -> Job:
        now = now_of(self._tools.clock)
        started_at = container.started_at or now.wall
        intent = job.run.intent or StartIntent(container.id, now.boot.boot_id)
        until = deadline(job, intent, started_at, now)
        user = job.run.ssh_user
        if job.spec.ssh is not None and user is None:  # a row that a repair made of the container
            user = await self._find_user(container.id)
        run = replace(job.run, intent=intent, started_at=started_at, deadline=until, ssh_user=user)
        return await write(self._tools, *move(job, Phase.RUNNING, run=run, started_at=started_at))

    async def _find_user(self, container: str) -> str | None:
        """Of one that runs, and may make of its own files what it likes: that it is running is written all the same."""
        try:
            login = await look_for_login(self._tools.engine, container)
        except EngineRefusedError as error:
            log.info("ssh.user_unknown", error=str(error))
            return None
        return None if isinstance(login, NoLogin) else login.user


def _as_at_create(failure: StartFailure) -> StartFailure:
    """The image was there when the lease was granted: that it is gone is not its author's fault."""
    return replace(failure, code="image_gone") if failure.kind is FailureKind.IMAGE else failure


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
