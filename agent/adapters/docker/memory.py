"""adapters/docker/memory — the most memory that a container held, read from its cgroup. Asks no engine.

The engine's own figure (`stats`) has no peak on cgroup v2. Files: kernel, admin-guide/cgroup-v2 (memory.peak, since 5.19)
and cgroup-v1/memory (memory.max_usage_in_bytes).
"""

from pathlib import Path

from agent.core.container import MemorySeen

V1_FILE = "memory.max_usage_in_bytes"
# Older kernels have no peak: what it holds now is then the best bound from below.
V2_FILES = ("memory.peak", "memory.current")
KEPT = frozenset({V1_FILE, "memory.peak"})


def read_peak(container: str, pid: int, proc: Path, cgroups: Path) -> MemorySeen | None:
    """None: the process is gone, or its number belongs to another by now. `container` is the full id."""
    try:
        memberships = (proc / str(pid) / "cgroup").read_text()
    except OSError:
        return None
    for folder, names in _folders(memberships, cgroups):
        if container not in folder.name:
            continue
        for name in names:
            value = _read(folder / name)
            if value is not None:
                return MemorySeen(value, is_kept=name in KEPT)
    return None


def _folders(memberships: str, cgroups: Path) -> list[tuple[Path, tuple[str, ...]]]:
    """`hierarchy:controllers:path` lines (man 7 cgroups); on a hybrid host the memory controller is in v1."""
    found: list[tuple[Path, tuple[str, ...]]] = []
    for line in memberships.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found.insert(0, (cgroups / "memory" / path.lstrip("/"), (V1_FILE,)))
        elif not controllers:
            found.append((cgroups / path.lstrip("/"), V2_FILES))
    return found


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # gone meanwhile (ENODEV on an open one)
        return None
