"""adapters/docker/arguments — a plan in the words of the Engine API (`POST /containers/create`). Pure; calls nothing."""

from collections.abc import Mapping

from agent.core.container import ContainerPlan, Injection, Mount, PublishedPort, VolumeMount
from agent.core.injection import NVIDIA_RUNTIME

AGENT_LABEL = "gpu-agent.agent"
JOB_LABEL = "gpu-agent.job"
ATTEMPT_LABEL = "gpu-agent.attempt"
PLAN_LABEL = "gpu-agent.plan"
BRIDGE_LABEL = "gpu-agent.bridge"

VOLUME_DRIVER = "local"

# What the nvidia runtime reads of any container where it is the engine's default: an image's own `all` would hand out every
# GPU. CDI needs no such variable.
NO_VISIBLE_GPUS = {"NVIDIA_VISIBLE_DEVICES": "void"}
# The image's own are taken away. The first could hide a part of the lease, or name GPUs by numbers that mean others here;
# to set it to the leased UUIDs would break programs that read numbers out of it, and without it CUDA takes all that the
# container has, which is the lease. By the others the nvidia runtime adds devices that are no GPUs: InfiniBand, NVSwitches,
# MIG's and IMEX's control files.
TAKEN_AWAY = (
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_GDRCOPY",
    "NVIDIA_GDS",
    "NVIDIA_IMEX_CHANNELS",
    "NVIDIA_MIG_CONFIG_DEVICES",
    "NVIDIA_MIG_MONITOR_DEVICES",
    "NVIDIA_MOFED",
    "NVIDIA_NVSWITCH",
)
CDI_KIND = "nvidia.com/gpu"


def create_body(plan: ContainerPlan, secrets: Mapping[str, str]) -> dict[str, object]:
    """The request's body. What the image says of health checks is turned off: its commands would run beside the job."""
    body: dict[str, object] = {
        "Image": plan.image,
        "Env": environment(plan, secrets),
        "Labels": {
            AGENT_LABEL: plan.agent,
            JOB_LABEL: plan.job,
            ATTEMPT_LABEL: str(plan.attempt),
            PLAN_LABEL: plan.digest,
        },
        "ExposedPorts": {port_key(port): {} for port in plan.ports},
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": False,
        "OpenStdin": False,
        "HostConfig": host_config(plan),
    }
    if plan.command is not None:
        body["Cmd"] = list(plan.command)
    if plan.entrypoint is not None:
        # [""] is how the API is told "none, whatever the image says"; an empty list means the image's.
        body["Entrypoint"] = list(plan.entrypoint) or [""]
    if plan.user is not None:
        body["User"] = plan.user
    if plan.workdir is not None:
        body["WorkingDir"] = plan.workdir
    if plan.stop_signal is not None:
        body["StopSignal"] = plan.stop_signal
    return body


def environment(plan: ContainerPlan, secrets: Mapping[str, str]) -> list[str]:
    """`NAME=value`, sorted, each name once; a bare `NAME` has the engine take the image's away. A secret wins over a plain
    variable, what we force over both. KeyError: a secret has no value.
    """
    values = dict(plan.environment)
    values |= {name: secrets[name] for name in plan.secret_environment}
    values |= _visible_gpus(plan)
    kept = [f"{name}={value}" for name, value in values.items() if name not in TAKEN_AWAY]
    return sorted([*kept, *TAKEN_AWAY])


def without_layer_bound(body: Mapping[str, object]) -> dict[str, object]:
    """The same body for an engine whose storage can't bound the writable layer."""
    config = body["HostConfig"]
    kept = (
        {key: value for key, value in config.items() if key != "StorageOpt"}
        if isinstance(config, dict)
        else {}
    )
    return {**body, "HostConfig": kept}


def volume_options(device: str) -> dict[str, str]:
    """Without dev a device node, without suid a setuid file in the outputs does nothing, whoever opens it."""
    return {"type": "ext4", "device": device, "o": "nosuid,nodev"}


def volume_labels(agent: str, job: str) -> dict[str, str]:
    return {AGENT_LABEL: agent, JOB_LABEL: job}


