"""adapters/sqlite/repair — puts a damaged database out of the way. Recovers no row and opens nothing."""

from pathlib import Path

# The database goes first: should we die between, a log without its database is refused as damage, while a database
# without its log would look sound and be old.
SUFFIXES = ("", "-wal", "-shm")


def is_any_there(path: Path) -> bool:
    """The database, or what is left of it: a log alone would be taken for a new database's."""
    return any(path.with_name(f"{path.name}{suffix}").exists() for suffix in SUFFIXES)


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
