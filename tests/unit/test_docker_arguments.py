"""A plan in the engine's words: what every container gets, and what none may."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.docker.arguments import TAKEN_AWAY, create_body, environment
from agent.core.container import (
    ContainerPlan,
    Cpuset,
    Injection,
    LogBounds,
    Mount,
    PublishedPort,
    QuotaVolume,
    VolumeMount,
)
from agent.spec import is_reserved_env

PLAN = ContainerPlan(
    name="gpu-agent-j-1",
    agent="a",
    job="j",
    attempt=2,
    image="sha256:1",
    command=None,
    entrypoint=None,
    environment=(),
    secret_environment=(),
    user=None,
    workdir=None,
    cpus=None,
    memory_bytes=None,
    shm_bytes=None,
    pids=4096,
    storage_bytes=None,
    bridge=None,
    dns=(),
    ports=(),
    mounts=(),
    gpus=(),
    injection=None,
    cpuset=None,
    runtime=None,
    logs=LogBounds(100_000_000, 10),
    capabilities=("CHOWN",),
    nofile=1_048_576,
    oom_score=500,
)
PORTS = (PublishedPort(8080, "tcp", "0.0.0.0", 20000), PublishedPort(9000, "udp", "127.0.0.1", 20001))


def host(plan: ContainerPlan) -> dict[str, Any]:
    config = create_body(plan, {})["HostConfig"]
    assert isinstance(config, dict)
    return config


texts = st.text(max_size=20)
plans = st.builds(
    replace,
    st.just(PLAN),
    command=st.none() | st.tuples(texts),
    entrypoint=st.none() | st.tuples(texts),
    user=st.none() | texts,
    environment=st.tuples(st.tuples(texts, texts)),
    bridge=st.none() | st.just("gpuagent0"),
    ports=st.just(PORTS) | st.just(()),
    gpus=st.just(()) | st.just(("GPU-1",)),
    injection=st.none() | st.sampled_from(Injection),
    memory_bytes=st.none() | st.integers(1, 2**40),
    runtime=st.none() | st.just("runsc"),
)


@given(plans)
def test_no_plan_ever_makes_a_container_that_is_not_confined(plan: ContainerPlan) -> None:
    config = host(plan)
    assert config["CapDrop"] == ["ALL"]
    assert config["CapAdd"] == ["CHOWN"]
    assert config["SecurityOpt"] == ["no-new-privileges:true"]
    assert (config["Privileged"], config["Init"], config["AutoRemove"]) == (False, True, False)
    assert config["RestartPolicy"] == {"Name": "no"}
    assert (config["IpcMode"], config["CgroupnsMode"]) == ("private", "private")
    assert (config["PidMode"], config["UTSMode"]) == ("", "")
    assert config["NetworkMode"] in {"none", "gpuagent0"}
    assert config["LogConfig"]["Type"] == "local"
    assert config["PidsLimit"] == 4096
    assert config.get("Memory") == config.get("MemorySwap") == plan.memory_bytes
    assert not {"Devices", "Binds", "VolumesFrom", "UsernsMode", "CgroupParent", "Sysctls"} & set(config)


@given(
    plans,
    st.sampled_from(["NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", *TAKEN_AWAY]),
    st.sampled_from(["all", "GPU-2", "enabled", ""]),
)
def test_no_variable_of_the_plan_widens_the_gpus(plan: ContainerPlan, name: str, wish: str) -> None:
    greedy = replace(plan, environment=((name, wish),), secret_environment=("NVIDIA_VISIBLE_DEVICES",))
    seen = environment(greedy, {"NVIDIA_VISIBLE_DEVICES": wish})
    by_runtime = plan.gpus and plan.injection is Injection.NVIDIA
    visible = [pair for pair in seen if pair.startswith("NVIDIA_VISIBLE_DEVICES")]
    assert visible == [f"NVIDIA_VISIBLE_DEVICES={','.join(plan.gpus) if by_runtime else 'void'}"]
    assert set(TAKEN_AWAY) <= set(seen)
    assert not [pair for pair in seen if pair.partition("=")[0] in TAKEN_AWAY and "=" in pair]


def test_what_is_forced_and_taken_away_no_spec_may_name() -> None:
    forced = ["NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", *TAKEN_AWAY]
    assert [name for name in forced if not is_reserved_env(name)] == []


def test_by_cdi_exactly_the_leased_gpus_are_asked_for() -> None:
    config = host(replace(PLAN, gpus=("GPU-1", "MIG-2"), injection=Injection.CDI))
    assert config["DeviceRequests"] == [
        {"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1", "nvidia.com/gpu=MIG-2"]}
    ]
    assert "Runtime" not in config


def test_by_the_nvidia_runtime_exactly_the_leased_gpus_are_visible() -> None:
    plan = replace(PLAN, gpus=("GPU-1", "MIG-2"), injection=Injection.NVIDIA)
    assert (host(plan)["Runtime"], host(plan)["DeviceRequests"]) == ("nvidia", [])
    forced = [pair for pair in environment(plan, {}) if "=" in pair]
    assert forced == ["NVIDIA_DRIVER_CAPABILITIES=compute,utility", "NVIDIA_VISIBLE_DEVICES=GPU-1,MIG-2"]


@pytest.mark.parametrize("injection", [None, *Injection])
def test_a_job_without_gpus_asks_for_none(injection: Injection | None) -> None:
    plan = replace(PLAN, injection=injection, runtime="runsc")
    assert (host(plan)["Runtime"], host(plan)["DeviceRequests"]) == ("runsc", [])
    assert [pair for pair in environment(plan, {}) if "=" in pair] == ["NVIDIA_VISIBLE_DEVICES=void"]


def test_ports_are_published_as_leased_and_only_with_a_network() -> None:
    plan = replace(PLAN, bridge="gpuagent0", ports=PORTS)
    assert host(plan)["PortBindings"] == {
        "8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "20000"}],
        "9000/udp": [{"HostIp": "127.0.0.1", "HostPort": "20001"}],
    }
    assert create_body(plan, {})["ExposedPorts"] == {"8080/tcp": {}, "9000/udp": {}}
    assert host(replace(plan, bridge=None))["PortBindings"] == {}


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ({"cpus": 1.5}, "NanoCpus", 1_500_000_000),
        ({"memory_bytes": 5}, "Memory", 5),
        ({"memory_bytes": 5}, "MemorySwap", 5),
        ({"shm_bytes": 7}, "ShmSize", 7),
        ({"storage_bytes": 9}, "StorageOpt", {"size": "9"}),
        ({"runtime": "runsc"}, "Runtime", "runsc"),
        ({"cpuset": Cpuset("0-3,8", "0")}, "CpusetCpus", "0-3,8"),
        ({"cpuset": Cpuset("0-3,8", "0")}, "CpusetMems", "0"),
        ({"dns": ("1.1.1.1",), "bridge": "b"}, "Dns", ["1.1.1.1"]),
        ({"oom_score": 300}, "OomScoreAdj", 300),
        (
            {"mounts": (VolumeMount(QuotaVolume("gpu-agent-j", "j", "/dev/loop7"), "/outputs"),)},
            "Mounts",
            [
                {
                    "Type": "volume",
                    "Source": "gpu-agent-j",
                    "Target": "/outputs",
                    "ReadOnly": False,
                    "VolumeOptions": {
                        "NoCopy": True,
                        "Labels": {"gpu-agent.agent": "a", "gpu-agent.job": "j"},
                        "DriverConfig": {
                            "Name": "local",
                            "Options": {"type": "ext4", "device": "/dev/loop7", "o": "nosuid,nodev"},
                        },
                    },
                }
            ],
        ),
        (
            {"mounts": (Mount("/a", "/b", read_only=True),)},
            "Mounts",
            [
                {
                    "Type": "bind",
                    "Source": "/a",
                    "Target": "/b",
                    "ReadOnly": True,
                    "BindOptions": {"Propagation": "rprivate"},
                }
            ],
        ),
    ],
)
def test_a_limit_of_the_plan_is_in_the_host_config(change: dict[str, Any], key: str, value: object) -> None:
    assert host(replace(PLAN, **change))[key] == value


def test_what_the_plan_leaves_open_is_left_to_the_image_and_the_engine() -> None:
    assert not {"Cmd", "Entrypoint", "User", "WorkingDir", "StopSignal"} & set(create_body(PLAN, {}))
    bounds = {"NanoCpus", "Memory", "ShmSize", "StorageOpt", "Runtime", "CpusetCpus", "CpusetMems"}
    assert not bounds & set(host(PLAN))


def test_a_stop_signal_of_the_plan_is_asked_for() -> None:
    assert create_body(replace(PLAN, stop_signal="SIGTERM"), {})["StopSignal"] == "SIGTERM"


def test_an_empty_entrypoint_is_none_and_not_the_images() -> None:
    assert create_body(replace(PLAN, entrypoint=()), {})["Entrypoint"] == [""]


def test_the_images_health_check_does_not_run() -> None:
    assert create_body(PLAN, {})["Healthcheck"] == {"Test": ["NONE"]}


def test_the_labels_are_the_plans() -> None:
    assert create_body(PLAN, {})["Labels"] == {
        "gpu-agent.agent": "a",
        "gpu-agent.job": "j",
        "gpu-agent.attempt": "2",
        "gpu-agent.plan": PLAN.digest,
    }


def test_a_secret_wins_over_a_plain_variable_and_must_have_a_value() -> None:
    plan = replace(PLAN, environment=(("B", "1"), ("TOKEN", "plain")), secret_environment=("TOKEN",))
    set_to = [pair for pair in environment(plan, {"TOKEN": "s"}) if "=" in pair]
    assert set_to == ["B=1", "NVIDIA_VISIBLE_DEVICES=void", "TOKEN=s"]
    with pytest.raises(KeyError):
        environment(plan, {})
