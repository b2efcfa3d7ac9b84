"""core/queue — the order of waiting jobs, and the grant: who gets what now, who waits for what. Pure; the store writes it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.core.gpu_parts import held_gpus, parts_of, sharing
from agent.core.gpus import (
    NO_INVENTORY,
    GpuChoice,
    Inventory,
    choose_gpus,
    gpus_to_keep,
    why_stuck,
)
from agent.core.job import Job, NewEvent
from agent.core.lease import Lease
from agent.core.ports import PortRange, choose_ports, held_ports
from agent.core.retry import MOST_BACKOFF_SECONDS
from agent.core.state import ACTIVE, move
from agent.errors import Phase
from agent.spec import Network

Granted = tuple[Job, list[NewEvent]]


@dataclass(frozen=True, slots=True)
class Host:
    """What the grant needs to know of the host. `queue_limits` always has "default"; `ageing` is points per minute.

    `stuck_gpus`: those of `bad_gpus` that stay so until somebody acts, each with what it waits for. `free_disk_bytes`: what may
    still be reserved of the disk, as it was last seen. `network_closed`: why no job with a network may start; None: it may.
    """

    ports: PortRange
    bad_ports: frozenset[int]
    queue_limits: Mapping[str, int]
    ageing: float
    inventory: Inventory = NO_INVENTORY
    bad_gpus: frozenset[str] = frozenset()
    stuck_gpus: Mapping[str, str] = field(default_factory=dict)
    free_disk_bytes: int = 0
    network_closed: str | None = None


@dataclass(slots=True)
class _Pool:
    """What is still to be had while one grant is decided."""

    host: Host
    running: Counter[str]
    ports: set[int]
    gpus: set[str]
    disk_bytes: int  # free, or held by who will give it back
    kept_for_earlier: set[str] = field(default_factory=set)
    is_a_port_job_ahead: bool = False
    is_disk_short: bool = False
    has_first: bool = False


def grant(jobs: Sequence[Job], host: Host, now: float) -> list[Granted]:
    """Rows that change: to starting with a lease, or in what they wait for. `jobs` are all unfinished rows."""
    pool = _Pool(
        host,
        running=Counter(job.spec.queue for job in jobs if job.phase in ACTIVE),
        ports=held_ports(jobs) | host.bad_ports,
        gpus=held_gpus((job.lease for job in jobs if job.lease is not None), host.inventory) | host.bad_gpus,
        disk_bytes=host.free_disk_bytes + sum(job.spec.disk or 0 for job in jobs if job.has_disk),
    )
    changed: list[Granted] = []
    for job in order(
        [job for job in jobs if job.phase is Phase.QUEUED and not job.stop_asked], host.ageing, now
    ):
        blocked_by = _why_not(job, pool, now)
        lent = _lend(job, pool) if blocked_by is None else None
        if lent is not None:
            lease, told = lent
            _take(lease, job, pool)
            moved, events = move(job, Phase.STARTING, lease=lease, waiting_for=None)
            changed.append((moved, [*events, *told]))
        else:
            code, words = blocked_by or _wait_for_resources(job, pool)
            if (code, words) != (job.waiting_for, job.waiting_words):
                changed.append((replace(job, waiting_for=code, waiting_words=words), []))
    return changed


def order(jobs: Sequence[Job], ageing: float, now: float) -> list[Job]:
    """Higher priority first; each minute of waiting is worth `ageing` points; equal ones first come, first served."""

    def rank(job: Job) -> tuple[float, int]:
        # Whole minutes, so that two jobs of one minute keep their order to the second.
        minutes = max(0.0, now - job.queued_at) // 60
        return (-(job.spec.priority + ageing * minutes), job.seq)

    return sorted(jobs, key=rank)


def _why_not(job: Job, pool: _Pool, now: float) -> tuple[str, str | None] | None:
    """What a job waits for before resources matter, and in words."""
    if _is_too_early(job, now):
        return ("not_before" if job.attempt == 1 else "backoff"), None
    limit = pool.host.queue_limits.get(job.spec.queue, pool.host.queue_limits["default"])
    if pool.running[job.spec.queue] >= limit:
        return "queue", None
    # No resource is held through a pull, so the image comes first.
    if job.image_digest is None:
        return "image", None
    if job.spec.network is Network.EGRESS and pool.host.network_closed is not None:
        return "network", pool.host.network_closed
    return _why_no_disk(job, pool) if job.spec.disk is not None and not job.has_disk else None


def _is_too_early(job: Job, now: float) -> bool:
    """What the user asked for, however far it is; but no pause of ours is longer than the most: a clock that was set back makes none so."""
    if job.not_before is None or job.not_before <= now:
        return False
    is_ours = job.attempt > 1 or job.start_moves > 0
    return not is_ours or job.not_before - now <= MOST_BACKOFF_SECONDS


def _why_no_disk(job: Job, pool: _Pool) -> tuple[str, str | None]:
    """Its own line reserves the disk. Behind one that found no room nobody does, or small ones would take in turn what comes
    free, and the large one would starve. But not where the ends of other jobs can't make room for it: who waits for outputs
    to be forgotten may wait a week, and the others would wait with it.
    """
    if pool.is_disk_short:
        return "turn", None
    words = job.waiting_words if job.waiting_for == "disk" else None
    pool.is_disk_short = words is not None and (job.spec.disk or 0) <= pool.disk_bytes
    return "disk", words


def _lend(job: Job, pool: _Pool) -> tuple[Lease, list[NewEvent]] | None:
    """A lease, and why it is these GPUs."""
    if job.spec.published and pool.is_a_port_job_ahead:
        return None
    ports = choose_ports(job.spec.published, pool.host.ports, pool.ports)
    gpus = _gpus(job, pool)
    if ports is None or gpus is None:
        return None
    return Lease(gpus.uuids, ports, parts_of(pool.host.inventory, gpus.uuids)), _why_these(gpus)


def _why_these(gpus: GpuChoice) -> list[NewEvent]:
    if not gpus.uuids:
        return []
    data: dict[str, object] = {"gpus": list(gpus.uuids), "considered": gpus.considered}
    if gpus.score is not None:
        data |= {
            "least_link": gpus.score.least_link,
            "links": gpus.score.links,
            "left": list(gpus.score.left),
        }
    return [NewEvent("job.gpus_chosen", data)]


def _gpus(job: Job, pool: _Pool) -> GpuChoice | None:
    return choose_gpus(pool.host.inventory, job.spec.gpus, pool.gpus | pool.kept_for_earlier)


def _take(lease: Lease, job: Job, pool: _Pool) -> None:
    pool.running[job.spec.queue] += 1
    pool.ports.update(port.host_port for port in lease.ports)
    pool.gpus |= sharing(pool.host.inventory, set(lease.gpus))


def _wait_for_resources(job: Job, pool: _Pool) -> tuple[str, str | None]:
    """Fair backfill: who comes later gets no GPU and no port that an earlier one waits for. What is waited for, and in words.

    For one that waits for somebody, to mend a GPU or to give the host more ports, nothing is kept: that may be a week, and the
    others would wait with it.
    """
    wanted, most = len(job.spec.published), len(pool.host.ports)
    if wanted > most:  # it was accepted while the range was larger
        return "ports", f"{wanted} ports, of which this host has {most} in [ports] range"
    words = why_stuck(pool.host.inventory, job.spec.gpus, pool.host.stuck_gpus)
    if words is not None:
        return "gpu_repair", words
    waits_for = _name_resource(job, pool)
    if not pool.has_first:
        pool.has_first = True
        _keep_all(job, pool)
    return waits_for, None


def _keep_all(job: Job, pool: _Pool) -> None:
    """The first that waits needs its place in the queue, its GPUs and its ports at once: each is kept for it as it comes free,
    or jobs that need one of them alone would take them in turn, and it would starve.
    """
    pool.running[job.spec.queue] += 1
    pool.kept_for_earlier |= _to_keep(job, pool)
    ports = choose_ports(job.spec.published, pool.host.ports, pool.ports)
    if ports is None:
        pool.is_a_port_job_ahead = True
    else:
        pool.ports.update(port.host_port for port in ports)


def _name_resource(job: Job, pool: _Pool) -> str:
    if _gpus(job, pool) is None:
        waits_for_turn = choose_gpus(pool.host.inventory, job.spec.gpus, pool.gpus) is not None
        pool.kept_for_earlier |= _to_keep(job, pool)
        return "turn" if waits_for_turn else "gpus"
    if pool.is_a_port_job_ahead:
        return "turn"
    pool.is_a_port_job_ahead = True
    return "ports"


def _to_keep(job: Job, pool: _Pool) -> set[str]:
    inventory = pool.host.inventory
    kept = gpus_to_keep(inventory, job.spec.gpus, pool.gpus, pool.host.stuck_gpus.keys())
    return sharing(inventory, kept)
