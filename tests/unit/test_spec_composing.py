"""The spec of a function's job: base, machine, the deploy's defaults, decorator, start, the later over the earlier, field by field."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.spec import (
    Deploy,
    Entry,
    Fault,
    JobSpec,
    Keys,
    Network,
    RetryOn,
    SpecRefusedError,
    UploadTo,
    compose,
    compose_cords,
    compose_describe,
    find_function_faults,
    parse_spec,
    read_deploy,
)
from agent.spec.deploy import NOT_OF_SPEC
from tests.fakes.host_keys import public_key
from tests.unit.chute_values import NO_DEPLOY, a_job, good

KEYS = {"authorized_keys": [public_key(1).line]}
PUT = {"to": "put", "url": "https://store.example.org/{path}?sig=hush"}
MODELS = ["NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA GeForce RTX 4090"]


def deploy_of(**spec: object) -> Deploy:
    return Deploy("python:3.12", Entry("main.py", "chute"), spec)


def spec_of(
    job: dict[str, Any],
    deploy: Deploy = NO_DEPLOY,
    started: dict[str, object] | None = None,
    **chute: object,
) -> JobSpec:
    manifest = good(job, chute=chute)
    return parse_spec(compose(deploy, manifest, manifest.jobs[0], started or {}, MODELS), Keys.LATER)


def faults_of(*jobs: dict[str, Any], deploy: Deploy = NO_DEPLOY, **chute: object) -> list[Fault]:
    return list(find_function_faults(deploy, good(*jobs, chute=chute)))


def test_it_runs_our_launcher_in_the_deploys_image() -> None:
    spec = spec_of(a_job())
    assert spec.image == "python:3.12"
    assert (spec.entrypoint, spec.command) == (("python3",), ("/.agent/sdk/chutes_launch.py",))


def test_what_the_decorator_says_is_in_it() -> None:
    ports = [{"name": "web", "port": 8080, "proto": "http"}]
    spec = spec_of(a_job(ports=ports, timeout=60, retry_count=3, queue="slow", priority=7))
    assert [(port.name, port.port) for port in spec.ports] == [("web", 8080)]
    assert (spec.timeout, spec.retry.count, spec.queue, spec.priority) == (60, 3, "slow", 7)


def test_a_function_that_timed_out_is_retried_too() -> None:
    assert spec_of(a_job()).retry.on == (RetryOn.FAILED, RetryOn.LOST, RetryOn.TIMED_OUT)


def test_the_start_goes_over_the_deploy_and_the_deploy_over_the_machine() -> None:
    machine = {"node_selector": {"gpu_count": 2, "min_vram_gb_per_gpu": 80}}
    assert spec_of(a_job(), **machine).gpus.count == 2
    assert spec_of(a_job(), deploy_of(gpus=1), **machine).gpus.count == 1
    assert spec_of(a_job(), deploy_of(gpus=1), {"gpus": 0}, **machine).gpus.count == 0


def test_a_field_that_the_start_names_is_taken_whole() -> None:
    spec = spec_of(a_job(), deploy_of(env={"A": "1"}, memory="1GiB"), {"env": {"B": "2"}})
    assert (spec.env, spec.memory) == ({"B": "2"}, 1 << 30)


def test_a_start_takes_a_default_back_by_null() -> None:
    assert spec_of(a_job(), deploy_of(memory="1GiB"), {"memory": None}).memory is None


def test_memory_of_gpus_is_counted_as_cards_are_sold() -> None:
    spec = spec_of(a_job(), node_selector={"gpu_count": 1, "min_vram_gb_per_gpu": 80})
    assert spec.gpus.min_memory == 80 * 10**9


@pytest.mark.parametrize(
    ("include", "exclude", "models"),
    [
        (["h100"], None, ["NVIDIA H100 80GB HBM3"]),
        (["a100_sxm", "4090"], None, ["NVIDIA A100-SXM4-80GB", "NVIDIA GeForce RTX 4090"]),
        (None, ["a100", "h100"], ["NVIDIA GeForce RTX 4090"]),
        (["h100", "a100"], ["a100"], ["NVIDIA H100 80GB HBM3"]),
        (["a10"], None, ["a10"]),
        (None, ["nvidia"], ["not nvidia"]),
    ],
)
def test_gpus_are_included_and_excluded_by_words_of_their_models(
    include: list[str] | None, exclude: list[str] | None, models: list[str]
) -> None:
    spec = spec_of(a_job(), node_selector={"gpu_count": 1, "include": include, "exclude": exclude})
    assert list(spec.gpus.models) == models


def test_ssh_needs_no_key_yet() -> None:
    spec = spec_of(a_job(ssh=True))
    assert spec.ssh is not None
    assert spec.ssh.authorized_keys == ()
    assert [port.port for port in spec.published] == [2202]


@pytest.mark.parametrize(("deploy", "started"), [(KEYS, None), (None, KEYS), (False, KEYS)])
def test_keys_come_from_the_deploy_or_the_start(deploy: object, started: object) -> None:
    given = {} if deploy is None else {"ssh": deploy}
    spec = spec_of(a_job(ssh=True), deploy_of(**given), {} if started is None else {"ssh": started})
    assert spec.ssh is not None
    assert list(spec.ssh.authorized_keys) == KEYS["authorized_keys"]


def test_a_start_may_do_without_ssh() -> None:
    ssh = {"name": "ssh", "port": 2202, "proto": "tcp"}
    spec = spec_of(a_job(ssh=True, ports=[ssh]), NO_DEPLOY, {"ssh": False})
    assert (spec.ssh, spec.ports) == (None, ())


def test_an_explicit_port_2202_is_the_authors_where_ssh_is_not_asked_for() -> None:
    spec = spec_of(a_job(ports=[{"name": "shell", "port": 2202, "proto": "tcp"}]))
    assert (spec.ssh, [port.name for port in spec.ports]) == (None, ["shell"])


def test_outputs_go_where_the_spec_says() -> None:
    upload = spec_of(a_job(), deploy_of(outputs={"upload": PUT, "live": True})).outputs
    assert (upload.upload.to, upload.live) == (UploadTo.PUT, True)


def test_without_upload_the_files_stay_here_whatever_a_spec_says() -> None:
    asked = {"path": "/data", "upload": PUT, "live": True, "on": "always"}
    outputs = spec_of(a_job(upload=False), deploy_of(outputs=asked), {"outputs": asked}).outputs
    assert (outputs.upload.to, outputs.live, outputs.path) == (UploadTo.LOCAL, False, "/data")


@pytest.mark.parametrize("name", NOT_OF_SPEC)
def test_a_start_says_nothing_that_is_the_decorators(name: str) -> None:
    with pytest.raises(SpecRefusedError) as refused:
        spec_of(a_job(), NO_DEPLOY, {name: None})
    assert [(fault.field, fault.code) for fault in refused.value.faults] == [(f"spec.{name}", "not_of_spec")]


def test_every_broken_rule_of_every_function_is_told_at_once_where_its_author_wrote_it() -> None:
    ports = [
        {"name": "api", "port": 8000, "proto": "http"},
        {"name": "tcp_service", "port": 8001, "proto": "quic"},
    ]
    found = faults_of(
        a_job("serve", ports=ports, timeout=5),
        a_job("train", retry_count=1_000, queue="", priority=101),
        node_selector={"gpu_count": -1},
    )
    assert {fault.field for fault in found} == {
        "jobs.serve.ports[0].port",
        "jobs.serve.ports[1].port",
        "jobs.serve.ports[1].name",
        "jobs.serve.ports[1].proto",
        "jobs.serve.timeout",
        "jobs.train.retry_count",
        "jobs.train.queue",
        "jobs.train.priority",
        "chute.node_selector.gpu_count",
    }


def test_ports_of_a_function_and_no_network_of_the_deploy_do_not_go_together() -> None:
    (fault,) = faults_of(a_job("debug", ssh=True), deploy=deploy_of(network="none"))
    assert (fault.field, fault.code) == ("jobs.debug.ssh", "ssh_without_network")


def test_a_describe_job_has_no_network_a_minute_and_none_of_the_secrets() -> None:
    deploy = deploy_of(
        secrets={"TOKEN": "hush"},
        gpus=4,
        outputs={"upload": PUT},
        notify={"url": "https://example.org", "secret": "hush"},
        env={"A": "1"},
        registry={"username": "me", "password": "pass"},
    )
    spec = parse_spec(compose_describe(deploy))
    assert (spec.network, spec.timeout, spec.gpus.count) == (Network.NONE, 60, 0)
    assert (spec.secrets, spec.notify, spec.outputs.upload.to) == ({}, None, UploadTo.LOCAL)
    assert spec.env == {"A": "1"}
    assert spec.registry is not None


def test_the_job_of_cords_has_the_deploys_defaults_and_no_end_of_its_own() -> None:
    deploy = read_deploy(
        {
            "image": "python:3.12",
            "cords_gpus": {"count": 1},
            "spec": {
                "memory": "1GiB",
                "env": {"A": "b"},
                "secrets": {"token": "s"},
                "gpus": 4,
                "grace": 600,
                "ssh": KEYS,
                "notify": {"url": "https://example.org/", "secret": "s"},
                "outputs": {"path": "/out", "upload": {"to": "put", "url": "https://example.org/{path}"}},
            },
        }
    )
    spec = parse_spec(compose_cords(deploy))
    assert (spec.memory, spec.env, spec.secrets) == (1 << 30, {"A": "b"}, {"token": "s"})
    assert (spec.gpus.count, spec.grace, spec.timeout, spec.retry.count) == (1, 10, None, 0)
    assert (spec.ssh, spec.notify, spec.ports) == (None, None, ())
    assert (spec.outputs.path, spec.outputs.upload.leaves) == ("/out", False)
    assert spec.entrypoint == ("python3",)


@pytest.mark.parametrize("queue", ["cords", "describe"])
def test_a_decorator_may_not_take_a_queue_of_the_agents_own_jobs(queue: str) -> None:
    (fault,) = find_function_faults(NO_DEPLOY, good(a_job("train", queue=queue)))
    assert (fault.field, fault.code) == ("jobs.train.queue", "queue_reserved")


def test_the_job_of_cords_has_no_gpus_unless_the_deploy_asks_for_them() -> None:
    deploy = read_deploy({"image": "python:3.12", "spec": {"gpus": 4}})
    assert parse_spec(compose_cords(deploy)).gpus.count == 0


def test_a_describe_job_is_retried_only_for_the_hosts_own_mishaps() -> None:
    assert parse_spec(compose_describe(NO_DEPLOY)).retry.on == (RetryOn.LOST,)


FIELDS = {
    "memory": st.sampled_from([None, "1GiB", 1 << 30]),
    "cpus": st.sampled_from([None, 1, 2.5]),
    "env": st.sampled_from([{}, {"A": "1"}, {"B": "2"}]),
    "gpus": st.sampled_from([0, 1, {"count": 2, "models": ["*"]}]),
    "workdir": st.sampled_from([None, "/srv"]),
    "network": st.sampled_from(["egress", "none"]),
    "labels": st.sampled_from([{}, {"team": "vision"}]),
    "ssh": st.sampled_from([False, KEYS]),
    "image": st.just("busybox"),
}
SPECS = st.fixed_dictionaries({}, optional=FIELDS)


@settings(deadline=None)
@given(defaults=SPECS, started=SPECS, ssh=st.booleans(), upload=st.booleans(), queue=st.sampled_from("ab"))
def test_whatever_is_given_each_field_is_the_latest_that_was_said(
    defaults: dict[str, object],
    started: dict[str, object],
    ssh: bool,  # noqa: FBT001 - drawn
    upload: bool,  # noqa: FBT001 - drawn
    queue: str,
) -> None:
    manifest = good(a_job(ssh=ssh, upload=upload, queue=queue))
    body = compose(deploy_of(**defaults), manifest, manifest.jobs[0], started, MODELS)
    for name in FIELDS:
        if name in started:
            assert body[name] == started[name]
        elif name in defaults and not (name == "ssh" and ssh):
            assert body[name] == defaults[name]
    assert (body["queue"], body["entrypoint"]) == (queue, ["python3"])


@settings(deadline=None)
@given(defaults=SPECS, started=SPECS, ssh=st.booleans())
def test_whatever_is_composed_is_judged_and_never_breaks(
    defaults: dict[str, object],
    started: dict[str, object],
    ssh: bool,  # noqa: FBT001 - drawn
) -> None:
    manifest = good(a_job(ssh=ssh))
    try:
        spec = parse_spec(
            compose(deploy_of(**defaults), manifest, manifest.jobs[0], started, MODELS), Keys.LATER
        )
    except SpecRefusedError as refused:
        codes = {fault.code for fault in refused.faults}
    else:
        codes = {"ssh_without_network"} if spec.ssh and spec.network is Network.NONE else set()
        assert codes == set()
    assert codes <= {"ssh_without_network"}
