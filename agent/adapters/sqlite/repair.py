"""adapters/sqlite/repair — puts a damaged database out of the way. Recovers no row and opens nothing."""

from pathlib import Path

# The database goes first: should we die between, a log without its database is refused as damage, while a database
# without its log would look sound and be old.
SUFFIXES = ("", "-wal", "-shm")


def move_aside(path: Path, timestamp: str) -> Path:
    """Rename the database and what belongs to it to `<name>.damaged-<timestamp>`; call it with the agent stopped.

    Returns the new path of the database. Safe to call again. Raises OSError.
    """
    target = path.with_name(f"{path.name}.damaged-{timestamp}")
    for suffix in SUFFIXES:
        source = path.with_name(f"{path.name}{suffix}")
        if source.exists():
            source.rename(target.with_name(f"{target.name}{suffix}"))
    return target
