"""core/plan — spec + lease + policy → the complete arguments of a container. Pure: what a job may never have is not in here."""

from dataclasses import dataclass

from agent.core.container import ContainerPlan, Mount, PublishedPort, QuotaVolume, VolumeMount
from agent.core.injection import Handover
from agent.core.job import Job
from agent.core.lease import Lease
from agent.core.policy import CAPABILITIES, OOM_SCORE, Policy
from agent.core.ssh import KEYS_PATH
from agent.core.ssh_kit import SshKit, kit_mount
from agent.spec import JobSpec, Network, Proto, is_reserved_env

SECRETS_PATH = "/run/secrets"
# Where the launcher of a function finds itself, the chute's files, and the way to the agent.
SDK_PATH, CHUTE_PATH, SOCKET_PATH = "/.agent/sdk", "/.agent/chute", "/.agent/job"
LAUNCHER_STOP_SIGNAL = "SIGTERM"


@dataclass(frozen=True, slots=True)
class SshMounts:
    """`folder`: the host's path of the job's own, with its host key."""

    kit: SshKit
    folder: str


@dataclass(frozen=True, slots=True)
class FunctionMounts:
    """Folders of the host: the SDK's, that of the version's files, and the one in which the job's socket lies."""

    sdk: str
    chute: str
    socket: str


@dataclass(frozen=True, slots=True)
class Mounted:
    """What of the host the container sees. `outputs` and `secrets` are its paths (`outputs` of a job with `disk`: its volume);
    `secrets`, `ssh`, `function` None: the job has none.
    """

    outputs: str | QuotaVolume
    secrets: str | None
    ssh: SshMounts | None
    function: FunctionMounts | None = None


def plan(job: Job, policy: Policy, mounted: Mounted, handover: Handover) -> ContainerPlan:
    """The job holds its lease, and `handover` was chosen for it."""
    spec, lease, limits = job.spec, job.lease or Lease(), policy.limits
    has_network = spec.network is Network.EGRESS
    return ContainerPlan(
        name=job.container_name,
        agent=policy.agent_id,
        job=job.id,
        attempt=job.attempt,
        image=job.image_digest or spec.image,
        command=spec.command,
        entrypoint=spec.entrypoint,
        environment=_environment(job, lease),
        secret_environment=tuple(sorted(name for name in spec.secrets_env if not is_reserved_env(name))),
        user=spec.user,
        workdir=spec.workdir if job.call is None else spec.workdir or CHUTE_PATH,
        cpus=spec.cpus or policy.most_cpus,
        memory_bytes=spec.memory or policy.most_memory_bytes,
        shm_bytes=spec.shm or limits.shm_bytes,
        pids=spec.pids or limits.pids,
        storage_bytes=limits.disk_bytes,
        bridge=policy.bridge if has_network else None,
        dns=policy.dns if has_network else (),
        ports=_published(lease, policy.bind) if has_network else (),
        mounts=_mounts(spec, mounted),
        gpus=lease.gpus,
        injection=handover.injection,
        cpuset=handover.cpuset,
        runtime=policy.runtime,
        logs=policy.logs,
        capabilities=CAPABILITIES,
        nofile=policy.nofile,
        oom_score=OOM_SCORE,
        stop_signal=None if job.call is None else LAUNCHER_STOP_SIGNAL,
    )


def _environment(job: Job, lease: Lease) -> tuple[tuple[str, str], ...]:
    """The author's variables and ours, which no spec may name; a row from before that rule loses what it named."""
    authors = {name: text for name, text in job.spec.env.items() if not is_reserved_env(name)}
    ours = {
        "GPU_AGENT_JOB": job.id,
        "GPU_AGENT_ATTEMPT": str(job.attempt),
        "OUTPUT_DIR": job.spec.outputs.path,
        **{f"GPU_AGENT_PORT_{port.name.upper()}": str(port.port) for port in lease.ports},
    }
    return tuple(sorted({**authors, **ours}.items()))


def _published(lease: Lease, bind: tuple[str, ...]) -> tuple[PublishedPort, ...]:
    """Tcp and http publish tcp, udp publishes udp, nothing publishes both. The number is the same on each address."""
    return tuple(
        PublishedPort(port.port, "udp" if port.proto is Proto.UDP else "tcp", address, port.host_port)
        for port in lease.ports
        for address in bind
    )


def _mounts(spec: JobSpec, mounted: Mounted) -> tuple[Mount | VolumeMount, ...]:
    outputs, secrets, ssh, function = mounted.outputs, mounted.secrets, mounted.ssh, mounted.function
    written = (
        VolumeMount(outputs, spec.outputs.path)
        if isinstance(outputs, QuotaVolume)
        else Mount(outputs, spec.outputs.path, read_only=False)
    )
    return (
        written,
        *(() if secrets is None else (Mount(secrets, SECRETS_PATH, read_only=True),)),
        *(() if ssh is None else (kit_mount(ssh.kit), Mount(ssh.folder, KEYS_PATH, read_only=True))),
        *(() if function is None else _function_mounts(function)),
    )


def _function_mounts(function: FunctionMounts) -> tuple[Mount, ...]:
    # The folder of the socket and never the socket itself: a restarted daemon makes a new one.
    return (
        Mount(function.sdk, SDK_PATH, read_only=True),
        Mount(function.chute, CHUTE_PATH, read_only=True),
        Mount(function.socket, SOCKET_PATH, read_only=True),
    )
