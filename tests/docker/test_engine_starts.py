"""What a real engine refuses at a create or a start, and what our adapter makes of its words."""

import asyncio
import json
import subprocess
from dataclasses import replace
from ipaddress import ip_address

import pytest
from conftest import DockerStage

from agent.core.bridge import Bridge
from agent.core.container import ContainerPlan, Mount, PublishedPort
from agent.core.job import FailureKind, StartFailure
from agent.interfaces import StartFailedError
from tests.contract.engine_contract import FOREVER, until_exited

BRIDGE, SUBNET6 = "gatest0", "fd6f:6b65:7263:1::/64"


def published(stage: DockerStage, job: str, transport: str, host_port: int) -> ContainerPlan:
    port = PublishedPort(8080, transport, "0.0.0.0", host_port)
    return replace(stage.plan(job, FOREVER), bridge=BRIDGE, ports=(port,))


async def refusal(stage: DockerStage, plan: ContainerPlan) -> StartFailure:
    with pytest.raises(StartFailedError) as raised:
        await stage.run(plan)
    return raised.value.failure


async def test_gpus_that_the_host_does_not_know_are_a_gpu_failure(stage: DockerStage) -> None:
    plan = replace(stage.plan("gpu", FOREVER), gpus=("GPU-11111111-2222-3333-4444-555555555555",))
    failure = await refusal(stage, plan)
    assert (failure.kind, failure.code) == (FailureKind.GPU, "gpu_start_failed")


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"user": "nobody-here"}, FailureKind.COMMAND, "bad_user"),
        ({"user": "port is already allocated"}, FailureKind.COMMAND, "bad_user"),
        ({"workdir": "/etc/passwd"}, FailureKind.COMMAND, "command_not_executable"),
        ({"user": "containerd.sock"}, FailureKind.COMMAND, "bad_user"),
        ({"user": "dial unix /run/containerd/containerd.sock"}, FailureKind.COMMAND, "bad_user"),
        ({"workdir": "/etc/passwd/containerd.sock"}, FailureKind.COMMAND, "command_not_executable"),
        ({"workdir": "relative"}, FailureKind.COMMAND, "command_not_executable"),
        ({"bridge": "no-such-bridge"}, FailureKind.ENGINE, "engine_refused"),
        ({"runtime": "no-such-runtime"}, FailureKind.ENGINE, "engine_refused"),
        ({"mounts": (Mount("/no/such/folder", "/x", read_only=True),)}, FailureKind.ENGINE, "engine_refused"),
        (
            {"mounts": (Mount("/etc", "/proc/nvidia port is already allocated", read_only=True),)},
            FailureKind.ENGINE,
            "engine_refused",
        ),
    ],
)
async def test_a_plan_that_cannot_start_says_whose_fault_it_is(
    stage: DockerStage, change: dict[str, object], kind: FailureKind, code: str
) -> None:
    failure = await refusal(stage, replace(stage.plan("refused", FOREVER), **change))
    assert (failure.kind, failure.code) == (kind, code), failure.message


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (
            ("no-such-program",),
            127,
            b"exec no-such-program failed: No such file or directory",
        ),
        (("/etc/not-a-program",), 126, b"exec /etc/not-a-program failed: Permission denied"),
    ],
)
async def test_a_command_that_is_not_there_is_told_by_the_init_process_at_its_exit(
    stage: DockerStage, command: tuple[str, ...], code: int, words: bytes
) -> None:
    # With an init process the engine starts *it*, which always works: the fault is an exit code and a line of the log.
    container = await stage.run(replace(stage.plan("command", FOREVER), command=command))
    assert (await until_exited(stage.engine, container)).exit_code == code
    log = b"".join([chunk async for chunk in stage.engine.read_logs(container, 0)])
    assert words in log


@pytest.mark.parametrize(
    ("addresses", "url"),
    [
        (("0.0.0.0",), "http://127.0.0.1:20005/group"),
        (("::",), "http://[::1]:20005/group"),
        (("0.0.0.0", "::"), "http://127.0.0.1:20005/group"),
        (("0.0.0.0", "::"), "http://[::1]:20005/group"),
    ],
)
async def test_a_published_port_answers_on_the_host(
    stage: DockerStage, addresses: tuple[str, ...], url: str
) -> None:
    await stage.engine.ensure_bridge(BRIDGE, SUBNET6)
    ports = tuple(PublishedPort(8080, "tcp", address, 20005) for address in addresses)
    plan = stage.shell("web", "echo ready; exec httpd -f -p [::]:8080 -h /etc")
    container = await stage.run(replace(plan, bridge=BRIDGE, ports=ports))
    await stage.until_ready(container)
    assert b"worker" in await ask_from_host(stage, url)


@pytest.mark.parametrize("family", ["IPAddress", "GlobalIPv6Address"])
async def test_siblings_on_the_bridge_cannot_reach_each_other(stage: DockerStage, family: str) -> None:
    await stage.engine.ensure_bridge(BRIDGE, SUBNET6)
    web = await stage.run(
        replace(stage.shell("web", "echo ready; exec httpd -f -p [::]:8080 -h /etc"), bridge=BRIDGE)
    )
    await stage.until_ready(web)
    address = await address_of(stage, web, family)
    url = f"http://{f'[{address}]' if ':' in address else address}:8080/group"
    assert b"worker" in await ask_from_host(stage, url)
    # More than once: by IPv6 a first try may be lost, forbidden or not.
    script = f"for i in 1 2 3; do wget -qO- -T 3 {url} && echo REACHED && break; sleep 0.5; done; echo done"
    nosy = await stage.run(replace(stage.shell("nosy", script), bridge=BRIDGE))
    await until_exited(stage.engine, nosy)
    log = b"".join([chunk async for chunk in stage.engine.read_logs(nosy, 0)])
    assert b"done" in log
    assert b"REACHED" not in log


async def test_where_the_engine_refuses_ipv6_the_bridge_is_made_with_ipv4(stage: DockerStage) -> None:
    taken = {"Config": [{"Subnet": SUBNET6}]}
    await stage.request("POST", "/networks/create", {"Name": "gatest3", "EnableIPv6": True, "IPAM": taken})
    await stage.engine.ensure_bridge(BRIDGE, SUBNET6)
    assert await stage.engine.find_bridge(BRIDGE) == Bridge(BRIDGE, None)
    await stage.run(published(stage, "job", "tcp", 20006))


async def ask_from_host(stage: DockerStage, url: str) -> bytes:
    """Until somebody answers: "ready" is said just before it listens, so the first tries may be refused."""
    ask = f"for i in $(seq 100); do wget -qO- -T 5 '{url}' && exit; sleep 0.05; done"
    asked = [*stage.private.prefix, "busybox", "sh", "-c", ask]
    done = await asyncio.to_thread(subprocess.run, asked, capture_output=True, check=False)
    return done.stdout


async def address_of(stage: DockerStage, container: str, family: str) -> str:
    seen = json.loads(await stage.request("GET", f"/containers/{container}/json"))
    return str(ip_address(seen["NetworkSettings"]["Networks"][BRIDGE][family]))
