"""The examples for authors on a real engine: deployed as they lie there, and run as their pages say."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client, expect
from tests.e2e.daemon import Daemon
from tests.e2e.test_chutes import deployed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return daemon.client(daemon.token())


def start(client: Client, image: str, example: str, job: str, payload: dict[str, Any]) -> str:
    chute = deployed(client, image, (EXAMPLES / example / "main.py").read_text())
    reply = client.call("POST", f"/v1/chutes/{chute['name']}/jobs/{job}", {"payload": payload})
    assert reply.status == 201, reply.body
    return str(reply.json["id"])


def test_the_classifier_learns_tells_how_far_it_is_and_leaves_its_model(
    client: Client, python_image: str
) -> None:
    job = client.wait_finished(start(client, python_image, "train_classifier", "train", {"epochs": 30}))
    assert job["outcome"] == "succeeded", job["reason"]
    assert (job["result"]["status"], job["progress"]["percent"], job["metrics"]["loss"]["count"]) == (
        "trained",
        100,
        30,
    )
    assert client.call("GET", f"/v1/jobs/{job['id']}/outputs/model.json").json["weights"]


def test_the_pipeline_puts_its_childrens_results_together(client: Client, python_image: str) -> None:
    texts = {"a": "to be or", "b": "not to be"}
    job = client.wait_finished(start(client, python_image, "pipeline", "pipeline", {"texts": texts}))
    assert job["outcome"] == "succeeded", job["reason"]
    assert job["result"] == {"words": 6, "most_common": [["to", 2], ["be", 2], ["or", 1]]}
    children = [client.wait_finished(child) for child in job["children"]]
    assert sorted(child["chute"]["function"] for child in children) == [
        "count_words",
        "count_words",
        "write_report",
    ]


def test_the_workflow_goes_from_step_to_step(client: Client, python_image: str) -> None:
    payload = {"workflow_id": "w1", "text": "to be or not to be"}
    first = client.wait_finished(start(client, python_image, "workflow", "split", payload))
    (second,) = first["children"]
    (last,) = client.wait_finished(second)["children"]
    job = client.wait_finished(last)
    assert (job["outcome"], job["result"]["most_common"][0]) == ("succeeded", ["to", 2])
    assert client.call("GET", f"/v1/jobs/{last}/outputs/report.json").json == job["result"]


def test_the_web_server_is_met_by_the_proxy_until_it_is_stopped(client: Client, python_image: str) -> None:
    job_id = start(client, python_image, "web_server", "serve", {})
    page = f"/v1/jobs/{job_id}/ports/web/"
    expect(lambda: client.call("GET", page).status == 200, "the page answers", 60)
    assert client.call("GET", f"{page}?name=Ada").body == b"Hello, Ada! This is page 2.\n"
    client.call("POST", f"/v1/jobs/{job_id}/cancel?grace=20")
    job = client.wait_finished(job_id)
    assert (job["outcome"], job["result"]) == ("cancelled", {"pages": 2})


def test_the_training_service_starts_shows_and_cancels_by_its_cords(
    client: Client, python_image: str
) -> None:
    name = deployed(client, python_image, (EXAMPLES / "training_service" / "main.py").read_text())["name"]
    trainings = f"/v1/chutes/{name}/cords/trainings"
    refused = client.call("POST", trainings, {"rate": 2})
    assert (refused.status, len(refused.json["detail"])) == (400, 2)
    ids = [client.call("POST", trainings, {"epochs": epochs}).json["job_id"] for epochs in (4, 10_000)]
    whole = client.wait_finished(ids[0])
    assert client.call("GET", f"{trainings}/{ids[0]}").json["result"] == whole["result"]
    assert (whole["result"]["status"], whole["metrics"]["loss"]["count"]) == ("trained", 4)
    assert [client.call("DELETE", f"{trainings}/{job_id}").status for job_id in ids] == [404, 200]
    assert client.wait_finished(ids[1])["outcome"] == "cancelled"


def test_the_health_check_is_scheduled_measures_and_alerts(client: Client, python_image: str) -> None:
    chute = deployed(client, python_image, (EXAMPLES / "health_check" / "main.py").read_text())["name"]
    (schedule,) = client.call("GET", "/v1/schedules").json["items"]
    assert (schedule["name"], schedule["cron"]) == (f"{chute}/health_check", "*/5 * * * *")
    started = client.call("POST", f"/v1/schedules/{schedule['id']}/run")
    assert started.status == 201, started.body
    job = client.wait_finished(started.json["id"])
    assert (job["outcome"], job["metrics"].keys()) == (
        "succeeded",
        {"disk_free", "inodes_free", "memory_free", "alerts"},
    )
    reply = client.call("POST", f"/v1/chutes/{chute}/jobs/health_check", {"payload": {"least_free": 101}})
    short = client.wait_finished(reply.json["id"])
    assert (short["result"]["is_healthy"], short["metrics"]["alerts"]["last"]) == (False, 3)
    assert client.log(short["id"]).count("ALERT ") == 3
