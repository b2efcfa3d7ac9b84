"""adapters/docker/views — the engine's JSON as our values. Pure; reads only what is named here, and trusts no label to be whole."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agent.adapters.docker.arguments import AGENT_LABEL, ATTEMPT_LABEL, JOB_LABEL, PLAN_LABEL
from agent.adapters.docker.given import given_gpus
from agent.core.container import (
    Container,
    ContainerEvent,
    ContainerState,
    EngineFacts,
    EventKind,
    Image,
    PublishedPort,
)
from agent.spec.image import parse_reference

# Paused and restarting ones hold their processes.
STATES = {
    "created": ContainerState.CREATED,
    "running": ContainerState.RUNNING,
    "paused": ContainerState.RUNNING,
    "restarting": ContainerState.RUNNING,
    "exited": ContainerState.EXITED,
    "removing": ContainerState.REMOVING,
    "dead": ContainerState.DEAD,
}
KINDS = frozenset(EventKind)
DEFAULT_STOP_SIGNAL = "SIGTERM"
# Go's zero time: "never".
NEVER = "0001-01-01T00:00:00Z"

Json = Mapping[str, Any]


def inspected(answer: Json) -> Container:
    """`GET /containers/{id}/json`."""
    state, config = answer["State"], answer["Config"]
    status = STATES[state["Status"]]
    labels = config.get("Labels") or {}
    return Container(
        id=answer["Id"],
        name=answer["Name"].removeprefix("/"),
        state=status,
        agent=labels.get(AGENT_LABEL),
        job=labels.get(JOB_LABEL),
        attempt=_attempt(labels),
        plan=labels.get(PLAN_LABEL),
        exit_code=state["ExitCode"] if status is ContainerState.EXITED else None,
        oom=state["OOMKilled"],
        started_at=moment(state["StartedAt"]),
        finished_at=moment(state["FinishedAt"]),
        pid=state["Pid"] or None,
        stop_signal=config.get("StopSignal") or DEFAULT_STOP_SIGNAL,
        ports=_published(answer["HostConfig"].get("PortBindings") or {}),
        gpus=given_gpus(answer),
        user=config.get("User") or "",
    )


def listed(answer: Json) -> Container:
    """One of `GET /containers/json`, which tells neither exit code nor pid nor times."""
    labels = answer.get("Labels") or {}
    # A container on its way out may have lost its names already.
    names = answer.get("Names") or [""]
    return Container(
        id=answer["Id"],
        name=names[0].removeprefix("/"),
        state=STATES[answer["State"]],
        agent=labels.get(AGENT_LABEL),
        job=labels.get(JOB_LABEL),
        attempt=_attempt(labels),
        plan=labels.get(PLAN_LABEL),
    )


def event(line: Json) -> ContainerEvent | None:
    """One line of `GET /events`; None where it is of no use to us."""
    labels = line["Actor"]["Attributes"]
    attempt = _attempt(labels)
    if line["Action"] not in KINDS or JOB_LABEL not in labels or attempt is None:
        return None
    return ContainerEvent(
        kind=EventKind(line["Action"]),
        container=line["Actor"]["ID"],
        job=labels[JOB_LABEL],
        attempt=attempt,
        at=line["timeNano"] / 1e9,
    )


def image(reference: str, answer: Json) -> Image:
    """`GET /images/{name}/json`. The digest is that of the repository asked for: an image may be known by several."""
    return Image(id=answer["Id"], digest=_digest(reference, answer), size_bytes=answer["Size"])


def facts(info: Json, version: Json, cdi_gpus: frozenset[str]) -> EngineFacts:
    """`GET /info` and `GET /version`, and what the CDI specs name."""
    security = [str(option) for option in info.get("SecurityOptions") or []]
    seccomp = [option for option in security if option.startswith("name=seccomp")]
    return EngineFacts(
        version=version["Version"],
        api_version=version["ApiVersion"],
        live_restore=info["LiveRestoreEnabled"],
        seccomp=bool(seccomp) and "profile=unconfined" not in seccomp[0],
        cgroup_version=int(info.get("CgroupVersion") or 1),
        architecture=version["Arch"],
        cpus=info["NCPU"],
        memory_bytes=info["MemTotal"],
        storage_driver=info["Driver"],
        userns=any(option.startswith("name=userns") for option in security),
        data_root=info["DockerRootDir"],
        runtimes=frozenset(info.get("Runtimes") or {}),
        cdi_dirs=cdi_dirs(info),
        cdi_gpus=cdi_gpus,
    )


def cdi_dirs(info: Json) -> tuple[str, ...]:
    """Empty where CDI is off; engines before 25 know nothing of it."""
    return tuple(info.get("CDISpecDirs") or ())


def moment(text: str) -> float | None:
    """An RFC 3339 time with up to nine decimals as seconds since the epoch; None for "never"."""
    if text in ("", NEVER):
        return None
    return datetime.fromisoformat(text).timestamp()


def _published(bindings: Mapping[str, Sequence[Mapping[str, str]] | None]) -> tuple[PublishedPort, ...]:
    """As asked for at the create: what the engine shows of its network is empty once the container has exited."""
    found = []
    for key, hosts in bindings.items():
        port, _, transport = key.partition("/")
        found += [
            PublishedPort(int(port), transport, host["HostIp"], int(host["HostPort"] or 0))
            for host in hosts or ()
        ]
    return tuple(sorted(found, key=lambda item: (item.port, item.transport, item.host_port)))


def _attempt(labels: Json) -> int | None:
    text = str(labels.get(ATTEMPT_LABEL, ""))
    return int(text) if text.isascii() and text.isdigit() else None


def _digest(reference: str, answer: Json) -> str:
    try:
        wanted = parse_reference(reference).repository
    except ValueError:  # an image id
        return str(answer["Id"])
    for known in answer.get("RepoDigests") or []:
        found = parse_reference(known)
        if found.repository == wanted:
            return found.canonical
    return str(answer["Id"])
