"""Functions on a real engine, by the real launcher: what they tell, return and start, the daemon killed in the middle of their calls."""

import textwrap

import pytest

from tests.e2e.client import Client, Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon
from tests.e2e.test_chutes import deployed

HEAD = 'from chutes.chute import Chute\nchute = Chute(username="ann", name="trainer")\n'
FUNCTIONS = """
import asyncio, os

@chute.job(timeout=120)
async def train(self, epochs: int):
    for epoch in range(epochs):
        await self.record_metric("loss", 1 / (epoch + 1))
        await self.update_job_progress(progress=100 * (epoch + 1) / epochs, message="epoch")
        await self.update_job_status("epoch", str(epoch))
        await asyncio.sleep(0.02)
    print("trained", os.getcwd(), os.getuid(), flush=True)
    return {"epochs": epochs, "attempt": self.attempt}

@chute.job(timeout=120)
async def fan_out(self, count: int):
    ids = [await self.start_job("step", {"number": number}) for number in range(count)]
    again = [await self.start_job("step", {"number": number}, key=f"k{number}") for number in range(2)]
    again += [await self.start_job("step", {"number": number}, key=f"k{number}") for number in range(2)]
    seen = []
    for job_id in ids:
        while True:
            status = await self.get_job_status(job_id)
            if status["outcome"]:
                break
            await asyncio.sleep(0.1)
        seen.append(status["result"])
    stranger = await self.get_job_status("11111111-0000-7000-8000-000000000001")
    return {"ids": ids, "keyed": again, "seen": seen, "stranger": stranger}

@chute.job(timeout=60)
async def step(self, number: int):
    return number * number

@chute.job(timeout=60)
async def looks_around(self):
    found = {"sdk": sorted(os.listdir("/.agent/sdk")), "job": os.listdir("/.agent/job")}
    for path in ("/.agent/sdk/x", "/.agent/chute/x", "/.agent/job/x"):
        try:
            open(path, "w").close()
            found[path] = "written"
        except OSError as error:
            found[path] = error.strerror
    pid = os.fork()
    if pid == 0:
        import socket
        os.setgid(1234)
        os.setuid(1234)
        open("/.agent/chute/main.py").close()
        socket.socket(socket.AF_UNIX).connect("/.agent/job/agent.sock")
        os._exit(42)
    found["as_anybody"] = os.waitpid(pid, 0)[1] >> 8
    found["env"] = sorted(name for name in os.environ if "SECRET" in name or "SOCK" in name)
    return found
"""


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return daemon.client(daemon.token())


@pytest.fixture
def trainer(client: Client, python_image: str) -> Client:
    deployed(client, python_image, HEAD + FUNCTIONS, spec={"network": "none"})
    return client


def start(client: Client, function: str, payload: Json, **spec: object) -> str:
    body = {"payload": payload, **({"spec": spec} if spec else {})}
    reply = client.call("POST", f"/v1/chutes/trainer/jobs/{function}", body)
    assert reply.status == 201, reply.body
    return str(reply.json["id"])


def finished(client: Client, function: str, payload: Json, **spec: object) -> Json:
    return client.wait_finished(start(client, function, payload, **spec))


def test_a_function_tells_and_returns(trainer: Client) -> None:
    job = finished(trainer, "train", {"epochs": 20})
    assert (job["outcome"], job["result"], job["error"]) == ("succeeded", {"epochs": 20, "attempt": 1}, None)
    assert job["progress"] == {"percent": 100, "message": "epoch"}
    assert job["statuses"] == {"epoch": "19"}
    loss = job["metrics"]["loss"]
    assert (loss["count"], loss["max"], loss["last"], len(loss["points"])) == (20, 1, 0.05, 20)
    assert trainer.call("GET", f"/v1/jobs/{job['id']}/result").json == job["result"]
    assert "trained /.agent/chute 0" in trainer.log(job["id"])


def test_any_user_of_a_functions_container_reaches_the_agent_and_nobody_can_write_there(
    trainer: Client,
) -> None:
    job = finished(trainer, "looks_around", {})
    assert job["outcome"] == "succeeded", job["reason"]
    found = job["result"]
    assert {found[path] for path in found if path.startswith("/.agent/")} == {"Read-only file system"}
    assert (found["job"], found["env"], "chutes_launch.py" in found["sdk"]) == (["agent.sock"], [], True)
    assert found["as_anybody"] == 42


def test_a_function_starts_others_each_once_and_reads_what_they_returned(trainer: Client) -> None:
    job = finished(trainer, "fan_out", {"count": 3})
    assert job["outcome"] == "succeeded", job["error"]
    result = job["result"]
    assert (result["seen"], result["stranger"]) == ([0, 1, 4], None)
    assert result["keyed"][:2] == result["keyed"][2:]
    assert job["children"] == [*result["ids"], *result["keyed"][:2]]
    child = trainer.job(result["ids"][0])
    assert (child["parent"], child["chute"]["function"], child["owner"]) == (job["id"], "step", job["owner"])


def test_a_daemon_that_is_killed_in_the_middle_of_calls_loses_and_doubles_none(
    daemon: Daemon, trainer: Client
) -> None:
    job_id = start(trainer, "train", {"epochs": 600})
    parent = start(trainer, "fan_out", {"count": 8})
    trainer.wait_phase(job_id, "running", "finished")
    for _ in range(4):
        seen = trainer.job(job_id)["progress"]
        expect(lambda seen=seen: is_further(trainer, job_id, seen), "it goes on")
        daemon.kill()
        daemon.start()
    job, fanned = trainer.wait_finished(job_id), trainer.wait_finished(parent)
    assert (job["outcome"], job["result"]["epochs"]) == ("succeeded", 600)
    assert job["metrics"]["loss"]["count"] == 600
    assert fanned["outcome"] == "succeeded", fanned["error"]
    assert (fanned["result"]["seen"], len(fanned["children"])) == ([number**2 for number in range(8)], 10)
    assert [daemon.count_starts(one) for one in (job_id, parent, *fanned["children"])] == [1] * 12


def is_further(client: Client, job_id: str, seen: Json | None) -> bool:
    job = client.job(job_id)
    return bool(job["progress"] != seen or job["outcome"])


def test_a_daemon_that_is_away_as_a_function_ends_finds_its_result(daemon: Daemon, trainer: Client) -> None:
    job_id = start(trainer, "train", {"epochs": 100})
    trainer.wait_phase(job_id, "running", "finished")
    daemon.kill()
    # It can't end: it waits for somebody who takes its result.
    daemon.start()
    job = trainer.wait_finished(job_id)
    assert (job["outcome"], job["metrics"]["loss"]["count"]) == ("succeeded", 100)


def test_a_restarted_daemon_runs_the_functions_that_waited(make_daemon: Make, python_image: str) -> None:
    daemon = make_daemon({"queues.default": {"concurrency": 1}}).start()
    client = daemon.client(daemon.token())
    deployed(client, python_image, HEAD + textwrap.dedent(FUNCTIONS), spec={"network": "none"})
    jobs = [start(client, "step", {"number": number}) for number in range(4)]
    daemon.kill()
    daemon.start()
    assert [client.wait_finished(job)["result"] for job in jobs] == [0, 1, 4, 9]
