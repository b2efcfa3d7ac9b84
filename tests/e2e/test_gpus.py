"""Jobs on GPUs, whole: the daemon's own child reads a stand-in of NVIDIA's library, and the engine hands harmless nodes over by CDI."""

import asyncio
import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from agent.daemon import repair
from tests.e2e.client import Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.gpu_host import gpu_host
from tests.kmsg_standin import KmsgStandin
from tests.nvml_standin import profiles
from tests.nvml_standin.library import Standin
from tests.nvml_standin.profiles import uuid_of
from tests.nvml_standin.smi import IN_USE, StandinSmi
from tests.private_engine import PrivateEngine

SEE = "ls /dev | grep -c '^nvidia[0-9]'; ls /dev | grep '^nvidia[0-9]'"


@pytest.fixture
def host(engine: PrivateEngine, tmp_path: Path) -> Iterator[Standin]:
    with gpu_host(engine, tmp_path, profiles.l40s_pcie()) as standin:
        yield standin


@pytest.fixture
def kmsg(tmp_path: Path) -> Iterator[KmsgStandin]:
    made = KmsgStandin(tmp_path / "kmsg")
    yield made
    made.close()


@pytest.fixture
def stopped(make_daemon: Make, host: Standin, kmsg: KmsgStandin) -> Daemon:
    made = make_daemon({"gpus": {"clean_timeout": 5, "kernel_log": str(kmsg.path)}})
    made.environment = host.environ
    return made


@pytest.fixture
def daemon(stopped: Daemon) -> Daemon:
    stopped.start()
    expect(lambda: states(stopped) == ["ok"] * 4, "all four were looked at")
    return stopped


def states(daemon: Daemon) -> list[str | None]:
    return [gpu["state"] for gpu in daemon.local.call("GET", "/v1/gpus").json["items"]]


def run_on(daemon: Daemon, count: int) -> str:
    job_id = daemon.local.submit("sleep 600", gpus=count)
    daemon.local.wait_phase(job_id, "running")
    return job_id


def test_a_job_sees_the_gpus_of_its_lease_and_no_other(daemon: Daemon) -> None:
    job_id = daemon.local.submit(SEE, gpus=2)
    job = daemon.local.wait_finished(job_id)
    assert job["outcome"] == "succeeded", job["reason"]
    # The two behind one PCIe switch.
    expect(lambda: daemon.local.log(job_id).split() == ["2", "nvidia0", "nvidia1"], "its log")
    alone = daemon.local.submit(SEE)
    daemon.local.wait_finished(alone)
    assert daemon.local.log(alone).split() == ["0"]


def test_a_gpu_that_fails_under_its_job_is_given_to_nobody_also_after_a_kill(
    daemon: Daemon, host: Standin
) -> None:
    first = run_on(daemon, 1)
    leased = daemon.local.job(first)["gpus"][0]
    host.tell_xid(leased, 62)
    job = daemon.local.wait_finished(first)
    assert (job["outcome"], job["reason"]["code"], job["reason"]["blame"]) == ("failed", "gpu_fault", "host")
    daemon.kill()
    daemon.start()
    others = [run_on(daemon, 1) for _ in range(3)]
    held = {daemon.local.job(job_id)["gpus"][0] for job_id in others}
    assert held == {uuid_of(place) for place in range(4)} - {leased}
    waiting = daemon.local.submit("true", gpus=1)
    expect(lambda: daemon.local.job(waiting)["waiting_for"] == "gpus", "it waits for a GPU")
    shown = daemon.local.call("GET", f"/v1/gpus/{leased}").json
    assert (shown["state"], shown["needs"]) == ("quarantined", ["probation", "reset"])


def test_a_gpu_that_vanishes_loses_its_job_and_is_missing(daemon: Daemon, host: Standin) -> None:
    job_id = run_on(daemon, 1)
    leased = daemon.local.job(job_id)["gpus"][0]
    place = next(place for place in range(4) if uuid_of(place) == leased)
    host.tell_xid(leased, 79)
    host.become(profiles.l40s_pcie().without(place))
    job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["reason"]["code"]) == ("lost", "gpu_lost")
    expect(lambda: states(daemon)[place] == "missing", "it is told to be missing")
    assert len(states(daemon)) == 4


def test_an_xid_from_before_the_start_keeps_its_gpu_from_all_once_and_not_after_a_restore(
    stopped: Daemon, kmsg: KmsgStandin
) -> None:
    first, second = uuid_of(0), uuid_of(1)
    kmsg.write("NVRM: loading NVIDIA UNIX x86_64 Kernel Module  570.172.08")
    kmsg.write_xid("00000000:21:00.0", 62)
    kmsg.write_xid("00000000:41:00.0", 48)
    kmsg.write_xid("00000000:61:00.0", 31)
    stopped.start()
    two_away = ["quarantined", "quarantined", "ok", "ok"]
    expect(lambda: states(stopped) == two_away, "two are kept, and a program's own is nobody's")
    shown = stopped.local.call("GET", f"/v1/gpus/{first}").json
    assert "XID 62" in shown["words"]
    checks = stopped.local.call("GET", "/health").json["checks"]
    assert next(check["state"] for check in checks if check["name"] == "kernel_log") == "ok"
    assert stopped.local.call("POST", f"/v1/gpus/{second}/restore").status == 200
    for _ in range(2):
        stopped.kill()
        kmsg.write_again()
        stopped.start()
        stopped.local.wait_finished(stopped.local.submit("true", gpus=1))
        assert states(stopped) == ["quarantined", "ok", "ok", "ok"]
    kmsg.write_xid("00000000:41:00.0", 48)
    expect(lambda: states(stopped) == two_away, "the next one counts, and at once", 5)


