"""api/views — values as the JSON that clients rely on: every name is always there, an absent fact is null. Reads no store."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from agent.api.function_views import FunctionBeside, show_function
from agent.api.gpu_figures import count_gpu_seconds, held_by_attempt, held_by_job, show_held
from agent.api.upload_views import show_upload_of
from agent.core.event_form import show_time
from agent.core.job import ClosedAttempt, ExitFacts, FiredBy, Job, Reason
from agent.core.lease import Lease, PortLease
from agent.core.notify import TROUBLES, NotifyTrouble, Progress
from agent.core.ports import NatMap
from agent.core.upload_form import UploadView
from agent.spec import Port, Proto, masked

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where leased ports are reached: `bind` on the host itself (the first is told), `nat` from outside (its host "" is unknown)."""

    bind: tuple[str, ...]
    nat: NatMap

    @property
    def host(self) -> str:
        ip = ip_address(self.bind[0])
        if not ip.is_unspecified:
            return self.bind[0]
        return "127.0.0.1" if ip.version == 4 else "::1"


@dataclass(frozen=True, slots=True)
class Beside:
    """What is told of a job and is not in its row. None: the job has no such thing."""

    notified: Progress | None = None
    upload: UploadView | None = None
    ssh: Json | None = None
    function: FunctionBeside | None = None


def show_job(
    job: Job, attempts: Sequence[ClosedAttempt], addresses: Addresses, beside: Beside = Beside()
) -> Json:
    """The names of the HTTP API's contract."""
    shown_exit, exit_lease = find_exit(job, attempts)
    function = show_function(job, beside.function)
    return {
        "id": job.id,
        "name": job.spec.name,
        "kind": job.kind.value,
        "owner": job.owner,
        "phase": job.phase.value,
        "outcome": None if job.outcome is None else job.outcome.value,
        "reason": show_reason(job.reason),
        "attempt": job.attempt,
        "attempts": [show_attempt(attempt, addresses) for attempt in attempts],
        "exit": show_exit(shown_exit, exit_lease),
        "gpu_usage": show_held(held_by_job(job, attempts)),
        "waiting_for": job.waiting_for,
        "waiting_words": None if job.waiting_for is None else job.waiting_words,
        "gpus": [] if job.lease is None else list(job.lease.gpus),
        "ports": show_ports(job, addresses),
        "ssh": beside.ssh,
        "progress": function["progress"],
        "statuses": function["statuses"],
        "result": function["result"],
        "result_bytes": function["result_bytes"],
        "result_note": function["result_note"],
        "error": function["error"],
        "metrics": function["metrics"],
        "upload": show_upload_of(job, beside.upload),
        "notify": show_notify(beside.notified),
        "parent": function["parent"],
        "children": function["children"],
        "chute": function["chute"],
        "schedule": show_fired_by(job.fired_by),
        "queue": job.spec.queue,
        "priority": job.spec.priority,
        "labels": dict(job.spec.labels),
        "image_digest": job.image_digest,
        "created_at": show_time(job.created_at),
        "started_at": show_time(job.started_at),
        "finished_at": show_time(job.finished_at),
        "spec": masked(job.spec),
    }


def show_fired_by(fired_by: FiredBy | None) -> Json | None:
    """The schedule that started it; `due` is null where somebody ran it by hand."""
    return None if fired_by is None else {"id": fired_by.schedule, "due": show_time(fired_by.due)}


def find_exit(job: Job, attempts: Sequence[ClosedAttempt]) -> tuple[ExitFacts | None, Lease | None]:
    """How the latest attempt ended: the row's while it is being closed, else that of the closed attempt of this number."""
    closed = next((attempt for attempt in reversed(attempts) if attempt.number == job.attempt), None)
    if job.run.exit is None:
        return (None, None) if closed is None else (closed.exit, closed.lease)
    # Between the end of the container and the close, the lease is freed but still known, if it had GPUs.
    return job.run.exit, job.run.held or job.lease or (None if closed is None else closed.lease)


def show_attempt(attempt: ClosedAttempt, addresses: Addresses) -> Json:
    lease = attempt.lease or Lease()
    return {
        "number": attempt.number,
        "outcome": attempt.outcome.value,
        "reason": show_reason(attempt.reason),
        "exit": show_exit(attempt.exit, attempt.lease),
        "gpu_usage": show_held(held_by_attempt(attempt)),
        "gpus": list(lease.gpus),
        "ports": [show_leased(port, addresses) for port in lease.ports],
        "container": attempt.container,
        "closed_at": show_time(attempt.closed_at),
    }


def show_reason(reason: Reason | None) -> Json | None:
    if reason is None:
        return None
    return {
        "code": reason.code,
        "phase": reason.phase.value,
        "blame": reason.blame.value,
        "retryable": reason.retryable,
        "message": reason.message,
        "remedy": reason.remedy,
    }


def show_exit(facts: ExitFacts | None, lease: Lease | None) -> Json | None:
    if facts is None:
        return None
    return {
        "code": facts.code,
        "signal": facts.signal,
        "oom": facts.oom,
        "started_at": show_time(facts.started_at),
        "finished_at": show_time(facts.finished_at),
        "peak_memory": facts.peak_memory_bytes,
        "gpu_seconds": count_gpu_seconds(facts, lease),
    }


def show_notify(notified: Progress | None) -> Json | None:
    """None: the job asks for no notifications."""
    if notified is None:
        return None
    state = notified.state
    return {
        "state": "open" if state.end is None else state.end.value,
        "delivered": state.delivered,
        "dropped": state.dropped,
        "pending": notified.pending if state.end is None else 0,
        "last_error": show_notify_trouble(state.trouble),
    }


def show_notify_trouble(trouble: NotifyTrouble | None) -> Json | None:
    if trouble is None:
        return None
    words = TROUBLES[trouble.code]
    return {
        "n": trouble.n,
        "code": trouble.code,
        "status": trouble.status,
        "blame": words.blame.value,
        "message": words.message,
        "remedy": words.remedy,
        "at": show_time(trouble.at),
    }


def show_ports(job: Job, addresses: Addresses) -> list[Json]:
    """The ports of the spec; where the job holds a lease, with what leads to them."""
    leased = {} if job.lease is None else {port.name: port for port in job.lease.ports}
    return [
        show_leased(leased[port.name], addresses) if port.name in leased else show_wanted(port)
        for port in job.spec.published
    ]


def show_leased(port: PortLease, addresses: Addresses) -> Json:
    external_host = addresses.nat.host or None
    external_port = addresses.nat.outside(port.host_port)
    host = bracketed(external_host or addresses.host)
    return {
        "name": port.name,
        "port": port.port,
        "proto": port.proto.value,
        "host": addresses.host,
        "host_port": port.host_port,
        "external_host": external_host,
        "external_port": external_port if external_host is not None else None,
        "url": f"http://{host}:{external_port if external_host is not None else port.host_port}"
        if port.proto is Proto.HTTP
        else None,
    }


def show_wanted(port: Port) -> Json:
    nowhere: Json = dict.fromkeys(("host", "host_port", "external_host", "external_port", "url"))
    return {"name": port.name, "port": port.port, "proto": port.proto.value, **nowhere}


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
