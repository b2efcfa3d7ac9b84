"""daemon/database — the database opened, or refused where it is not the one that the job folders belong to. Repairs nothing."""

from pathlib import Path

from agent.adapters.folders.names import is_job_id
from agent.adapters.folders.state import CHUTES, JOBS, SCHEDULES
from agent.adapters.linux import SystemClock
from agent.adapters.sqlite import SqliteStore
from agent.daemon.values import DATABASE
from agent.errors import AgentError, Blame

# Set once a daemon has served from this database: from then on a folder without a row is a submit that a crash cut off.
SERVED_KEY = "daemon.served_since"
# Set while a repair gives rows back: what has none yet is no rubbish, though there are rows.
REPAIR_KEY = "repair.began"


class DatabaseMissingError(AgentError):
    """Folders of jobs or chutes, or files of schedules, without their database: to go on would take them for rubbish."""

    code, blame = "database_missing", Blame.HOST
    remedy = "Put agent.db back, or run `gpu-agent doctor --repair`, which keeps running jobs and sets the rest aside."


async def open_database(state_dir: Path) -> SqliteStore:
    """Open the database in `state_dir`, or make one where there are nothing of jobs, chutes and schedules either.

    Raises DatabaseMissingError, DatabaseDamagedError, DatabaseNewerError, StoreUnavailableError.
    """
    path = state_dir / DATABASE
    is_used = has_folders(state_dir)
    if is_used and not path.exists():
        raise DatabaseMissingError(f"{path} is gone, but {state_dir} has jobs, chutes or schedules in it")
    store = await SqliteStore.open_store(path, SystemClock().now)
    try:
        is_foreign = is_used and await is_another(store)
    except BaseException:
        await store.close()
        raise
    if is_foreign:
        await store.close()
        raise DatabaseMissingError(
            f"{path} is new and empty, or its repair was cut off, but {state_dir} has jobs, chutes or schedules in it"
        )
    return store


def has_folders(state_dir: Path) -> bool:
    """Of jobs or of versions of chutes; or files of schedules. Without the state folder's lock: a daemon may be running."""
    return any(
        holder.is_dir() and any(is_job_id(entry.name) for entry in holder.iterdir())
        for holder in (state_dir / JOBS, state_dir / CHUTES, state_dir / SCHEDULES)
    )


async def is_another(store: SqliteStore) -> bool:
    """Whether, where there are folders, they can't be this database's: it has no rows, and never had any; or a repair that gave them
    rows was cut off.
    """
    if await store.meta(REPAIR_KEY):
        return True
    return await store.meta(SERVED_KEY) is None and not await store.job_ids()


async def begin_repair(store: SqliteStore) -> None:
    """Before the first row is given back. Raises StoreUnavailableError."""
    await store.set_meta(REPAIR_KEY, str(SystemClock().now()))


async def end_repair(store: SqliteStore) -> None:
    """Once every folder has its row, or is set aside. Raises StoreUnavailableError."""
    await store.set_meta(REPAIR_KEY, "")


async def note_served(store: SqliteStore) -> None:
    """Call it before the first job is let in. Raises StoreUnavailableError."""
    if await store.meta(REPAIR_KEY):
        await end_repair(
            store
        )  # it was cut off when nothing was left to do, or this database would not be served
    if await store.meta(SERVED_KEY) is None:
        await store.set_meta(SERVED_KEY, str(SystemClock().now()))