def test_an_xid_that_came_while_the_daemon_was_away_ends_the_job_that_was_there(
    daemon: Daemon, kmsg: KmsgStandin
) -> None:
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    there, other = run_on(daemon, 1), run_on(daemon, 1)
    pci = {uuid_of(place): f"00000000:{0x21 + 0x20 * place:02X}:00.0" for place in range(4)}
    leased = {job_id: pci[daemon.local.job(job_id)["gpus"][0]] for job_id in (there, other)}
    daemon.kill()
    kmsg.write_xid(leased[other], 62, seconds=before)
    # Past what the two clocks may differ by, without the wait.
    kmsg.write_xid(leased[there], 62, seconds=time.clock_gettime(time.CLOCK_MONOTONIC) + 11)
    daemon.start()
    job = daemon.local.wait_finished(there)
    assert (job["outcome"], job["reason"]["code"], job["reason"]["blame"]) == ("failed", "gpu_fault", "host")
    assert daemon.local.job(other)["phase"] == "running"
    assert states(daemon).count("quarantined") == 2


def test_a_repair_gives_a_running_job_its_gpus_back(daemon: Daemon) -> None:
    job_id = run_on(daemon, 2)
    held = daemon.local.job(job_id)["gpus"]
    daemon.stop()
    for file in daemon.state.glob("agent.db*"):
        file.unlink()
    asyncio.run(repair(daemon.config))
    daemon.start()
    assert daemon.local.job(job_id)["gpus"] == held
    other = run_on(daemon, 2)
    assert not set(daemon.local.job(other)["gpus"]) & set(held)


def test_more_than_the_host_has_is_refused_and_the_most_is_told(daemon: Daemon) -> None:
    reply = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true", gpus=5))
    assert (reply.status, reply.json["code"]) == (422, "gpus_never_fit")
    assert "the most that this host could give the job are 4" in reply.json["detail"]


@pytest.fixture
def tool(tmp_path: Path) -> StandinSmi:
    made = StandinSmi(tmp_path)
    made.set_persistence("Enabled")
    return made


@pytest.fixture
def resetting_daemon(make_daemon: Make, host: Standin, tool: StandinSmi) -> Daemon:
    """The first of its GPUs has failed, and the driver wants a reset."""
    made = make_daemon({"gpus": {"clean_timeout": 5, "probation": 3}})
    made.environment = {**host.environ, **tool.environ}
    made.start()
    expect(lambda: states(made) == ["ok"] * 4, "all four were looked at")
    host.become(profiles.l40s_pcie().but(0, "rows 0 0 1 0"))
    host.tell_xid(uuid_of(0), 62)
    expect(lambda: "reset" in first_gpu(made)["needs"], "it waits for its reset")
    return made


def first_gpu(daemon: Daemon) -> dict[str, Any]:
    shown: dict[str, Any] = daemon.local.call("GET", f"/v1/gpus/{uuid_of(0)}").json
    return shown


def order_reset(daemon: Daemon) -> None:
    reply = daemon.local.call("POST", f"/v1/gpus/{uuid_of(0)}/reset", {"words": "it failed"})
    assert (reply.status, reply.json["state"]) == (202, "resetting")


def test_a_gpu_is_reset_across_a_kill_of_the_daemon_and_given_out_after_its_probation(
    resetting_daemon: Daemon, host: Standin, tool: StandinSmi
) -> None:
    daemon = resetting_daemon
    mended = tool.folder / "mended"
    mended.write_text(profiles.l40s_pcie().text())
    tool.become(
        f"echo begun >> begun; while [ ! -e go ]; do sleep 0.05; done; cp mended new-host; mv new-host {host.state_file}"
    )
    order_reset(daemon)
    expect((tool.folder / "begun").exists, "the reset has begun")
    daemon.kill()
    daemon.start()
    waiting = daemon.local.submit("true", gpus=4)
    expect(lambda: first_gpu(daemon)["state"] == "resetting", "the order stands")
    assert len(tool.resets()) == 1  # the first outlived its daemon, and is waited for
    (tool.folder / "go").touch()
    expect(lambda: first_gpu(daemon)["state"] == "ok", "it is well again", seconds=60)
    assert daemon.local.wait_finished(waiting)["outcome"] == "succeeded"
    assert tool.resets() == ["--gpu-reset -i 00000000:21:00.0"] * 2
    assert (tool.persistence("persistence-at-reset"), tool.persistence()) == ("Disabled", "Enabled")
    assert [change["to"] for change in first_gpu(daemon)["history"]][-3:] == [
        "resetting",
        "quarantined",
        "ok",
    ]