def host_config(plan: ContainerPlan) -> dict[str, object]:
    """All that bounds the container. No key is left to an engine's default where that default would widen it."""
    return {
        **_confinement(plan),
        **_limits(plan),
        **_network(plan),
        "Mounts": [_mount(mount, plan.agent) for mount in plan.mounts],
        "DeviceRequests": _device_requests(plan),
        # Restarts are ours, with a count on disk; and a container that removes itself takes its exit code with it.
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
        "LogConfig": {
            "Type": "local",
            "Config": {
                "max-size": str(plan.logs.size_bytes),
                "max-file": str(plan.logs.files),
                # A compressed file is unpacked whole for every reader, and costs the engine a core while it rotates.
                "compress": "false",
            },
        },
    }


def port_key(port: PublishedPort) -> str:
    return f"{port.port}/{port.transport}"


def _confinement(plan: ContainerPlan) -> dict[str, object]:
    config: dict[str, object] = {
        "Privileged": False,
        "CapDrop": ["ALL"],
        "CapAdd": list(plan.capabilities),
        "SecurityOpt": ["no-new-privileges:true"],
        "Init": True,
        "IpcMode": "private",
        # The engine's default on cgroup v1 is the host's.
        "CgroupnsMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "PublishAllPorts": False,
    }
    runtime = NVIDIA_RUNTIME if _is_by_runtime(plan) else plan.runtime
    if runtime is not None:
        config["Runtime"] = runtime
    return config


def _limits(plan: ContainerPlan) -> dict[str, object]:
    config: dict[str, object] = {
        "PidsLimit": plan.pids,
        "OomScoreAdj": plan.oom_score,
        "Ulimits": [
            {"Name": "core", "Soft": 0, "Hard": 0},
            {"Name": "nofile", "Soft": plan.nofile, "Hard": plan.nofile},
        ],
    }
    if plan.cpus is not None:
        config["NanoCpus"] = round(plan.cpus * 1_000_000_000)
    if plan.memory_bytes is not None:
        # Equal: no swap beside it. MemorySwap alone would be the sum of both.
        config["Memory"] = config["MemorySwap"] = plan.memory_bytes
    if plan.shm_bytes is not None:
        config["ShmSize"] = plan.shm_bytes
    if plan.storage_bytes is not None:
        config["StorageOpt"] = {"size": str(plan.storage_bytes)}
    if plan.cpuset is not None:
        config |= {"CpusetCpus": plan.cpuset.cpus, "CpusetMems": plan.cpuset.memory_nodes}
    return config


def _network(plan: ContainerPlan) -> dict[str, object]:
    if plan.bridge is None:
        return {"NetworkMode": "none", "PortBindings": {}}
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in plan.ports:
        binding = {"HostIp": port.host_address, "HostPort": str(port.host_port)}
        bindings.setdefault(port_key(port), []).append(binding)
    return {"NetworkMode": plan.bridge, "PortBindings": bindings, "Dns": list(plan.dns)}


def _mount(mount: Mount | VolumeMount, agent: str) -> dict[str, object]:
    if isinstance(mount, VolumeMount):
        # What the image has at that path is not copied in, as it is not beneath a bind. The volume is there already; were it
        # gone, the engine would make one of its name, and must make the same one: never a plain folder of the host.
        driver = {"Name": VOLUME_DRIVER, "Options": volume_options(mount.volume.device)}
        labels = volume_labels(agent, mount.volume.job)
        return {
            "Type": "volume",
            "Source": mount.volume.name,
            "Target": mount.target,
            "ReadOnly": False,
            "VolumeOptions": {"NoCopy": True, "Labels": labels, "DriverConfig": driver},
        }
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _is_by_runtime(plan: ContainerPlan) -> bool:
    return bool(plan.gpus) and plan.injection is Injection.NVIDIA


def _visible_gpus(plan: ContainerPlan) -> dict[str, str]:
    if not _is_by_runtime(plan):
        return NO_VISIBLE_GPUS
    # Without the last, an image's own `all` would bring in what draws and encodes too.
    return {
        "NVIDIA_VISIBLE_DEVICES": ",".join(plan.gpus),
        "NVIDIA_DRIVER_CAPABILITIES": "compute,utility",
    }


def _device_requests(plan: ContainerPlan) -> list[dict[str, object]]:
    if not plan.gpus or _is_by_runtime(plan):
        return []
    return [{"Driver": "cdi", "DeviceIDs": [f"{CDI_KIND}={uuid}" for uuid in plan.gpus]}]
