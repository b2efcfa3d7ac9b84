"""jobs/disk_guard_probe — what /health says of the disk guard: which disk is so low that it acts, and how many jobs it ended. Looks at no disk."""

from collections.abc import Callable

from agent.core.disk_guard import FLOOR_BYTES, LINE_BYTES, low
from agent.core.disk_space import INODE_BYTES, DiskSpace, Unit, Where
from agent.jobs.disk_guard import DiskView
from agent.jobs.health import CheckState, Finding, Probe

NAMES = {Where.OUTPUTS: "the state folder's disk", Where.LAYER: "the engine's disk"}
GIB = 1 << 30


def disk_guard_probe(view: Callable[[], DiskView]) -> Probe:
    async def probe() -> Finding:
        seen = view()
        told = [f"{NAMES[where]} has {_free(space)} free" for where, space in seen.spaces.items()]
        if not told:
            return Finding(CheckState.OK, "not looked yet")
        if Where.LAYER not in seen.spaces:
            told.append("the engine's disk can't be seen from here, and is not guarded")
        if seen.stopped_lately:
            jobs = "1 job was" if seen.stopped_lately == 1 else f"{seen.stopped_lately} jobs were"
            told.append(f"{jobs} ended in the last hour for filling it")
        evidence = "; ".join(told)
        if not low(seen.spaces):
            return Finding(CheckState.OK, evidence)
        remedy = (
            f"Free space, or inodes: below {FLOOR_BYTES // GIB} GiB no room is reserved for `disk`, below {LINE_BYTES // GIB} GiB or "
            f"{LINE_BYTES // INODE_BYTES:,} inodes the job that fills it is ended (disk_guard). See docs/operations.md, The disk guard."
        )
        return Finding(CheckState.WARN, evidence, remedy)

    return probe


def _free(space: DiskSpace) -> str:
    """Inodes only where there are fewer of them than bytes for them."""
    size = f"{space.free_bytes / GIB:.1f} GiB"
    return size if space.scarce is Unit.BYTES else f"{space.free_files:,} inodes (and {size})"
