"""Chutes on a real engine: deployed by a real describe container, started by name; whatever the author's file does as it is imported."""

import json
import textwrap
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from http.client import HTTPException
from typing import Any

import pytest

from agent.daemon import repair
from tests.e2e.client import Client, Reply, expect
from tests.e2e.daemon import Daemon, in_loop
from tests.e2e.points import Point, after, asked_of, told_at_once
from tests.fakes.forms import FORM, deploy_form
from tests.fakes.tars import tar_of
from tests.private_engine import PrivateEngine, busybox_image

WAIT = "?wait=40"
HEAD = 'from chutes.chute import Chute\nchute = Chute(username="ann", name="trainer")\n'
ADD = '@chute.job(timeout=60)\nasync def add(self, a: int, b: int = 1):\n    """Adds."""\n    return {"sum": a + b}\n'


def deploy(client: Client, image: str, file: str, **changes: Any) -> Reply:  # noqa: ANN401 - JSON is any
    code = tar_of({"main.py": textwrap.dedent(file).encode()})
    reply = client.post(f"/v1/chutes{WAIT}", deploy_form({"image": image, **changes}, code), FORM)
    return follow(client, reply)


def follow(client: Client, reply: Reply) -> Reply:
    """Of a deploy that takes longer than a client waits, what it came to, as it would have been answered."""
    while reply.status == 202 or reply.json.get("state") == "describing":
        reply = client.call("GET", f"/v1/chutes/versions/{reply.json['version']}{WAIT}")
    state = reply.json.get("state")
    if state == "active":
        return replace(client.call("GET", f"/v1/chutes/{reply.json['chute']}"), status=201)
    return replace(reply, status=422) if state == "refused" else reply


