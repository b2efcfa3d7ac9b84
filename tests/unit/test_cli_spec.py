"""The options of `run` as a job spec."""

from pathlib import Path

import pytest

from agent.cli.durations import read_since
from agent.cli.refusals import BadArgumentError
from agent.cli.spec import Wanted, build_spec
from agent.spec import parse_spec


def test_the_contracts_own_example_becomes_a_spec_that_the_api_accepts() -> None:
    wanted = Wanted(
        "python:3.12",
        ("python", "train.py"),
        {"name": "digits", "memory": "8GiB", "network": "none", "cpus": 2.0, "queue": None},
        gpus="1",
        ports=("web:8080/http", "raw:9000"),
        env=("K=V", "HERE"),
        labels=("team=a=b",),
        timeout="1h",
        grace="90s",
        retry=2,
    )
    body = build_spec(wanted, {"HERE": "there"})
    assert body == {
        "image": "python:3.12",
        "command": ["python", "train.py"],
        "name": "digits",
        "memory": "8GiB",
        "network": "none",
        "cpus": 2.0,
        "gpus": 1,
        "ports": [
            {"name": "web", "port": 8080, "proto": "http"},
            {"name": "raw", "port": 9000, "proto": "tcp"},
        ],
        "env": {"K": "V", "HERE": "there"},
        "labels": {"team": "a=b"},
        "timeout": 3600,
        "grace": 90,
        "retry": {"count": 2},
    }
    assert parse_spec(body).timeout == 3600


def test_what_was_not_asked_for_is_not_sent() -> None:
    assert build_spec(Wanted("busybox"), {}) == {"image": "busybox"}


def test_an_empty_entrypoint_clears_the_images_and_gpus_may_be_json() -> None:
    body = build_spec(Wanted("busybox", entrypoint="", gpus='{"count": 2, "models": ["*H100*"]}'), {})
    assert body["entrypoint"] == []
    assert body["gpus"] == {"count": 2, "models": ["*H100*"]}


def test_a_secret_comes_out_of_a_file_the_environment_or_the_option(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    body = build_spec(Wanted("busybox", secrets=(f"A=@{tmp_path}/key", "B", "C=plain")), {"B": "from here"})
    assert body["secrets"] == {"A": "s3cret\n", "B": "from here", "C": "plain"}


def test_ssh_keys_are_read_out_of_the_file_and_left_to_the_api_to_judge(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# mine\nssh-ed25519 AAAA me\n\n")
    body = build_spec(Wanted("busybox", ssh=tmp_path / "keys"), {})
    assert body["ssh"] == {"authorized_keys": ["ssh-ed25519 AAAA me"]}


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (Wanted("x", ports=("8080",)), "-p '8080'"),
        (Wanted("x", ports=("web:http",)), "-p 'web:http'"),
        (Wanted("x", ports=("web:²",)), "-p"),
        (Wanted("x", env=("GONE",)), "GONE"),
        (Wanted("x", labels=("team",)), "--label 'team'"),
        (Wanted("x", gpus="two"), "--gpus 'two'"),
        (Wanted("x", timeout="1 hour"), "--timeout '1 hour'"),
        (Wanted("x", secrets=("A=@/nowhere/at/all",)), "/nowhere/at/all"),
        (Wanted("x", ssh=Path("/nowhere/at/all")), "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_read_is_refused_by_the_name_of_its_option(wanted: Wanted, named: str) -> None:
    with pytest.raises(BadArgumentError, match=named):
        build_spec(wanted, {})


def test_since_is_a_span_before_now_or_a_time_that_the_api_reads() -> None:
    assert read_since("10m", now=1000.0) == "400.000"
    assert read_since("1700000000", now=0.0) == "1700000000"
    assert read_since("2030-01-31T08:00:00Z", now=0.0) == "2030-01-31T08:00:00Z"
    with pytest.raises(BadArgumentError):
        read_since("5m5m", now=0.0)
