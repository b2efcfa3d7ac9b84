"""Which GPUs a container of a real engine sees: harmless device nodes of the host stand for them, under the names of NVIDIA's.

What they are is in the CDI specs; the nvidia runtime is a script that notes what it was told, and runs runc.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import DockerStage

from agent.core.container import ContainerPlan, Cpuset, Injection
from agent.core.job import FailureKind, StartFailure
from agent.interfaces import StartFailedError
from tests.contract.engine_contract import until_exited
from tests.private_engine import PrivateEngine
from tests.private_engine_host import busybox_tar

ONE, TWO, MIG = "GPU-11111111-aaaa", "GPU-22222222-bbbb", "MIG-33333333-cccc"
UNKNOWN, NODELESS, HOOKLESS = "GPU-44444444-dddd", "GPU-55555555-eeee", "GPU-66666666-ffff"
# Major and minor numbers of the host's nodes, as `stat` writes them (man 4 full, null, zero).
NODES = {"nvidia0": ("/dev/full", "1:7"), "nvidia1": ("/dev/null", "1:3"), "nvidia2": ("/dev/zero", "1:5")}
CONTROL = "nvidiactl 1:9"
SEE = "cd /dev; for node in nvidia*; do [ -e $node ] && echo $(stat -c '%n %t:%T' $node); done; env"
GREEDY = "gpu-agent-test/greedy:1"
GREEDY_ENVIRONMENT = {
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "all",
    "CUDA_VISIBLE_DEVICES": "all",
    "NVIDIA_GDRCOPY": "enabled",
    "NVIDIA_GDS": "enabled",
    "NVIDIA_IMEX_CHANNELS": "0",
    "NVIDIA_MIG_CONFIG_DEVICES": "all",
    "NVIDIA_MIG_MONITOR_DEVICES": "all",
    "NVIDIA_MOFED": "enabled",
    "NVIDIA_NVSWITCH": "enabled",
}
RECORDER = """#!/bin/sh
for word; do [ "$before" = --bundle ] && cp "$word/config.json" {told}; before=$word; done
exec runc "$@"
"""


def device(name: str, **edits: object) -> dict[str, object]:
    return {"name": name, "containerEdits": edits}


def node(name: str) -> list[dict[str, str]]:
    return [{"path": f"/dev/{name}", "hostPath": NODES[name][0]}]


SPEC: dict[str, Any] = {
    "cdiVersion": "0.5.0",
    "kind": "nvidia.com/gpu",
    "containerEdits": {"deviceNodes": [{"path": "/dev/nvidiactl", "hostPath": "/dev/urandom"}]},
    "devices": [
        device(ONE, deviceNodes=node("nvidia0")),
        device(TWO, deviceNodes=node("nvidia1")),
        device(MIG, deviceNodes=node("nvidia2")),
        device("all", deviceNodes=[*node("nvidia0"), *node("nvidia1"), *node("nvidia2")]),
        device(NODELESS, deviceNodes=[{"path": "/dev/no-such-node"}]),
        device(HOOKLESS, hooks=[{"hookName": "createContainer", "path": "/usr/bin/no-such-nvidia-ctk"}]),
    ],
}


@pytest.fixture
def specs(private_engine: PrivateEngine) -> Iterator[Path]:
    file = private_engine.root / "cdi" / "nvidia.json"
    write_specs(file, SPEC)
    yield file
    file.unlink()


def write_specs(file: Path, specs: dict[str, Any]) -> None:
    file.write_text(json.dumps(specs))


@pytest.fixture(scope="module")
def greedy(private_engine: PrivateEngine) -> str:
    """An image that wants every GPU, and all that comes with them."""
    repository, _, tag = GREEDY.partition(":")
    changes = "".join(f"&changes=ENV%20{name}%3D{value}" for name, value in GREEDY_ENVIRONMENT.items())
    path = f"/images/create?fromSrc=-&repo={repository}&tag={tag}{changes}"
    status, reply = private_engine.request("POST", path, busybox_tar())
    assert status == 200, reply
    return GREEDY


@asynccontextmanager
async def nvidia_runtime(stage: DockerStage, path: str) -> AsyncIterator[None]:
    """The engine reads its runtimes anew without a restart. It keeps the old ones where the file names none at all."""
    config = stage.private.root / "daemon.json"
    before = config.read_text()
    try:
        await reload_runtimes(stage, {"nvidia": {"path": path}})
        yield
    finally:
        await reload_runtimes(stage, {})
        config.write_text(before)


async def reload_runtimes(stage: DockerStage, runtimes: dict[str, dict[str, str]]) -> None:
    config = stage.private.root / "daemon.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "runtimes": runtimes}))
    os.kill(stage.private.pid, signal.SIGHUP)
    async with asyncio.timeout(10):
        while ("nvidia" in (await stage.engine.facts()).runtimes) != ("nvidia" in runtimes):
            await asyncio.sleep(0.05)


def of_gpus(stage: DockerStage, script: str, *gpus: str) -> ContainerPlan:
    return replace(stage.shell("gpu", script), gpus=gpus, injection=Injection.CDI if gpus else None)


async def seen_by(stage: DockerStage, plan: ContainerPlan) -> list[str]:
    """The lines that its program wrote."""
    container = await stage.run(plan)
    await until_exited(stage.engine, container)
    raw = b"".join([chunk async for chunk in stage.engine.read_logs(container, 0)])
    return [line.partition(b"Z ")[2].decode() for line in raw.splitlines()]


async def refusal(stage: DockerStage, plan: ContainerPlan) -> StartFailure:
    with pytest.raises(StartFailedError) as raised:
        await stage.run(plan)
    return raised.value.failure


def nodes_in(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("nvidia")]


def wishes_in(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("NVIDIA_", "CUDA_"))]


LEASES = pytest.mark.parametrize(
    ("gpus", "nodes"),
    [
        ((), []),
        ((ONE,), ["nvidia0 1:7", CONTROL]),
        ((TWO,), ["nvidia1 1:3", CONTROL]),
        ((ONE, TWO), ["nvidia0 1:7", "nvidia1 1:3", CONTROL]),
        ((MIG,), ["nvidia2 1:5", CONTROL]),
    ],
)


@pytest.mark.usefixtures("specs")
@LEASES
async def test_a_container_has_the_nodes_of_its_lease_and_no_others(
    stage: DockerStage, gpus: tuple[str, ...], nodes: list[str]
) -> None:
    assert nodes_in(await seen_by(stage, of_gpus(stage, SEE, *gpus))) == nodes


@pytest.mark.usefixtures("specs")
@LEASES
async def test_an_image_that_wants_all_gpus_has_those_of_the_lease(
    stage: DockerStage, greedy: str, gpus: tuple[str, ...], nodes: list[str]
) -> None:
    lines = await seen_by(stage, replace(of_gpus(stage, SEE, *gpus), image=greedy))
    assert nodes_in(lines) == nodes
    # By CDI nobody reads what the image says of the driver's parts.
    assert sorted(wishes_in(lines)) == ["NVIDIA_DRIVER_CAPABILITIES=all", "NVIDIA_VISIBLE_DEVICES=void"]


@pytest.mark.usefixtures("specs")
async def test_a_job_without_gpus_can_neither_find_nor_make_a_node(stage: DockerStage) -> None:
    script = "mknod /dev/nvidia0 c 1 7 || echo refused; cat /dev/nvidia0 || echo nothing"
    assert {"refused", "nothing"} <= set(await seen_by(stage, of_gpus(stage, script)))


@pytest.mark.usefixtures("specs")
async def test_the_engine_tells_where_its_specs_are_and_we_read_what_they_name(
    stage: DockerStage, specs: Path
) -> None:
    facts = await stage.engine.facts()
    assert facts.cdi_dirs == (str(stage.private.root / "cdi"),)
    assert facts.cdi_gpus == {ONE, TWO, MIG, NODELESS, HOOKLESS, "all"}
    assert "runc" in facts.runtimes
    write_specs(specs, {**SPEC, "devices": SPEC["devices"][:1]})
    assert (await stage.engine.renew_specs(facts)) == replace(facts, cdi_gpus=frozenset({ONE}))


@pytest.mark.usefixtures("specs")
@pytest.mark.parametrize("gpus", [(UNKNOWN,), (ONE, UNKNOWN), (NODELESS,), (HOOKLESS,)])
async def test_a_gpu_that_can_not_be_handed_over_is_the_hosts_fault(
    stage: DockerStage, gpus: tuple[str, ...]
) -> None:
    failure = await refusal(stage, of_gpus(stage, SEE, *gpus))
    assert (failure.kind, failure.code) == (FailureKind.GPU, "gpu_start_failed"), failure.message


async def test_a_host_without_any_spec_is_to_blame(stage: DockerStage) -> None:
    failure = await refusal(stage, of_gpus(stage, SEE, ONE))
    assert failure.kind is FailureKind.GPU, failure.message


async def test_the_nvidia_runtime_is_told_the_lease_and_nothing_of_the_images_wishes(
    stage: DockerStage, greedy: str, tmp_path: Path
) -> None:
    told, script = tmp_path / "told.json", tmp_path / "nvidia-container-runtime"
    script.write_text(RECORDER.format(told=told))
    script.chmod(0o755)
    plan = replace(of_gpus(stage, "env", ONE, MIG), image=greedy, injection=Injection.NVIDIA)
    async with nvidia_runtime(stage, str(script)):
        lines = await seen_by(stage, plan)
    leased = ["NVIDIA_DRIVER_CAPABILITIES=compute,utility", f"NVIDIA_VISIBLE_DEVICES={ONE},{MIG}"]
    assert sorted(wishes_in(lines)) == leased
    assert sorted(wishes_in(json.loads(told.read_text())["process"]["env"])) == leased


async def test_a_missing_nvidia_runtime_is_the_hosts_fault(stage: DockerStage) -> None:
    plan = replace(of_gpus(stage, SEE, ONE), injection=Injection.NVIDIA)
    failure = await refusal(stage, plan)
    assert (failure.kind, failure.code) == (FailureKind.GPU, "gpu_start_failed"), failure.message


@pytest.mark.parametrize("path", ["/usr/bin/no-such-nvidia-container-runtime", "no-such-nvidia-runtime"])
async def test_an_nvidia_runtime_whose_program_is_gone_is_the_hosts_fault(
    stage: DockerStage, path: str
) -> None:
    plan = replace(of_gpus(stage, SEE, ONE), injection=Injection.NVIDIA)
    async with nvidia_runtime(stage, path):
        failure = await refusal(stage, plan)
    assert (failure.kind, failure.code) == (FailureKind.GPU, "gpu_start_failed"), failure.message


async def test_a_pinned_job_runs_on_the_cpus_and_the_memory_of_its_node(stage: DockerStage) -> None:
    plan = replace(of_gpus(stage, "grep _allowed_list /proc/self/status"), cpuset=Cpuset("0", "0"))
    assert [line.split() for line in await seen_by(stage, plan)] == [
        ["Cpus_allowed_list:", "0"],
        ["Mems_allowed_list:", "0"],
    ]