def test_a_refused_reset_is_told_by_the_gpu_and_by_health(resetting_daemon: Daemon, tool: StandinSmi) -> None:
    tool.become(f"echo '{IN_USE}'; exit 255")
    order_reset(resetting_daemon)
    expect(lambda: first_gpu(resetting_daemon)["reason"] == "reset_failed", "its end is told")
    shown = first_gpu(resetting_daemon)
    assert (shown["state"], shown["needs"]) == ("quarantined", ["probation", "reset"])
    assert "In use by another client" in shown["words"]
    expect(lambda: "the reset failed" in gpus_check(resetting_daemon), "health says it")


def gpus_check(daemon: Daemon) -> str:
    checks = daemon.local.call("GET", "/health").json["checks"]
    return next(str(check["evidence"]) for check in checks if check["name"] == "gpus")


def test_what_becomes_of_a_gpu_is_in_the_stream_also_after_a_kill_and_goes_on_behind_the_last(
    daemon: Daemon, host: Standin
) -> None:
    job_id = run_on(daemon, 1)
    leased = daemon.local.job(job_id)["gpus"][0]
    host.tell_xid(leased, 62)
    (failed,) = gpu_events(daemon, 1)
    assert {name: failed["data"][name] for name in ("gpu", "from", "to", "reason", "needs")} == {
        "gpu": leased, "from": "ok", "to": "quarantined", "reason": "xid", "needs": ["probation", "reset"],
    }  # fmt: skip
    daemon.local.wait_finished(job_id)
    daemon.kill()
    daemon.start()
    assert gpu_events(daemon, 1) == [failed]
    other = next(uuid_of(place) for place in range(4) if uuid_of(place) != leased)
    hold = f"/v1/gpus/{other}/quarantine"
    # Until its first look the new daemon knows of no GPU.
    expect(lambda: daemon.local.call("POST", hold, {"words": "a fan rattles"}).status == 200, "it is held")
    (held,) = gpu_events(daemon, 1, after=failed["seq"])
    assert (held["data"]["gpu"], held["data"]["words"]) == (other, "a fan rattles")
    (stopped,) = events(daemon, f"after={failed['seq']}&job={job_id}", 1)
    assert stopped["type"] == "job.stop_requested"  # the verdict was told first, in the same write
    assert stopped["seq"] == failed["seq"] + 1


def gpu_events(daemon: Daemon, count: int, after: int = 0) -> list[Json]:
    return events(daemon, f"after={after}&type=gpu.state", count)


def events(daemon: Daemon, query: str, count: int) -> list[Json]:
    """The first so many, as soon as they have come."""
    lines = daemon.local.lines(f"/v1/events?{query}")
    data = (json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: "))
    return list(islice(data, count))


def test_what_a_gpu_did_is_in_the_job_at_its_end_whole_also_after_a_kill(
    daemon: Daemon, host: Standin
) -> None:
    job_id = run_on(daemon, 1)
    (leased,) = daemon.local.job(job_id)["gpus"]
    place = int(leased[4:12], 16)
    works = ("utilisation 90 10", "memory 48318382080 0 10737418240")

    def stats() -> dict[str, Any]:
        shown: dict[str, Any] = daemon.local.call("GET", f"/v1/jobs/{job_id}/stats?once=1").json
        return shown

    def has_taken(joules: float) -> bool:
        usage = stats()["gpu_usage"]
        return usage is not None and usage["energy"] == joules

    expect(lambda: has_taken(0), "the account has begun")
    begun = 1000 * (place + 1)
    host.become(profiles.l40s_pcie().but(place, *works, f"energy {begun + 40_000}"))
    expect(lambda: has_taken(40), "40 J were taken")
    shown = stats()
    assert shown["gpus"] == [
        {"uuid": leased, "utilisation": 90, "memory_used": 10 << 30, "power": 70.5, "temperature": 31, "slowdowns": []}
    ]  # fmt: skip
    assert shown["container"]["memory"] > 0
    assert shown["container"]["cpu_percent"] is not None
    daemon.kill()
    host.become(profiles.l40s_pcie().but(place, f"energy {begun + 90_000}"))
    daemon.start()
    expect(lambda: has_taken(90), "what was taken while the daemon was away is counted")
    host.become(profiles.l40s_pcie().but(place, f"energy {begun + 120_000}"))
    daemon.local.call("POST", f"/v1/jobs/{job_id}/cancel?grace=0")
    job = daemon.local.wait_finished(job_id)
    (attempt,) = job["attempts"]
    for usage in (job["gpu_usage"], attempt["gpu_usage"]):
        assert usage["energy"] == 120
        assert usage["gpu_seconds"] == pytest.approx(usage["energy_seconds"], abs=2)
        assert 0 < usage["utilisation_seconds"] <= usage["energy_seconds"]
        assert [one["uuid"] for one in usage["gpus"]] == [leased]
    reply = daemon.local.call("GET", f"/v1/jobs/{job_id}/stats")
    assert (reply.status, reply.json["code"]) == (409, "job_not_running")
