"""The rules of single fields: what each refuses, by field and code, and what it takes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from agent.spec import Gpus, JobSpec, Network, RetryOn, SpecRefusedError, parse_spec


def find_faults(fields: dict[str, Any]) -> set[tuple[str, str]]:
    try:
        parse_spec({"image": "alpine", **fields})
    except SpecRefusedError as refused:
        return {(fault.field, fault.code) for fault in refused.faults}
    return set()


REFUSED: list[tuple[dict[str, Any], set[tuple[str, str]]]] = [
    ({"name": ""}, {("name", "empty_text")}),
    ({"name": "n" * 201}, {("name", "too_long")}),
    ({"name": "a\nb"}, {("name", "unprintable")}),
    ({"name": "\x1b[2J"}, {("name", "unprintable")}),
    ({"name": "a\u202eb"}, {("name", "unprintable")}),
    ({"name": "a\x00b"}, {("name", "nul_character")}),
    ({"name": "a\ud800"}, {("name", "not_unicode")}),
    ({"name": 7}, {("name", "wrong_type")}),
    ({"image": ""}, {("image", "empty_text")}),
    ({"image": None}, {("image", "wrong_type")}),
    ({"image": "a" * 513}, {("image", "too_long")}),
    ({"image": "Not An Image"}, {("image", "image_unparsable")}),
    ({"command": "ls -l"}, {("command", "wrong_type")}),
    ({"command": ["ls", 1]}, {("command.1", "wrong_type")}),
    ({"command": ["a\x00"]}, {("command.0", "nul_character")}),
    ({"command": ["é" * 65_536]}, {("command.0", "too_long")}),
    ({"command": ["a"] * 4_097}, {("command", "too_many")}),
    ({"entrypoint": [""]}, {("entrypoint.0", "empty_text")}),
    ({"entrypoint": ["sh", None]}, {("entrypoint.1", "wrong_type")}),
    ({"env": ["A=1"]}, {("env", "wrong_type")}),
    ({"env": {"A": 1}}, {("env.A", "wrong_type")}),
    ({"env": {"A B": "x"}}, {("env.A B", "env_name_invalid")}),
    ({"env": {"": "x"}}, {('env.""', "env_name_invalid")}),
    ({"env": {"1A": "x"}}, {("env.1A", "env_name_invalid")}),
    ({"env": {"A=B": "x"}}, {("env.A=B", "env_name_invalid")}),
    ({"env": {"A\n": "x"}}, {("env.A\\x0a", "env_name_invalid")}),
    ({"env": {"A": "x" * 131_070}}, {("env.A", "too_long")}),
    ({"env": {"A": "x\x00"}}, {("env.A", "nul_character")}),
    ({"env": {f"A{n}": "" for n in range(1_025)}}, {("env", "too_many")}),
    *(
        ({"env": {name: "x"}}, {(f"env.{name}", "reserved_name")})
        for name in (
            "OUTPUT_DIR",
            "GPU_AGENT_JOB",
            "GPU_AGENT_",
            "CUDA_VISIBLE_DEVICES",
            "NVIDIA_VISIBLE_DEVICES",
            "NVIDIA_DRIVER_CAPABILITIES",
            "NVIDIA_REQUIRE_CUDA",
            "NVIDIA_MOFED",
            "NVIDIA_NVSWITCH",
            "NVIDIA_IMEX_CHANNELS",
            "NVIDIA_MIG_CONFIG_DEVICES",
        )
    ),
    (
        {"secrets": {"OUTPUT_DIR": "s"}, "secrets_env": ["OUTPUT_DIR"]},
        {("secrets_env.0", "reserved_name")},
    ),
    ({"secrets": {"../x": "s"}}, {("secrets.../x", "secret_name_invalid")}),
    ({"secrets": {"..": "s"}}, {("secrets...", "secret_name_invalid")}),
    ({"secrets": {".env": "s"}}, {("secrets..env", "secret_name_invalid")}),
    ({"secrets": {"a/b": "s"}}, {("secrets.a/b", "secret_name_invalid")}),
    ({"secrets": {"a\n": "s"}}, {("secrets.a\\x0a", "secret_name_invalid")}),
    ({"secrets": {"a": "s" * 65_537}}, {("secrets.a", "too_long")}),
    ({"secrets": {"a": 1}}, {("secrets.a", "wrong_type")}),
    ({"secrets": {f"s{n}": "" for n in range(65)}}, {("secrets", "too_many")}),
    ({"secrets_env": ["A"]}, {("secrets_env.0", "secret_unknown")}),
    ({"secrets": {"a.b": "s"}, "secrets_env": ["a.b"]}, {("secrets_env.0", "env_name_invalid")}),
    ({"secrets": {"A": "s"}, "env": {"A": "x"}, "secrets_env": ["A"]}, {("secrets_env.0", "env_duplicate")}),
    ({"secrets": {"A": "s"}, "secrets_env": ["A", "A"]}, {("secrets_env.1", "secret_duplicate")}),
    ({"secrets_env": ["A"] * 65}, {("secrets_env", "too_many")}),
    ({"registry": {"username": "u"}}, {("registry.password", "missing_field")}),
    ({"registry": {"username": "", "password": ""}}, {("registry.username", "empty_text"), ("registry.password", "empty_text")}),
    ({"registry": "u:p"}, {("registry", "wrong_type")}),
    ({"user": "a b"}, {("user", "text_invalid")}),
    ({"user": "a:b:c"}, {("user", "text_invalid")}),
    ({"user": ""}, {("user", "empty_text")}),
    ({"user": 1000}, {("user", "wrong_type")}),
    ({"workdir": "src"}, {("workdir", "path_invalid")}),
    ({"workdir": "/a/../b"}, {("workdir", "path_invalid")}),
    ({"workdir": "/a\nb"}, {("workdir", "path_invalid")}),
    ({"cpus": 0}, {("cpus", "out_of_range")}),
    ({"cpus": -1}, {("cpus", "out_of_range")}),
    ({"cpus": 0.009}, {("cpus", "out_of_range")}),
    ({"cpus": 8_193}, {("cpus", "out_of_range")}),
    ({"cpus": float("nan")}, {("cpus", "out_of_range")}),
    ({"cpus": float("inf")}, {("cpus", "out_of_range")}),
    ({"cpus": "2"}, {("cpus", "wrong_type")}),
    ({"cpus": True}, {("cpus", "wrong_type")}),
    ({"memory": "5MiB"}, {("memory", "out_of_range")}),
    ({"memory": -1}, {("memory", "out_of_range")}),
    ({"memory": "4g"}, {("memory", "unreadable")}),
    ({"memory": 1e9}, {("memory", "wrong_type")}),
    ({"memory": 2**63}, {("memory", "number_out_of_range")}),
    ({"memory": 10**5000}, {("memory", "number_out_of_range")}),
    ({"memory": "99999999999GiB"}, {("memory", "unreadable")}),
    ({"shm": 0}, {("shm", "out_of_range")}),
    ({"pids": 0}, {("pids", "out_of_range")}),
    ({"pids": 4_194_305}, {("pids", "out_of_range")}),
    ({"gpus": -1}, {("gpus.count", "out_of_range")}),
    ({"gpus": "1"}, {("gpus", "wrong_type")}),
    ({"gpus": True}, {("gpus", "wrong_type")}),
    ({"gpus": {"models": ["*A100*"]}}, {("gpus.count", "missing_field")}),
    ({"gpus": {"count": 0, "models": ["*A100*"]}}, {("gpus.models", "gpus_without_count")}),
    ({"gpus": {"count": 1, "min_memory": "x"}}, {("gpus.min_memory", "unreadable")}),
    ({"gpus": {"count": 1, "interconnect": "pcie"}}, {("gpus.interconnect", "not_one_of")}),
    ({"gpus": {"count": 1, "model": []}}, {("gpus.model", "unknown_field")}),
    ({"network": "host"}, {("network", "not_one_of")}),
    ({"timeout": 29}, {("timeout", "out_of_range")}),
    ({"timeout": 86_401}, {("timeout", "out_of_range")}),
    ({"timeout": "1h"}, {("timeout", "wrong_type")}),
    ({"timeout": 60.5}, {("timeout", "wrong_type")}),
    ({"grace": -1}, {("grace", "out_of_range")}),
    ({"grace": 601}, {("grace", "out_of_range")}),
    ({"grace": None}, {("grace", "wrong_type")}),
    ({"outputs": {"path": "out"}}, {("outputs.path", "path_invalid")}),
    ({"outputs": {"path": "/"}}, {("outputs.path", "path_reserved")}),
    ({"outputs": {"path": "/proc"}}, {("outputs.path", "path_reserved")}),
    ({"outputs": {"path": "/sys/fs"}}, {("outputs.path", "path_reserved")}),
    ({"outputs": {"path": "/dev/shm"}}, {("outputs.path", "path_reserved")}),
    ({"outputs": {"path": "/run/secrets/a"}}, {("outputs.path", "path_reserved")}),
    ({"outputs": {"path": "/run"}}, {("outputs.path", "path_reserved")}),
    ({"outputs": {"path": "/var"}}, {("outputs.path", "path_reserved")}),
    ({"outputs": {"path": "/etc"}}, {("outputs.path", "path_reserved")}),
    ({"outputs": {"path": "/usr"}}, {("outputs.path", "path_reserved")}),
    ({"outputs": {"path": "/data/"}}, {("outputs.path", "path_invalid")}),
    ({"outputs": {"path": "//data"}}, {("outputs.path", "path_invalid")}),
    ({"outputs": {"path": ""}}, {("outputs.path", "path_invalid")}),
    ({"outputs": {"path": "/a\x00"}}, {("outputs.path", "nul_character")}),
    ({"outputs": {"paths": "/x"}}, {("outputs.paths", "unknown_field")}),
    ({"retry": {"count": -1, "backoff": 301}}, {("retry.count", "out_of_range"), ("retry.backoff", "out_of_range")}),
    ({"retry": {"count": 101}}, {("retry.count", "out_of_range")}),
    ({"retry": {"on": ["cancelled"]}}, {("retry.on.0", "not_one_of")}),
    ({"retry": 3}, {("retry", "wrong_type")}),
    ({"queue": ""}, {("queue", "empty_text")}),
    ({"queue": "a b"}, {("queue", "text_invalid")}),
    ({"queue": "q" * 65}, {("queue", "too_long")}),
    ({"queue": "cords"}, {("queue", "queue_reserved")}),
    ({"queue": "describe"}, {("queue", "queue_reserved")}),
    ({"priority": 101}, {("priority", "out_of_range")}),
    ({"priority": -101}, {("priority", "out_of_range")}),
    ({"not_before": "tomorrow"}, {("not_before", "unreadable")}),
    ({"not_before": "2030-01-01"}, {("not_before", "unreadable")}),
    ({"not_before": "2030-01-01T00:00:00"}, {("not_before", "unreadable")}),
    ({"not_before": "2030-02-30T00:00:00Z"}, {("not_before", "unreadable")}),
    ({"not_before": "0001-01-01T00:00:00+23:59"}, {("not_before", "unreadable")}),
    ({"not_before": 1_900_000_000}, {("not_before", "wrong_type")}),
    ({"labels": {"gpu-agent.job": "x"}}, {("labels.gpu-agent.job", "label_reserved")}),
    ({"labels": {"GPU-Agent.job": "x"}}, {("labels.GPU-Agent.job", "label_reserved")}),
    ({"labels": {"": "x"}}, {('labels.""', "label_key_invalid")}),
    ({"labels": {"a=b": "x"}}, {("labels.a=b", "label_key_invalid")}),
    ({"labels": {"a": "x\ny"}}, {("labels.a", "unprintable")}),
    ({"labels": {"a": "x" * 1_025}}, {("labels.a", "too_long")}),
    ({"labels": {"a": None}}, {("labels.a", "wrong_type")}),
    ({"labels": {f"l{n}": "" for n in range(65)}}, {("labels", "too_many")}),
    ({"disk": "31MiB"}, {("disk", "out_of_range")}),
    ({"disk": 0}, {("disk", "out_of_range")}),
    ({"disk": "16.1TiB"}, {("disk", "out_of_range")}),
    ({"disk": "10G"}, {("disk", "unreadable")}),
    ({"disk": True}, {("disk", "wrong_type")}),
    ({"ssh": True}, {("ssh", "wrong_type")}),
    ({"ssh": {"authorized_keys": []}}, {("ssh.authorized_keys", "empty_list")}),
    ({"ssh": 0}, {("ssh", "wrong_type")}),
    ({"notify": {"url": "https://a"}}, {("notify.secret", "missing_field")}),
    ({"notify": "https://a"}, {("notify", "wrong_type")}),
    ({"notify": {"url": "https://a", "secret": "s", "urls": []}}, {("notify.urls", "unknown_field")}),
    ({"notify": {"url": "", "secret": ""}}, {("notify.url", "empty_text"), ("notify.secret", "empty_text")}),
    ({"notify": {"url": 1, "secret": None}}, {("notify.url", "wrong_type"), ("notify.secret", "wrong_type")}),
    ({"notify": {"url": "ftp://a", "secret": "s"}}, {("notify.url", "url_invalid")}),
    ({"notify": {"url": "https://u:p@a/", "secret": "s"}}, {("notify.url", "url_invalid")}),
    ({"notify": {"url": "https://a/", "secret": "s" * 1_025}}, {("notify.secret", "too_long")}),
    ({"notify": {"url": "https://a/", "secret": "a\nb"}}, {("notify.secret", "unprintable")}),
    ({"notify": {"url": "https://a/", "secret": "whsec_!"}}, {("notify.secret", "secret_invalid")}),
    ({"notify": {"url": "https://a/", "secret": "whsec_c2hvcnQ="}}, {("notify.secret", "secret_invalid")}),
    ({"volumes": [{"name": "v"}]}, {("volumes", "not_supported_yet")}),
    ({"outputs": {"exclude": ["*.pt"]}}, {("outputs.exclude", "nothing_is_sent")}),
    ({"outputs": {"live": True}}, {("outputs.live", "nothing_is_sent")}),
    ({"outputs": {"quiet": 6}}, {("outputs.quiet", "nothing_is_sent")}),
]  # fmt: skip

TAKEN: list[dict[str, Any]] = [
    {"name": "n" * 200},
    {"name": "Ünï ☃"},
    {"command": []},
    {"command": ["", "a\nb", "x" * 131_071]},
    {"entrypoint": []},
    {"env": {"A": "", "_b9": "x\ny\t\x1b"}},
    {"env": {"NVIDIA_API_KEY": "k", "NVIDIA_TF32_OVERRIDE": "0", "CUDA_LAUNCH_BLOCKING": "1", "GPU_AGENT": "", "OUTPUT_DIRS": ""}},
    {"secrets": {"NVIDIA_API_KEY": "k", "OUTPUT_DIR": "a file"}, "secrets_env": ["NVIDIA_API_KEY"]},
    {"secrets": {"a.b-c_d": "line\nline", "A": "s" * 65_536}, "secrets_env": ["A"]},
    {"registry": {"username": "u", "password": "p"}},
    {"user": "1000:1000"},
    {"user": "root"},
    {"workdir": "/"},
    {"workdir": "/a b/ü"},
    {"cpus": 0.01},
    {"cpus": 8_192},
    {"memory": "6MiB"},
    {"memory": 2**63 - 1},
    {"shm": "64MB"},
    {"disk": "32MiB"},
    {"disk": 2**44},
    {"pids": 1},
    {"timeout": 30},
    {"timeout": 86_400},
    {"timeout": None},
    {"grace": 0},
    {"grace": 600},
    {"outputs": {"path": "/running/etc"}},
    {"outputs": {"path": "/usr/src/app/out"}},
    {"outputs": {"path": "/outputs", "include": ["**"], "exclude": [], "on": "always", "live": False, "quiet": 5,
                 "deadline": 86_400, "logs": False, "upload": {"to": "local"}}},
    {"disk": None, "ssh": False, "notify": None, "volumes": []},
    {"notify": {"url": "https://hooks.example.org:8443/a?b=c", "secret": "s"}},
    {"notify": {"url": "http://a", "secret": "whsec_" + "QUJD" * 8}},
    {"ssh": None},
    {"retry": {"count": 3, "on": [], "backoff": 0}},
    {"priority": -100},
    {"priority": 100},
    {"queue": "gpu_intensive"},
    {"queue": "Cords"},
    {"labels": {"team.io/a-b": "x y"}},
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), REFUSED)
def test_a_broken_rule_is_named_by_field_and_code_and_nothing_else_is(
    fields: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    assert find_faults(fields) == expected


@pytest.mark.parametrize("fields", TAKEN)
def test_a_value_at_the_edge_of_its_rule_is_taken(fields: dict[str, Any]) -> None:
    assert find_faults(fields) == set()


def test_an_image_alone_is_a_job_with_the_documented_defaults() -> None:
    spec = parse_spec({"image": "alpine"})
    assert spec.model_dump(mode="json") == {
        "name": None, "image": "alpine", "command": None, "entrypoint": None, "env": {}, "secrets": {}, "secrets_env": [],
        "registry": None, "user": None, "workdir": None, "cpus": None, "memory": None, "shm": None, "pids": None, "disk": None,
        "gpus": {"count": 0, "models": [], "min_memory": None, "interconnect": "best", "mig": None},
        "ports": [], "network": "egress", "timeout": None, "grace": 30, "ssh": False,
        "outputs": {"path": "/outputs", "include": ["**"], "exclude": [], "on": "always", "live": False, "quiet": 5,
                    "deadline": 86_400, "logs": False,
                    "upload": {"to": "local", "url": None, "presign": None, "status_url": None, "metadata": {}, "headers": {}}},
        "notify": None, "volumes": [], "retry": {"count": 0, "on": ["failed", "lost"], "backoff": 5},
        "queue": "default", "priority": 0, "not_before": None, "labels": {},
    }  # fmt: skip


def test_a_bare_gpu_count_and_sizes_with_units_become_one_form() -> None:
    assert parse_spec({"image": "a", "gpus": 2}).gpus == Gpus(count=2)
    asked = parse_spec(
        {
            "image": "a",
            "gpus": {"count": 1, "min_memory": "40GiB"},
            "memory": "1GiB",
            "shm": 65_536,
            "disk": "2GB",
        }
    )
    asked_for = (asked.gpus.min_memory, asked.memory, asked.shm, asked.disk)
    assert asked_for == (40 * 2**30, 2**30, 65_536, 2 * 10**9)


@pytest.mark.parametrize(
    "written", ["2030-01-01T02:00:00+02:00", "2030-01-01t00:00:00z", "2029-12-31T23:59:59.9999999-00:00"]
)
def test_not_before_is_utc_whatever_offset_it_is_written_with(written: str) -> None:
    moment = parse_spec({"image": "a", "not_before": written}).not_before
    assert moment is not None
    assert moment.utcoffset() == UTC.utcoffset(None)
    assert abs((moment - datetime(2030, 1, 1, tzinfo=UTC)).total_seconds()) <= 1e-6


def test_enums_arrive_as_enums() -> None:
    spec = parse_spec({"image": "a", "network": "none", "retry": {"on": ["timed_out"]}})
    assert spec.network is Network.NONE
    assert spec.retry.on == (RetryOn.TIMED_OUT,)


def test_the_fields_of_a_spec_can_not_be_set() -> None:
    spec: Any = parse_spec({"image": "a"})
    with pytest.raises(ValueError, match="frozen"):
        spec.image = "b"


def test_the_defaults_of_two_specs_share_no_dict() -> None:
    assert JobSpec(image="a").env is not JobSpec(image="b").env
