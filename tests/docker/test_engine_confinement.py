"""What a container of ours can and can't do, asked from inside on a real engine."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import DockerStage

from agent.core.container import ContainerPlan, Mount
from tests.contract.engine_contract import until_exited

CHOWN_AND_KILL = (1 << 0) | (1 << 5)  # linux/capability.h


async def log_of(stage: DockerStage, plan: ContainerPlan) -> str:
    """What the plan's program writes, without the frames' headers and stamps."""
    container = await stage.run(plan)
    await until_exited(stage.engine, container)
    raw = b"".join([chunk async for chunk in stage.engine.read_logs(container, 0)])
    return "\n".join(line.partition(b"Z ")[2].decode() for line in raw.splitlines())


async def test_only_the_capabilities_of_the_plan_are_left(stage: DockerStage) -> None:
    log = await log_of(stage, stage.shell("caps", "grep -E '^Cap(Eff|Bnd)' /proc/self/status"))
    assert [int(line.split()[1], 16) for line in log.splitlines()] == [CHOWN_AND_KILL, CHOWN_AND_KILL]


async def test_no_new_privileges_seccomp_and_an_init_process(stage: DockerStage) -> None:
    log = await log_of(
        stage, stage.shell("privs", "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; cat /proc/1/comm")
    )
    assert log.split() == ["NoNewPrivs:", "1", "Seccomp:", "2", "docker-init"]


async def test_the_limit_on_processes_holds(stage: DockerStage) -> None:
    plan = stage.shell("forks", "i=0; while [ $i -lt 60 ]; do sleep 2 & i=$((i+1)); done; wait; echo all")
    log = await log_of(stage, replace(plan, pids=16))
    assert "can't fork" in log


async def test_ulimits_and_oom_score_are_as_planned(stage: DockerStage) -> None:
    log = await log_of(stage, stage.shell("limits", "ulimit -n; ulimit -Hc; cat /proc/self/oom_score_adj"))
    assert log.split() == ["1024", "0", "500"]


async def test_a_program_that_takes_more_than_its_memory_is_killed_and_says_oom(stage: DockerStage) -> None:
    plan = stage.shell("oom", "echo ready; sleep 0.5; exec awk 'BEGIN{s = 1; while (1) s = s s}'")
    container = await stage.run(replace(plan, memory_bytes=32 * 2**20))
    running = await stage.engine.inspect(container)
    assert running is not None
    peak = await stage.engine.peak_memory(running)
    assert peak is not None
    assert 0 < peak.bytes <= 32 * 2**20
    seen = await until_exited(stage.engine, container)
    assert seen.oom
    assert seen.exit_code == 137


async def test_the_peak_outlasts_what_was_freed(stage: DockerStage) -> None:
    script = "awk 'BEGIN{s = 1; while (length(s) < 40000000) s = s s}'; echo ready; sleep 60"
    container = await stage.run(replace(stage.shell("peak", script), memory_bytes=128 * 2**20))
    await stage.until_ready(container)
    running = await stage.engine.inspect(container)
    assert running is not None
    seen = await stage.engine.peak_memory(running)
    assert seen is not None
    assert seen.bytes > 40_000_000


async def test_mounts_are_read_only_where_the_plan_says_so(stage: DockerStage, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir(mode=0o777)
    (tmp_path / "out").chmod(0o777)
    (tmp_path / "in" / "given").write_text("given\n")
    plan = stage.shell("mounts", "cat /in/given; echo x > /in/y || echo refused; echo made > /out/made")
    mounts = (
        Mount(str(tmp_path / "in"), "/in", read_only=True),
        Mount(str(tmp_path / "out"), "/out", read_only=False),
    )
    log = await log_of(stage, replace(plan, mounts=mounts, user="1000"))
    assert "given" in log
    assert "refused" in log
    assert not (tmp_path / "in" / "y").exists()
    assert (tmp_path / "out" / "made").read_text() == "made\n"


async def test_without_a_bridge_there_is_no_network(stage: DockerStage) -> None:
    log = await log_of(stage, stage.shell("none", "ls /sys/class/net"))
    assert log.split() == ["lo"]


async def test_with_a_bridge_there_is_one_and_the_planned_name_servers(stage: DockerStage) -> None:
    await stage.engine.ensure_bridge("gatest0", None)
    plan = stage.shell("bridge", "ls /sys/class/net; cat /etc/resolv.conf")
    log = await log_of(stage, replace(plan, bridge="gatest0", dns=("192.0.2.53",)))
    assert "eth0" in log
    # The engine's own resolver stands before them, and names them in its comment.
    assert "192.0.2.53" in log


async def test_secrets_reach_the_environment_and_no_variable_widens_the_gpus(stage: DockerStage) -> None:
    plan = replace(
        stage.shell("env", "env"),
        environment=(("NVIDIA_VISIBLE_DEVICES", "all"), ("PLAIN", "a b=c")),
        secret_environment=("TOKEN",),
    )
    container = await stage.engine.create(plan, {"TOKEN": "s3cret"})
    await stage.engine.start(container)
    await until_exited(stage.engine, container)
    log = b"".join([chunk async for chunk in stage.engine.read_logs(container, 0)])
    assert b" PLAIN=a b=c\n" in log
    assert b" TOKEN=s3cret\n" in log
    assert b"NVIDIA_VISIBLE_DEVICES=void" in log
    assert b"NVIDIA_VISIBLE_DEVICES=all" not in log


async def test_exactly_the_leased_gpus_are_injected(stage: DockerStage) -> None:
    spec = stage.private.root / "cdi" / "nvidia.json"
    device = '{"name": "GPU-%s", "containerEdits": {"env": ["SEEN_%s=1"]}}'
    devices = ", ".join(device % (name, name) for name in ("A", "B", "C"))
    spec.write_text(f'{{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{devices}]}}')
    plan = replace(stage.shell("gpus", "env | grep SEEN | sort"), gpus=("GPU-A", "GPU-C"))
    try:
        async with asyncio.timeout(10):
            log = await log_of(stage, plan)
    finally:
        spec.unlink()
    assert log.split() == ["SEEN_A=1", "SEEN_C=1"]


@pytest.mark.parametrize("signal", ["SIGTERM", "SIGINT"])
async def test_the_stop_signal_is_the_images(stage: DockerStage, signal: str) -> None:
    made = await stage.request(
        "POST",
        f"/commit?container={await stage.run(stage.shell('base', 'true'))}&repo=gpu-agent-test/stops&tag={signal}"
        f"&changes=STOPSIGNAL%20{signal}",
    )
    assert made
    plan = replace(stage.shell("stops", "true"), image=f"gpu-agent-test/stops:{signal}")
    seen = await stage.engine.inspect(await stage.engine.create(plan, {}))
    assert seen is not None
    assert seen.stop_signal == signal
