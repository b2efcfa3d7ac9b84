"""The engine's JSON as our values, by tables of what an engine sends."""

from pathlib import Path
from typing import Any

import pytest

from agent.adapters.docker import views
from agent.adapters.docker.memory import read_peak
from agent.adapters.docker.pulls import PullTally, pull_query
from agent.core.container import ContainerState, EventKind, MemorySeen, PublishedPort
from agent.spec.image import parse_reference

LABELS = {"gpu-agent.agent": "a", "gpu-agent.job": "j", "gpu-agent.attempt": "3", "gpu-agent.plan": "p"}
ID = "c" * 64


def inspect_answer(status: str, **state: object) -> dict[str, Any]:
    return {
        "Id": ID,
        "Name": "/gpu-agent-j-3",
        "State": {
            "Status": status,
            "ExitCode": 0,
            "OOMKilled": False,
            "Pid": 0,
            "StartedAt": views.NEVER,
            "FinishedAt": views.NEVER,
            **state,
        },
        "Config": {"Labels": LABELS},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "20000"}]}},
    }


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("created", ContainerState.CREATED),
        ("running", ContainerState.RUNNING),
        ("paused", ContainerState.RUNNING),
        ("restarting", ContainerState.RUNNING),
        ("exited", ContainerState.EXITED),
        ("removing", ContainerState.REMOVING),
        ("dead", ContainerState.DEAD),
    ],
)
def test_each_status_of_the_engine_is_one_of_our_states(status: str, state: ContainerState) -> None:
    assert views.inspected(inspect_answer(status)).state is state
    assert views.listed({"Id": ID, "Names": [], "State": status, "Labels": None}).state is state


def test_an_exit_code_is_told_of_an_exited_container_only() -> None:
    # A start that was refused leaves 127 or 128 on a container that never ran.
    assert views.inspected(inspect_answer("created", ExitCode=127)).exit_code is None
    assert views.inspected(inspect_answer("exited", ExitCode=127)).exit_code == 127


def test_times_have_their_fractions_and_never_is_none() -> None:
    seen = views.inspected(inspect_answer("exited", StartedAt="2026-01-02T03:04:05.123456789Z"))
    assert seen.started_at == pytest.approx(1767323045.123456, abs=1e-6)
    assert seen.finished_at is None
    assert views.moment("2026-01-02T03:04:05Z") == 1767323045


def test_an_inspect_has_labels_ports_and_a_stop_signal() -> None:
    seen = views.inspected(inspect_answer("running", Pid=42))
    assert (seen.name, seen.agent, seen.job, seen.attempt, seen.plan) == ("gpu-agent-j-3", "a", "j", 3, "p")
    assert (seen.pid, seen.stop_signal) == (42, "SIGTERM")
    assert seen.ports == (PublishedPort(80, "tcp", "0.0.0.0", 20000),)


@pytest.mark.parametrize(
    ("config", "host"),
    [
        ({"Env": ["NVIDIA_VISIBLE_DEVICES=void"]}, {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=GPU-1", "nvidia.com/gpu=MIG-2"]}]}),
        ({"Env": ["A=1", "NVIDIA_VISIBLE_DEVICES=GPU-1,MIG-2"]}, {"Runtime": "nvidia"}),
    ],
)  # fmt: skip
def test_an_inspect_has_the_gpus_that_the_container_was_given(
    config: dict[str, Any], host: dict[str, Any]
) -> None:
    answer = inspect_answer("running")
    seen = views.inspected({**answer, "Config": answer["Config"] | config, "HostConfig": host})
    assert seen.gpus == ("GPU-1", "MIG-2")
    assert views.inspected(answer).gpus == ()


@pytest.mark.parametrize("attempt", ["", "x", "-1", "²", "1.5"])
def test_an_attempt_that_is_no_number_is_none(attempt: str) -> None:
    answer = {
        "Id": ID,
        "Names": ["/x"],
        "State": "exited",
        "Labels": {**LABELS, "gpu-agent.attempt": attempt},
    }
    assert views.listed(answer).attempt is None


def event_line(action: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "Type": "container",
        "Action": action,
        "Actor": {"ID": ID, "Attributes": labels},
        "timeNano": 1_500_000_000,
    }


def test_an_event_of_ours_is_told_and_any_other_is_not() -> None:
    seen = views.event(event_line("die", LABELS))
    assert seen is not None
    assert (seen.kind, seen.container, seen.job, seen.attempt, seen.at) == (EventKind.DIE, ID, "j", 3, 1.5)
    assert views.event(event_line("exec_create: sh", LABELS)) is None
    assert views.event(event_line("die", {"gpu-agent.agent": "a"})) is None


@pytest.mark.parametrize(
    ("reference", "digest"),
    [
        ("alpine:3", "docker.io/library/alpine@sha256:" + "1" * 64),
        ("docker.io/library/alpine", "docker.io/library/alpine@sha256:" + "1" * 64),
        ("example.org/mirror/alpine:3", "example.org/mirror/alpine@sha256:" + "2" * 64),
        ("built/here:1", "sha256:id"),
        ("sha256:" + "a" * 64, "sha256:id"),
    ],
)
def test_an_images_digest_is_that_of_the_repository_asked_for(reference: str, digest: str) -> None:
    known = ["alpine@sha256:" + "1" * 64, "example.org/mirror/alpine@sha256:" + "2" * 64]
    assert views.image(reference, {"Id": "sha256:id", "RepoDigests": known, "Size": 5}).digest == digest


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["name=seccomp,profile=builtin"], (True, False)),
        (["name=seccomp,profile=unconfined"], (False, False)),
        (["name=apparmor", "name=seccomp,profile=/etc/x.json", "name=userns"], (True, True)),
        (None, (False, False)),
    ],
)
def test_an_engine_without_seccomp_is_known_for_it(
    options: list[str] | None, expected: tuple[bool, bool]
) -> None:
    info = {
        "SecurityOptions": options,
        "LiveRestoreEnabled": True,
        "CgroupVersion": "2",
        "NCPU": 2,
        "MemTotal": 5,
        "Driver": "overlay2",
        "DockerRootDir": "/d",
    }
    facts = views.facts(info, {"Version": "26.1.5", "ApiVersion": "1.45", "Arch": "amd64"}, frozenset({"0"}))
    assert (facts.seccomp, facts.userns) == expected
    assert facts.cgroup_version == 2
    assert (facts.runtimes, facts.cdi_dirs, facts.cdi_gpus) == (frozenset(), (), {"0"})