def deployed(client: Client, image: str, file: str = HEAD + ADD, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON is any
    reply = deploy(client, image, file, **changes)
    assert reply.status in {200, 201}, reply.body
    found: dict[str, Any] = reply.json
    return found


def codes_of(reply: Reply) -> list[tuple[str, str]]:
    assert reply.status == 422, reply.body
    return [(fault["field"], fault["code"]) for fault in reply.json["faults"]]


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return daemon.client(daemon.token())


def test_a_file_is_deployed_and_its_function_started_by_name(client: Client, python_image: str) -> None:
    chute = deployed(client, python_image, spec={"network": "none"})
    assert (chute["name"], chute["version"]["number"]) == ("trainer", 1)
    assert [(job["name"], job["doc"], job["signature"]) for job in chute["jobs"]] == [
        ("add", "Adds.", "add(a, b=…)")
    ]
    reply = client.call("POST", "/v1/chutes/trainer/jobs/add", {"payload": {"a": 41}})
    assert reply.status == 201, reply.body
    job = client.wait_finished(reply.json["id"])
    assert job["outcome"] == "succeeded", job["reason"]


def test_every_fault_of_every_function_comes_in_one_answer(client: Client, python_image: str) -> None:
    file = """
    from chutes.chute import Chute
    from chutes.chute.job import Port
    chute = Chute(username="ann", name="trainer")
    @chute.job(ports=[Port(name="api", port=8000, proto="http"), Port(name="tcp_service", port=8001, proto="tcp")])
    async def multi_port_job(self): pass
    @chute.job(timeout=5)
    async def slow(self): pass
    @chute.job(name="nightly", schedule="0 3 31 2 *")
    async def clean(self): pass
    @chute.job()
    async def fine(self): pass
    """
    fields = [field for field, _ in codes_of(deploy(client, python_image, file))]
    assert fields == [
        "jobs.multi_port_job.ports[0].port",
        "jobs.multi_port_job.ports[1].port",
        "jobs.multi_port_job.ports[1].name",
        "jobs.slow.timeout",
        "jobs.nightly.schedule",
    ]
    assert client.call("GET", "/v1/chutes").json["items"] == []


HOSTILE = {
    "raises": ("raise RuntimeError('no')", "chute_import_failed"),
    "no_chute": ("x = 1", "chute_import_failed"),
    "is_no_python": ("def (:", "chute_import_failed"),
    "exits": ("import os; os._exit(0)", "no_result"),
    "exits_with_a_code": ("import os; os._exit(3)", "exit_nonzero"),
    "leaves": ("import sys; sys.exit(0)", "chute_import_failed"),
    "never_ends": ("while True: pass", "timeout"),
    "prints": ("import os\nfor _ in range(1 << 14): os.write(1, b'x' * (1 << 16))\n" + HEAD + ADD, None),
    "forks": (
        "import os, time\nfor _ in range(200):\n    if os.fork() == 0:\n        time.sleep(600)\n"
        + HEAD
        + ADD,
        None,
    ),
}
LIES = """
import json, os, socket
def answer(stream):
    line = b""
    while not line.endswith(b"\\n"):
        line += stream.recv(1 << 16)
    return json.loads(line)
stream = socket.socket(socket.AF_UNIX)
stream.connect("/.agent/job/agent.sock")
stream.sendall(json.dumps({"id": 1, "call": "hello", "sdk": "1", "pid": 1}).encode() + b"\\n")
answer(stream)
body = BODY
stream.sendall(json.dumps({"id": 2, "call": "finish", "status": "succeeded", "bytes": len(body), "note": None, "error": None}).encode() + b"\\n" + body)
answer(stream)
os._exit(0)
"""
BODIES = {
    "no_manifest": 'b"[1, 2]"',
    "ten_megabytes": 'b" " * (7 << 20)',
    "a_port_of_the_hosts": 'json.dumps({"manifest": 1, "sdk": "1", "chute": {"name": "trainer"}, "jobs": [{"name": "x", "function": "x", '
    '"ports": [{"name": "web", "port": 22, "proto": "tcp"}]}]}).encode()',
    "a_name_that_leads_out": 'json.dumps({"manifest": 1, "sdk": "1", "chute": {"name": "../../etc"}, "jobs": [{"name": "x", "function": "x"}]}).encode()',
    "ten_thousand_functions": 'json.dumps({"manifest": 1, "sdk": "1", "chute": {"name": "t"}, "jobs": [{"name": "x", "function": "x"}] * 10000}).encode()',
}


LIE_CODES = {"manifest_invalid", "port_out_of_range", "name_invalid"}


@dataclass(frozen=True)
class Case:
    """A file whose import does harm, or lies of what is in it. `codes`: of the faults; none: it is deployed all the same."""

    name: str
    file: str
    codes: frozenset[str]

    def __str__(self) -> str:
        return self.name


# The longest comes first: all are deployed at the same time.
CASES = [
    *(
        Case(name, file, frozenset([code] if code else []))
        for name, (file, code) in sorted(HOSTILE.items(), key=lambda item: item[0] != "never_ends")
    ),
    *(Case(name, LIES.replace("BODY", body), frozenset(LIE_CODES)) for name, body in BODIES.items()),
]


def be_deployed(daemon: Daemon, image: str, case: Case) -> None:
    client = daemon.client(daemon.token(case.name))
    reply = deploy(client, image, case.file)
    if case.codes:
        assert {code for _, code in codes_of(reply)} <= case.codes, reply.body
        assert client.call("GET", "/v1/chutes").json["items"] == []
    else:
        assert reply.status == 201, reply.body
    assert deployed(client, image, HEAD + ADD + "# fine\n")


@pytest.fixture(scope="module")
def ends(
    request: pytest.FixtureRequest,
    session_engine: PrivateEngine,
    tmp_path_factory: pytest.TempPathFactory,
    python_image: str,
) -> Iterator[dict[Case, "Future[None]"]]:
    daemon = Daemon(
        tmp_path_factory.mktemp("deploys") / "d", session_engine, busybox_image(session_engine)
    ).start()
    try:
        with told_at_once(
            asked_of(request.session, Case), lambda case: be_deployed(daemon, python_image, case)
        ) as told:
            yield told
    finally:
        daemon.clean_up()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_file_that_does_anything_as_it_is_imported_ends_its_own_deploy_alone_and_is_believed_in_nothing(
    ends: dict[Case, "Future[None]"], case: Case
) -> None:
    ends[case].result(timeout=300)


def test_an_image_without_python_is_a_fault_of_the_image(client: Client, image: str) -> None:
    (fault,) = codes_of(deploy(client, image, HEAD + ADD))
    assert fault == ("image", "command_not_found")


def test_a_describe_has_no_network_and_none_of_the_secrets(client: Client, python_image: str) -> None:
    file = """
    import os, socket
    assert not os.path.exists("/run/secrets/TOKEN")
    assert [name for _, name in socket.if_nameindex()] == ["lo"], socket.if_nameindex()
    """
    spec = {"secrets": {"TOKEN": "hush"}}
    assert deployed(client, python_image, textwrap.dedent(file) + HEAD + ADD, spec=spec)


SLEEP = "@chute.job()\nasync def sleep(self):\n    import asyncio\n    await asyncio.sleep(8)\n    import later\n    return later.VALUE\n"


@pytest.mark.slow
def test_a_repair_of_the_database_keeps_the_code_that_runs_and_sets_the_rest_aside(
    daemon: Daemon, python_image: str
) -> None:
    client = daemon.local
    code = tar_of({"main.py": (HEAD + SLEEP).encode(), "later.py": b"VALUE = 5"})
    form = deploy_form({"image": python_image}, code)
    running = follow(client, client.post(f"/v1/chutes{WAIT}", form, FORM)).json["version"]["id"]
    idle = deployed(client, python_image, (HEAD + ADD).replace("trainer", "other"))["version"]["id"]
    job_id = client.call("POST", "/v1/chutes/trainer/jobs/sleep", {}).json["id"]
    client.wait_phase(job_id, "running")
    daemon.kill()
    daemon.database.write_bytes(b"no database")
    in_loop(repair(daemon.config))
    daemon.start()
    job = client.wait_finished(job_id)
    assert (job["outcome"], job["result"]) == ("succeeded", 5), job["reason"]
    assert (daemon.state / "aside" / idle / "files" / "main.py").exists()
    assert not (daemon.state / "aside" / running).exists()


@dataclass(frozen=True)
class Step:
    """Of a deploy, at which the daemon is killed."""

    point: Point

    def __str__(self) -> str:
        return str(self.point)


STEPS = [
    Step(Point("deploy.accepted")),
    Step(Point("job.accepted")),
    *(
        Step(after(step))
        for step in ("Create", "Intend", "Start", "Judge", "DrainAndRemove", "Close", "Finish")
    ),
    Step(Point("chute.deployed")),
]


def die_in_a_deploy(daemon: Daemon, image: str, step: Step) -> None:
    daemon.launch(kill_at=step.point.matches)
    daemon.wait_ready()
    client = daemon.local
    with suppress(OSError, HTTPException):  # it is killed in the middle of its answer
        deploy(client, image, HEAD + ADD)
    assert daemon.wait_killed(), f"never came to {step}: {daemon.tail()}"
    daemon.start()
    # Lost with the daemon before it was on disk, or it comes to its end: in either case the client's next try ends well.
    chute = deployed(client, image)
    assert [version["number"] for version in chute["versions"]] == [1]
    assert len(list((daemon.state / "chutes").iterdir())) == 1
    reply = client.call("POST", "/v1/chutes/trainer/jobs/add", {"payload": {"a": 1}})
    assert client.wait_finished(reply.json["id"])["outcome"] == "succeeded"
    expect(lambda: daemon.containers() == [], "no container is left")
    assert len(client.call("GET", "/v1/jobs?kind=describe").json["items"]) == 1


@pytest.fixture(scope="module")
def deaths(
    request: pytest.FixtureRequest,
    session_engine: PrivateEngine,
    tmp_path_factory: pytest.TempPathFactory,
    python_image: str,
) -> Iterator[dict[Step, "Future[None]"]]:
    base, folder = busybox_image(session_engine), tmp_path_factory.mktemp("deaths")

    def tell(step: Step) -> None:
        daemon = Daemon(folder / f"d{STEPS.index(step)}", session_engine, base)
        try:
            die_in_a_deploy(daemon, python_image, step)
        finally:
            daemon.clean_up()

    with told_at_once(asked_of(request.session, Step), tell) as told:
        yield told


@pytest.mark.slow
@pytest.mark.parametrize("case", STEPS, ids=str)
def test_a_daemon_killed_at_any_step_of_a_deploy_is_followed_by_one_that_ends_it(
    deaths: dict[Step, "Future[None]"], case: Step
) -> None:
    deaths[case].result(timeout=300)


def test_what_lies_in_the_state_folder_is_private_but_for_the_files(
    daemon: Daemon, client: Client, python_image: str
) -> None:
    version = deployed(client, python_image, spec={"secrets": {"TOKEN": "hush-hush"}})["version"]["id"]
    home = daemon.state / "chutes" / version
    assert json.loads((home / "deploy.json").read_text())["spec"]["secrets"] == {"TOKEN": "hush-hush"}
    assert b"hush-hush" not in daemon.database.read_bytes()
    assert "hush-hush" not in (daemon.folder / "agent.log").read_text()
