"""Two whole agents on one host and its four GPUs: which of them may start beside the other, and what either gives its jobs."""

import pytest

from tests.e2e import test_gpus
from tests.e2e.client import expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.nvml_standin.library import Standin
from tests.nvml_standin.profiles import uuid_of
from tests.private_engine import PrivateEngine

host = test_gpus.host
FIRST_TWO, LAST_TWO = [uuid_of(0), uuid_of(1)], [uuid_of(2), uuid_of(3)]

OTHERS_ALONE = ("ok", "containers of others that have GPUs, but none that the agent leases: 1")


@pytest.fixture
def agent_with(make_daemon: Make, host: Standin) -> Make:
    def make(*use: str) -> Daemon:
        daemon = make_daemon({"gpus": {"use": list(use)}})
        daemon.environment = host.environ
        return daemon

    return make


def states(daemon: Daemon) -> dict[str, str | None]:
    return {gpu["uuid"]: gpu["state"] for gpu in daemon.local.call("GET", "/v1/gpus").json["items"]}


def check(daemon: Daemon, name: str) -> tuple[str, str]:
    checks = daemon.local.call("GET", "/health").json["checks"]
    return next((one["state"], one["evidence"]) for one in checks if one["name"] == name)


def expect_all_well(daemon: Daemon) -> None:
    expect(lambda: set(states(daemon).values()) == {"ok"}, "all GPUs are well")


def test_an_agent_that_shares_a_gpu_with_another_does_not_start_and_says_whose_it_is(
    agent_with: Make,
) -> None:
    first, second = agent_with("*").start(), agent_with(uuid_of(3))
    assert first.process is not None
    who = f"gpu-agent {first.agent_id} (process {first.process.pid}, state folder {first.state})"
    second.launch()
    told = second.leave_failed()
    assert "gpus_held" in told
    assert f"{uuid_of(3)} by {who}" in told
    assert "[gpus] use" in told
    assert uuid_of(2) not in told
    expect_all_well(first)


def test_the_lock_of_an_agent_that_was_killed_keeps_nobody_from_starting(agent_with: Make) -> None:
    first, second = agent_with("*").start(), agent_with("*")
    expect_all_well(first)
    first.kill()
    second.start()
    expect_all_well(second)
    first.launch()
    assert f"process {second.process.pid if second.process else 0}," in first.leave_failed()


def test_agents_of_disjoint_gpus_live_side_by_side_and_each_gives_its_own(agent_with: Make) -> None:
    first, second = agent_with(*FIRST_TWO).start(), agent_with(*LAST_TWO).start()
    for daemon, own in ((first, FIRST_TWO), (second, LAST_TWO)):
        job_id = test_gpus.run_on(daemon, 2)
        assert sorted(daemon.local.job(job_id)["gpus"]) == own
        refused = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true", gpus=3))
        assert refused.json["code"] == "gpus_never_fit"
    for daemon in (first, second):
        expect_all_well(daemon)
        expect(lambda daemon=daemon: check(daemon, "gpu_strangers") == OTHERS_ALONE, "the other's container")
        daemon.kill()
        daemon.start()


def test_a_container_of_nobodys_that_was_given_a_gpu_of_ours_is_named(
    agent_with: Make, engine: PrivateEngine, image: str
) -> None:
    daemon = agent_with("*").start()
    assert check(daemon, "gpu_strangers")[0] == "ok"
    given = {"Driver": "cdi", "DeviceIDs": [f"nvidia.com/gpu={uuid_of(1)}"]}
    body = {"Image": image, "Cmd": ["sleep", "600"], "HostConfig": {"DeviceRequests": [given]}}
    assert engine.request("POST", "/containers/create?name=miner", body)[0] == 201
    try:
        assert engine.request("POST", "/containers/miner/start")[0] == 204
        told = ("warn", f"not the agent's, and may use GPUs that it leases: container miner has {uuid_of(1)}")
        expect(lambda: check(daemon, "gpu_strangers") == told, "it is named")
    finally:
        engine.request("DELETE", "/containers/miner?force=1")


def test_a_host_without_gpus_makes_no_folder_of_locks(make_daemon: Make) -> None:
    daemon = make_daemon().start()
    assert daemon.stop() == 0
    assert not (daemon.folder.parent / "gpu-locks").exists()
