"""adapters/folders/state — the state and runtime folders: whose they are, the lock, the agent's id. Knows no job."""

import errno
import fcntl
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from agent.adapters.folders import durable
from agent.adapters.folders.loops import Loops
from agent.adapters.folders.roots import Roots
from agent.errors import AgentError, Blame

JOBS, CHUTES, SCHEDULES, ASIDE = "jobs", "chutes", "schedules", "aside"
LOCK, AGENT_ID = "lock", "agent-id"
PUBLIC_FOLDER = 0o755
WRITABLE_BY_OTHERS = 0o022


class StateInUseError(AgentError):
    """Another daemon, or `doctor --repair`, holds the state folder."""

    code, blame = "state_in_use", Blame.HOST
    remedy = (
        "Stop the other one first (systemctl stop gpu-agent), or give this one a state folder of its own."
    )

    def __init__(self, state_dir: Path, holder: str) -> None:
        super().__init__(f"{state_dir} is in use by another gpu-agent (process {holder or 'unknown'})")


class StateUnsafeError(AgentError):
    """The state or runtime folder can be changed by someone else than this user."""

    code, blame = "state_unsafe", Blame.HOST
    remedy = (
        "Name a folder that belongs to the agent's user, that no other can write to, and that is no link."
    )

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder} is not safe to keep jobs and secrets in: {why}")


class AgentIdUnreadableError(AgentError):
    """The agent's id is damaged. Under a new one all running containers would be strangers."""

    code, blame = "agent_id_unreadable", Blame.HOST
    remedy = (
        "Write the value of the label gpu-agent.agent of one of its containers into the file; "
        "remove the file only if there is no such container."
    )

    def __init__(self, state_dir: Path) -> None:
        super().__init__(f"{state_dir / AGENT_ID} holds no UUID")


@dataclass(frozen=True, slots=True)
class State:
    """Open descriptors of the locked state folder, of the folders of jobs in it and in the runtime folder, of chutes and schedules; and what of the
    quotas in them is mounted.
    """

    path: Path
    runtime_path: Path
    agent_id: str
    root: int
    lock: int
    jobs: int
    chutes: int
    schedules: int
    runtime_jobs: int
    loops: Loops
    roots: Roots

    def close(self) -> None:
        self.roots.close()
        for descriptor in (self.runtime_jobs, self.schedules, self.chutes, self.jobs, self.root, self.lock):
            os.close(descriptor)


def open_state(state_dir: Path, runtime_dir: Path) -> State:
    """Make what is missing and take the lock. Raises the errors above, and OSError."""
    opened: list[int] = []
    try:
        opened.append(root := _open_own(state_dir, durable.PRIVATE_FOLDER))
        os.fchmod(root, durable.PRIVATE_FOLDER)
        opened.append(lock := _lock(root, state_dir))
        agent_id = _agent_id(root, state_dir)
        opened.append(jobs := _open_private(root, JOBS))
        opened.append(chutes := _open_private(root, CHUTES))
        opened.append(schedules := _open_private(root, SCHEDULES))
        os.fsync(root)
        runtime_jobs = _open_runtime_jobs(runtime_dir)
    except BaseException:  # whatever it was: a lock that outlives the failure would refuse the next try
        for descriptor in opened:
            os.close(descriptor)
        raise
    loops = Loops(agent_id)
    roots = Roots(loops)
    folders = (root, lock, jobs, chutes, schedules, runtime_jobs)
    return State(state_dir, runtime_dir, agent_id, *folders, loops, roots)


def _open_runtime_jobs(runtime_dir: Path) -> int:
    """The runtime folder keeps its mode: the API's socket lies there, too. Secrets are one private level below."""
    try:
        runtime = _open_own(runtime_dir, PUBLIC_FOLDER)
        try:
            return _open_private(runtime, JOBS)
        finally:
            os.close(runtime)
    except OSError as error:
        # Whoever called takes what a disk says for the state folder's.
        known = durable.as_state_error(error, str(runtime_dir))
        if known is None:
            raise
        raise known from error


def _open_own(path: Path, mode: int) -> int:
    try:
        path.mkdir(mode, parents=True, exist_ok=True)
        descriptor = os.open(path, durable.FOLDER)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.ELOOP):
            raise
        raise StateUnsafeError(path, "it is a link or a file, not a folder") from error
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        os.close(descriptor)
        raise StateUnsafeError(path, f"it belongs to user {status.st_uid}, the agent is user {os.geteuid()}")
    if status.st_mode & WRITABLE_BY_OTHERS:
        os.close(descriptor)
        raise StateUnsafeError(path, f"its mode is {status.st_mode & 0o7777:04o}, so others can write to it")
    return descriptor


def _open_private(parent: int, name: str) -> int:
    durable.ensure_folder(parent, name, durable.PRIVATE_FOLDER)
    return os.open(name, durable.FOLDER, dir_fd=parent)


def _lock(root: int, state_dir: Path) -> int:
    # Open for reading: a file that is open for writing would keep an operator from mounting the disk read-only.
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(LOCK, flags, durable.PRIVATE_FILE, dir_fd=root)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise StateInUseError(state_dir, holder) from error
    _note_holder(root)
    return lock


def _note_holder(root: int) -> None:
    note = os.open(LOCK, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    try:
        durable.write_all(note, f"{os.getpid()}\n".encode())
    except OSError as error:
        # The number is for a message only: a full disk must not keep the daemon from adopting its jobs.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(note)


def _agent_id(root: int, state_dir: Path) -> str:
    try:
        text = durable.read_file(root, AGENT_ID).decode("ascii", "replace").strip()
    except FileNotFoundError:
        text = str(uuid.uuid4())
        durable.replace_file(root, AGENT_ID, f"{text}\n".encode())
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise AgentIdUnreadableError(state_dir) from error
