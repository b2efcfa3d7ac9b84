"""The examples for authors: each runs as it stands, by LocalRunner."""

import asyncio
import json
import re
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from chutes._loading import load
from chutes.chute import Chute
from chutes.testing import Children, LocalRunner

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
Load = Callable[[str], Chute]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setattr(sys, "path", [*sys.path])
    return lambda name: load(str(EXAMPLES / name / "main.py"))


def test_the_classifier_learns_and_tells_how_far_it_is(example: Load) -> None:
    result = LocalRunner(example("train_classifier")).run("train", {"epochs": 30})
    assert result.error is None
    assert result.value["status"] == "trained"
    assert result.value["accuracy"] > 0.9
    losses = [value for name, value in result.metrics if name == "loss"]
    assert len(losses) == 30
    assert losses == sorted(losses, reverse=True)
    assert [each.percent for each in result.progress[-2:]] == [pytest.approx(29 / 30 * 100), 100]
    assert list(result.outputs) == ["checkpoint.json", "model.json"]


def test_the_classifier_goes_on_where_a_crash_left_it(example: Load, tmp_path: Path) -> None:
    chute = example("train_classifier")
    whole = LocalRunner(chute).run("train", {"epochs": 20})
    keep = chute.record_metric

    async def crash_once(name: str, value: float) -> None:
        if chute.attempt == 1 and len(chute_metrics) == 12:
            raise ConnectionError
        chute_metrics.append(value)
        await keep(name, value)

    chute_metrics: list[float] = []
    chute.record_metric = crash_once
    result = LocalRunner(chute, output_dir=tmp_path).run("train", {"epochs": 20})
    assert [each.outcome for each in result.attempts] == ["failed", "succeeded"]
    # Twelve epochs, and from the checkpoint of the tenth on.
    assert len(chute_metrics) == 12 + 10
    assert result.value == whole.value


def test_the_classifier_keeps_what_it_has_when_it_is_stopped(example: Load) -> None:
    chute = example("train_classifier")
    runner = LocalRunner(chute, tell=lambda kind, _: runner.stop() if kind == "progress" else None)
    result = runner.run("train", {"epochs": 1_000_000})
    assert (result.outcome, result.value["status"]) == ("cancelled", "stopped")
    kept = json.loads(result.outputs["checkpoint.json"].read_text())
    assert kept["epoch"] == result.value["epochs"]


def test_the_pipeline_puts_its_childrens_results_together(example: Load) -> None:
    texts = {"a": "to be or", "b": "not to be"}
    result = LocalRunner(example("pipeline"), children=Children.RUN).run("pipeline", {"texts": texts})
    assert result.value == {"words": 6, "most_common": [["to", 2], ["be", 2], ["or", 1]]}
    assert [child.name for child in result.children] == ["count_words", "count_words", "write_report"]
    assert result.children[-1].outputs["report.txt"].read_text().startswith("6 words\n")


def test_a_child_of_the_pipeline_that_fails_fails_it_for_good(example: Load) -> None:
    runner = LocalRunner(example("pipeline"), children=Children.RUN)
    result = runner.run("pipeline", {"texts": {"a": 7}})
    assert result.error is not None
    assert (result.error.kind, len(result.attempts)) == ("permanent", 1)


WORKFLOW = {"workflow_id": "w1", "text": "to be or not to be"}


def test_each_step_of_the_workflow_starts_the_next(example: Load) -> None:
    first = LocalRunner(example("workflow"), children=Children.RUN).run("split", WORKFLOW)
    (second,) = first.children
    (last,) = second.children
    assert [step.name for step in (second, last)] == ["count", "report"]
    assert (first.value, second.value) == ({"words": 6}, {"different": 4})
    assert last.value == {"workflow": "w1", "most_common": [["to", 2], ["be", 2], ["or", 1]]}
    assert json.loads(last.outputs["report.json"].read_text()) == last.value


def test_a_step_of_the_workflow_that_fails_starts_none(example: Load) -> None:
    runner = LocalRunner(example("workflow"), children=Children.RUN)
    result = runner.run("split", {**WORKFLOW, "text": "42"})
    assert (result.outcome, result.children) == ("failed", ())