def test_runtimes_and_spec_folders_are_as_the_engine_tells_them() -> None:
    assert views.cdi_dirs({"CDISpecDirs": ["/etc/cdi", "/var/run/cdi"]}) == ("/etc/cdi", "/var/run/cdi")
    assert views.cdi_dirs({"CDISpecDirs": None}) == ()


def test_a_pull_counts_a_byte_half_when_it_comes_and_half_when_it_is_unpacked() -> None:
    tally = PullTally()
    lines = [
        {"status": "Pulling from x", "id": "1"},
        {"status": "Pulling fs layer", "id": "aa", "progressDetail": {}},
        {"status": "Already exists", "id": "bb", "progressDetail": {}},
        {"status": "Downloading", "id": "aa", "progressDetail": {"current": 40, "total": 100}},
        {"status": "Downloading", "id": "aa", "progressDetail": {"current": 10, "total": 100}},  # begun again
        {"status": "Download complete", "id": "aa", "progressDetail": {}},
        {"status": "Extracting", "id": "aa", "progressDetail": {"current": 60, "total": 100}},
        {"status": "Pull complete", "id": "aa", "progressDetail": {}},
        {"status": "Digest: sha256:1"},
    ]
    told = [progress for progress in map(tally.take, lines) if progress is not None]
    assert [progress.done_bytes for progress in told] == [0, 0, 20, 20, 50, 80, 100]
    assert (told[-1].total_bytes, told[-1].layers_done, told[-1].layers_total) == (100, 2, 2)


@pytest.mark.parametrize(
    ("reference", "name", "tag"),
    [
        ("alpine", "docker.io/library/alpine", "latest"),
        ("localhost:5000/x:2", "localhost:5000/x", "2"),
        ("x@sha256:" + "a" * 64, "docker.io/library/x", "sha256:" + "a" * 64),
    ],
)
def test_exactly_one_image_is_asked_for(reference: str, name: str, tag: str) -> None:
    assert pull_query(parse_reference(reference)) == {"fromImage": name, "tag": tag}


@pytest.mark.parametrize(
    ("memberships", "files", "expected"),
    [
        (
            f"0::/system.slice/docker-{ID}.scope\n",
            {f"system.slice/docker-{ID}.scope/memory.peak": "77\n"},
            MemorySeen(77, is_kept=True),
        ),
        (f"0::/docker/{ID}\n", {f"docker/{ID}/memory.current": "55\n"}, MemorySeen(55, is_kept=False)),
        (
            f"5:memory:/docker/{ID}\n0::/docker/{ID}\n",
            {f"memory/docker/{ID}/memory.max_usage_in_bytes": "99\n", f"docker/{ID}/memory.peak": "1\n"},
            MemorySeen(99, is_kept=True),
        ),
        ("0::/user.slice/other.scope\n", {"user.slice/other.scope/memory.peak": "1\n"}, None),
        (f"0::/docker/{ID}\n", {}, None),
    ],
)
def test_peak_memory_is_read_of_that_container_alone(
    tmp_path: Path, memberships: str, files: dict[str, str], expected: MemorySeen | None
) -> None:
    (tmp_path / "proc" / "42").mkdir(parents=True)
    (tmp_path / "proc" / "42" / "cgroup").write_text(memberships)
    for name, content in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert read_peak(ID, 42, tmp_path / "proc", tmp_path / "cgroup") == expected
    assert read_peak(ID, 43, tmp_path / "proc", tmp_path / "cgroup") is None
