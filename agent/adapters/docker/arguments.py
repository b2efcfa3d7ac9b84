"""adapters/docker/arguments — a plan in the words of the Engine API (`POST /containers/create`). Pure; calls nothing."""

from collections.abc import Mapping

from agent.core.container import ContainerPlan, Mount, PublishedPort

AGENT_LABEL = "gpu-agent.agent"
JOB_LABEL = "gpu-agent.job"
ATTEMPT_LABEL = "gpu-agent.attempt"
PLAN_LABEL = "gpu-agent.plan"
BRIDGE_LABEL = "gpu-agent.bridge"

# Read by the NVIDIA runtime where that is the engine's default: an image's own `all` would hand out every GPU. GPUs
# come by CDI, which needs no such variable.
FORCED_ENVIRONMENT = {"NVIDIA_VISIBLE_DEVICES": "void"}
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
    return body


def environment(plan: ContainerPlan, secrets: Mapping[str, str]) -> list[str]:
    """`NAME=value`, sorted, each name once. A secret wins over a plain variable, what we force over both. KeyError: a secret has no value."""
    values = dict(plan.environment)
    values |= {name: secrets[name] for name in plan.secret_environment}
    values |= FORCED_ENVIRONMENT
    return [f"{name}={value}" for name, value in sorted(values.items())]


def host_config(plan: ContainerPlan) -> dict[str, object]:
    """All that bounds the container. No key is left to an engine's default where that default would widen it."""
    return {
        **_confinement(plan),
        **_limits(plan),
        **_network(plan),
        "Mounts": [_mount(mount) for mount in plan.mounts],
        "DeviceRequests": _device_requests(plan.gpus),
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
    if plan.runtime is not None:
        config["Runtime"] = plan.runtime
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
    return config


def _network(plan: ContainerPlan) -> dict[str, object]:
    if plan.bridge is None:
        return {"NetworkMode": "none", "PortBindings": {}}
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in plan.ports:
        binding = {"HostIp": port.host_address, "HostPort": str(port.host_port)}
        bindings.setdefault(port_key(port), []).append(binding)
    return {"NetworkMode": plan.bridge, "PortBindings": bindings, "Dns": list(plan.dns)}


def _mount(mount: Mount) -> dict[str, object]:
    return {
        "Type": "bind",
        "Source": mount.source,
        "Target": mount.target,
        "ReadOnly": mount.read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _device_requests(gpus: tuple[str, ...]) -> list[dict[str, object]]:
    if not gpus:
        return []
    return [{"Driver": "cdi", "DeviceIDs": [f"{CDI_KIND}={uuid}" for uuid in gpus]}]
