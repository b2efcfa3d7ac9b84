"""The plan: no spec can widen what the host gives, and each field of it shows in the digest."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.container import ContainerPlan, Cpuset, Injection, LogBounds, Mount, PublishedPort
from agent.core.injection import Handover
from agent.core.job import Job
from agent.core.lease import Lease, PortLease
from agent.core.plan import SECRETS_PATH, Mounted, plan
from agent.core.policy import CAPABILITIES, NOFILE, OOM_SCORE, ImageRules, Limits, Policy, image_refusal
from agent.spec import Proto, SpecRefusedError, is_reserved_env, parse_reference
from tests.unit.core_values import AGENT, make_job

POLICY = Policy(
    agent_id=AGENT,
    bridge="gpuagent0",
    dns=("192.0.2.1",),
    bind=("127.0.0.1",),
    logs=LogBounds(1000, 2),
    limits=Limits(cpus=4, memory_bytes=2**30, shm_bytes=2**20, pids=100, disk_bytes=2**32),
    images=ImageRules(),
)
HANDOVER = Handover(Injection.CDI, Cpuset("0-3", "0"))
OUTPUTS, SECRETS = "/state/jobs/j/outputs", "/run/jobs/j/secrets"
LEASE = Lease(("GPU-1",), (PortLease("web", 8080, Proto.HTTP, 20000), PortLease("dns", 53, Proto.UDP, 20001)))
PORTS = [{"name": "web", "port": 8080, "proto": "http"}, {"name": "dns", "port": 8053, "proto": "udp"}]

OURS = ("GPU_AGENT_JOB", "GPU_AGENT_ATTEMPT", "OUTPUT_DIR", "GPU_AGENT_PORT_WEB", "GPU_AGENT_PORT_DNS")

NAMES = st.sampled_from(
    [
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "NVIDIA_REQUIRE_CUDA",
        "NVIDIA_API_KEY",
        "CUDA_VISIBLE_DEVICES",
        "GPU_AGENT_JOB",
        "OUTPUT_DIR",
        "A",
        "PATH",
    ]
)
PATHS = st.sampled_from(
    ["/outputs", "/data", "/var/run/docker.sock", "/etc", "/", "/proc", "/a/../etc", "/sys/fs"]
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "env": st.dictionaries(NAMES, st.sampled_from(["all", "0", ""]), max_size=2),
        "secrets": st.fixed_dictionaries(
            {name: st.just("all") for name in ("NVIDIA_VISIBLE_DEVICES", "NVIDIA_API_KEY", "KEY")}
        ),
        "secrets_env": st.lists(
            st.sampled_from(["NVIDIA_VISIBLE_DEVICES", "NVIDIA_API_KEY", "KEY"]), unique=True
        ),
        "outputs": st.fixed_dictionaries({"path": PATHS}),
        "workdir": PATHS,
        "user": st.sampled_from(["root", "0:0", "1000"]),
        "network": st.sampled_from(["egress", "none", "host", "bridge"]),
        "command": st.lists(st.text(max_size=5), max_size=3),
        "entrypoint": st.lists(st.text(max_size=5), max_size=3),
        "privileged": st.booleans(),
        "volumes": st.sampled_from([[], ["/:/host"]]),
        "labels": st.dictionaries(st.sampled_from(["a", "gpu-agent.agent"]), st.text(max_size=3)),
        "gpus": st.integers(0, 2),
    },
)


@given(SPECS, st.sampled_from([None, LEASE, Lease()]), st.sampled_from([None, SECRETS]))
def test_no_spec_can_widen_what_the_host_gives(
    body: dict[str, Any], lease: Lease | None, secrets: str | None
) -> None:
    try:
        job = make_job(body, lease=lease, image_digest="busybox@sha256:1")
    except SpecRefusedError:
        return
    made = plan(job, POLICY, Mounted(OUTPUTS, secrets, None), HANDOVER)
    assert {mount.source for mount in made.mounts} <= {OUTPUTS, SECRETS}
    assert {mount.target for mount in made.mounts} <= {job.spec.outputs.path, SECRETS_PATH}
    assert [mount.target for mount in made.mounts if not mount.read_only] == [job.spec.outputs.path]
    assert made.gpus == (lease.gpus if lease else ())
    assert (made.injection, made.cpuset) == (HANDOVER.injection, HANDOVER.cpuset)
    assert (made.capabilities, made.nofile, made.oom_score) == (CAPABILITIES, NOFILE, OOM_SCORE)
    assert made.bridge in {POLICY.bridge, None}
    assert (made.agent, made.job, made.runtime, made.logs) == (AGENT, job.id, None, POLICY.logs)
    assert all(port.host_address == POLICY.bind[0] for port in made.ports)
    environment = dict(made.environment)
    assert not {name for name in environment if is_reserved_env(name)} - set(OURS)
    assert (environment["GPU_AGENT_JOB"], environment["OUTPUT_DIR"]) == (job.id, job.spec.outputs.path)
    assert environment.items() >= job.spec.env.items()  # what was accepted is carried out
    assert set(made.secret_environment) == set(job.spec.secrets_env)


@given(st.dictionaries(NAMES, st.just("all")))
def test_a_row_from_before_a_name_was_reserved_gives_the_job_no_such_variable(env: dict[str, str]) -> None:
    # Accepted as ordinary names, stored, and by now the agent's.
    spec = make_job().spec.model_copy(update={"env": env, "secrets_env": tuple(env)})
    made = plan(replace(make_job(), spec=spec), POLICY, Mounted(OUTPUTS, SECRETS, None), HANDOVER)
    environment = dict(made.environment)
    assert {name for name in environment if is_reserved_env(name)} == set(OURS[:3])
    assert (environment["GPU_AGENT_ATTEMPT"], environment["OUTPUT_DIR"]) == ("1", "/outputs")
    # A secret is set over the environment: it could say again what was taken out of it.
    assert set(made.secret_environment) == {name for name in env if not is_reserved_env(name)}


def full_job(**columns: object) -> Job:
    return make_job({"ports": PORTS, "gpus": 1}, lease=LEASE, image_digest="busybox@sha256:1", **columns)


def test_ports_are_published_on_one_address_and_udp_alone_is_udp() -> None:
    assert plan(full_job(), POLICY, Mounted(OUTPUTS, None, None), HANDOVER).ports == (
        PublishedPort(8080, "tcp", "127.0.0.1", 20000),
        PublishedPort(53, "udp", "127.0.0.1", 20001),
    )


def test_a_port_has_one_number_on_every_address() -> None:
    both = replace(POLICY, bind=("0.0.0.0", "::"))
    assert plan(full_job(), both, Mounted(OUTPUTS, None, None), HANDOVER).ports == (
        PublishedPort(8080, "tcp", "0.0.0.0", 20000),
        PublishedPort(8080, "tcp", "::", 20000),
        PublishedPort(53, "udp", "0.0.0.0", 20001),
        PublishedPort(53, "udp", "::", 20001),
    )


def test_a_job_without_network_has_neither_bridge_nor_ports_nor_dns() -> None:
    made = plan(make_job({"network": "none"}, lease=Lease()), POLICY, Mounted(OUTPUTS, None, None), HANDOVER)
    assert (made.bridge, made.ports, made.dns) == (None, (), ())


def test_what_a_spec_leaves_open_is_the_hosts_limit() -> None:
    made = plan(make_job(lease=Lease()), POLICY, Mounted(OUTPUTS, None, None), HANDOVER)
    limits = POLICY.limits
    asked = (made.cpus, made.memory_bytes, made.shm_bytes, made.pids, made.storage_bytes)
    assert asked == (limits.cpus, limits.memory_bytes, limits.shm_bytes, limits.pids, limits.disk_bytes)


def test_the_digest_is_the_same_for_the_same_job() -> None:
    assert (
        plan(full_job(), POLICY, Mounted(OUTPUTS, SECRETS, None), HANDOVER).digest
        == plan(full_job(), POLICY, Mounted(OUTPUTS, SECRETS, None), HANDOVER).digest
    )


def test_the_digest_changes_with_the_lease_and_with_the_attempt() -> None:
    other_gpu = replace(LEASE, gpus=("GPU-2",))
    other_port = replace(LEASE, ports=(replace(LEASE.ports[0], host_port=20009), LEASE.ports[1]))
    made = [
        plan(full_job(), POLICY, Mounted(OUTPUTS, None, None), HANDOVER),
        plan(replace(full_job(), lease=other_gpu), POLICY, Mounted(OUTPUTS, None, None), HANDOVER),
        plan(replace(full_job(), lease=other_port), POLICY, Mounted(OUTPUTS, None, None), HANDOVER),
        plan(full_job(attempt=2), POLICY, Mounted(OUTPUTS, None, None), HANDOVER),
    ]
    assert len({one.digest for one in made}) == len(made)


@pytest.mark.parametrize("field", [field.name for field in fields(ContainerPlan)])
def test_the_digest_changes_with_each_field(field: str) -> None:
    made = plan(full_job(), POLICY, Mounted(OUTPUTS, SECRETS, None), HANDOVER)
    assert replace(made, **{field: changed(getattr(made, field))}).digest != made.digest


def changed(value: object) -> object:
    match value:
        case None:
            return 1
        case Cpuset():
            return replace(value, cpus="9")
        case LogBounds():
            return replace(value, files=value.files + 1)
        case (Mount() as first, *rest):
            return (replace(first, read_only=not first.read_only), *rest)
        case (PublishedPort() as first, *rest):
            return (replace(first, host_port=1), *rest)
        case tuple():
            return (*value, value[0] if value else "x")
        case int() | float():
            return value + 1
        case _:
            return f"{value}x"


@pytest.mark.parametrize(
    ("allow", "deny", "image", "is_allowed"),
    [
        (("*",), (), "busybox", True),
        (("docker.io/library/*",), (), "busybox", True),
        (("docker.io/library/*",), (), "ghcr.io/a/b", False),
        (("*",), ("ghcr.io/*",), "ghcr.io/a/b", False),
        (("ghcr.io/*",), ("ghcr.io/*",), "ghcr.io/a/b", False),  # deny wins
        ((), (), "busybox", False),
    ],
)
def test_image_rules(allow: tuple[str, ...], deny: tuple[str, ...], image: str, is_allowed: bool) -> None:  # noqa: FBT001 - a table
    assert (image_refusal(parse_reference(image), ImageRules(allow, deny)) is None) is is_allowed