async def test_the_web_server_serves_until_it_is_stopped(example: Load) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    runner = LocalRunner(example("web_server"), ports={"web": port})

    async def visit() -> str:
        for _ in range(500):
            try:
                return await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/?name=Ada")
            except OSError:
                await asyncio.sleep(0.01)
        raise AssertionError("nobody serves")

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(runner.run_async("serve"))
        page = await visit()
        runner.stop()
    assert page == "Hello, Ada! This is page 1.\n"
    assert (serving.result().outcome, serving.result().value) == ("cancelled", {"pages": 1})


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


async def test_the_service_starts_a_training_tells_how_far_it_is_and_what_came_of_it(example: Load) -> None:
    runner = LocalRunner(example("training_service"), children=Children.RUN)
    started = await runner.call_cord("POST", "/trainings", json={"epochs": 4})
    assert (started.status, [child.payload for child in runner.started]) == (200, [{"epochs": 4}])
    shown = (await runner.call_cord("GET", f"/trainings/{started.json()['job_id']}")).json()
    assert (shown["progress"], shown["result"]["status"]) == (
        {"percent": 100, "message": "epoch 4 of 4"},
        "trained",
    )


async def test_the_service_names_everything_that_is_wrong_with_a_configuration(example: Load) -> None:
    runner = LocalRunner(example("training_service"))
    refused = await runner.call_cord("POST", "/trainings", json={"epochs": True, "rate": 0, "layers": 3})
    assert refused.status == 400
    assert [fault.partition(":")[0] for fault in refused.json()["detail"]] == ["layers", "epochs", "rate"]
    assert runner.started == []


async def test_the_service_knows_no_training_that_it_did_not_start(example: Load) -> None:
    runner = LocalRunner(example("training_service"))
    assert [(await runner.call_cord(method, "/trainings/none")).status for method in ("GET", "DELETE")] == [
        404,
        404,
    ]


def test_a_training_of_the_service_that_is_stopped_keeps_what_it_has_learned(example: Load) -> None:
    chute = example("training_service")
    runner = LocalRunner(chute, tell=lambda kind, _: runner.stop() if kind == "progress" else None)
    result = runner.run("train", {"epochs": 1_000})
    assert (result.outcome, result.value["status"]) == ("cancelled", "stopped")
    assert json.loads(result.outputs["line.json"].read_text())["slope"] == result.value["slope"] > 0


def test_the_health_check_is_scheduled_and_finds_nothing_wrong(example: Load) -> None:
    chute = example("health_check")
    assert chute.jobs["health_check"].schedule == "*/5 * * * *"
    result = LocalRunner(chute).run("health_check", {"least_free": 0})
    assert result.value == {"is_healthy": True, "alerts": []}
    assert [name for name, _ in result.metrics] == ["disk_free", "inodes_free", "memory_free", "alerts"]


def test_the_health_check_alerts_in_its_log_of_all_that_is_short(
    example: Load, caplog: pytest.LogCaptureFixture
) -> None:
    result = LocalRunner(example("health_check")).run("health_check", {"least_free": 101})
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [line.partition(":")[0] for line in told] == ["ALERT disk", "ALERT inodes", "ALERT memory"]
    assert result.metrics[-1] == ("alerts", 3)


def test_what_the_health_check_cannot_read_is_an_alert_beside_the_others(
    example: Load, tmp_path: Path
) -> None:
    chute = example("health_check")
    chute.jobs["health_check"].function.__globals__["MEMORY"] = tmp_path / "none"
    result = LocalRunner(chute).run("health_check", {"least_free": 0})
    (alert,) = result.value["alerts"]
    assert alert.startswith("memory: can't be read: ")


@pytest.mark.parametrize(
    "name",
    ["train_classifier", "pipeline", "workflow", "web_server", "training_service", "health_check"],
)
def test_the_command_that_an_example_names_is_one_of_its_jobs(example: Load, name: str) -> None:
    text = (EXAMPLES / name / "main.py").read_text()
    found = re.search(rf"gpu-agent chute run examples/{name}/main.py:(\w+) --local", text)
    assert found is not None
    assert found[1] in example(name).jobs
