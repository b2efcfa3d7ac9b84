"""jobs/ssh/servers — which jobs have an SSH server in this daemon's care, and in what state each is. Starts one a container."""

import asyncio
from dataclasses import dataclass

import structlog

from agent.aio import spawn
from agent.core.job import Job
from agent.core.ssh import SshState, state_of
from agent.errors import AgentError
from agent.interfaces import Clock, Engine, Folders, Store
from agent.jobs.ssh.key_files import KeyFiles
from agent.jobs.ssh.server import Server, Tools

log = structlog.get_logger()


@dataclass(slots=True)
class _Care:
    job_id: str
    server: Server
    task: asyncio.Task[None]


class SshServers:
    """`use` first. A job's task says which container runs, and when it is over; a restart of the daemon says so anew."""

    def __init__(self, engine: Engine, store: Store, folders: Folders, clock: Clock) -> None:
        self._files = KeyFiles(store, folders, clock)
        self._tools = Tools(engine, store, self._files)
        self._group: asyncio.TaskGroup | None = None
        self._care: dict[str, _Care] = {}  # by container

    def use(self, group: asyncio.TaskGroup) -> None:
        self._group = group

    def hold(self, job: Job) -> None:
        """Its container was seen to run: it has a server from now on. As often as one likes."""
        container = job.container
        if job.spec.ssh is None or container is None or container in self._care or self._group is None:
            return
        server = Server(job.id, job.attempt, container, self._tools)
        task = spawn(self._group, self._serve(job.id, server), f"ssh of {job.id}")
        self._care[container] = _Care(job.id, server, task)

    def forget(self, container: str) -> None:
        """It has ended, and its server with it."""
        care = self._care.pop(container, None)
        if care is not None:
            care.task.cancel()

    def state_of(self, job: Job) -> SshState:
        care = self._care.get(job.container or "")
        return state_of(job, None if care is None else care.server.state)

    async def renew_keys(self, job: Job) -> None:
        """The row's keys have changed: when this returns, they are who may log in.

        Raises JobFolderMissingError, StateFullError, StateReadOnlyError, StoreUnavailableError.
        """
        servers = [care.server for care in self._care.values() if care.job_id == job.id]
        try:
            written = await self._files.write(job.id)
        except AgentError:
            for server in servers:
                server.doubt_keys()
            raise
        for server in servers:
            server.note_keys(written)

    async def _serve(self, job_id: str, server: Server) -> None:
        with structlog.contextvars.bound_contextvars(job=job_id):
            try:
                await server.serve()
            except Exception:
                # The top of a task in the daemon's group: a bug of ours costs this job its SSH, and nobody else anything.
                log.exception("ssh.broke")
                server.state = SshState.DOWN
