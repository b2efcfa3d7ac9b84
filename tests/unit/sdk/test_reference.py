"""The decorator reference's 35 functions: 30 jobs that run, 3 cords, and the two jobs that its own port rules refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chutes import Chute, HTTPException
from chutes._binding import bind
from chutes._manifest import describe
from chutes._refusing import noting
from chutes.platform import Recorder
from tests.unit.sdk.reference import SECTIONS

REFUSED = {
    "multi_port_job": {
        ("ports[0].port", "8000"),
        ("ports[2].port", "8001"),
        ("ports[2].name", "'tcp_service'"),
    },
    "api_server_job": {("ports[0].port", "8000")},
}

# By section and registered name: the payload it is started with, and what it then returns.
RUNS: dict[tuple[str, str], tuple[Any, Any]] = {
    ("ports", "web_server_job"): (None, "web"),
    ("ports", "compute_job"): (None, "computed"),
    ("timeouts", "training_job"): (None, "trained"),
    ("timeouts", "server_job"): (None, "served"),
    ("timeouts", "quick_batch_job"): (None, "processed"),
    ("uploads_and_ssh", "generate_report_job"): (None, "report.pdf"),
    ("uploads_and_ssh", "streaming_job"): (None, "stopped"),
    ("uploads_and_ssh", "debug_job"): (None, "debugged"),
    ("uploads_and_ssh", "regular_job"): (None, "done"),
    ("basic", "compute_job"): ({"a": 1}, ["a", "output_dir"]),
    ("basic", "training_job"): (None, {"model_path": "OUTPUT/model.pkl"}),
    ("scheduled", "daily_maintenance"): (None, {"maintenance_completed": True}),
    ("scheduled", "data_sync"): (None, {"api1": "error"}),
    ("long_running", "model_training"): ({"min_score": 0.9}, 0.9),
    ("long_running", "data_pipeline"): ({"stages": {"load": {}, "clean": {}}}, ["load", "clean"]),
    ("errors", "robust_job"): ({"task_id": "t1"}, "t1"),
    ("errors", "graceful_job"): ([{"id": 1}, {"id": 2}], {"processed": 0}),
    ("workflows", "workflow_step_1"): ({"workflow_id": "w"}, "local.1"),
    ("workflows", "workflow_step_2"): ({"workflow_id": "w", "previous_result": {}}, "local.1"),
    ("workflows", "workflow_step_final"): ({"workflow_id": "w", "all_results": [{}]}, {"w": [{}]}),
    ("monitored", "progress_job"): ({"items": [{}, {}]}, 2),
    ("monitored", "metrics_job"): ({"data": {"x": 1}}, {"x": 1}),
    ("monitored", "health_check"): (None, {"overall_health": True}),
    ("practices", "idempotent_job"): ("item", "item"),
    ("practices", "quick_job"): (None, "quick"),
    ("practices", "complex_job"): (None, "complex"),
    ("practices", "resilient_job"): (None, "retried"),
    ("practices", "critical_job"): (None, "critical"),
    ("practices", "gpu_job"): (None, "gpu"),
    ("practices", "monitored_job"): ({"x": 1}, {"x": 1}),
}


BY_NAME: dict[str, Callable[[Chute], None]] = {section.__name__: section for section in SECTIONS}


def make(section: str) -> Chute:
    chute = Chute(username="me", name=section)
    with noting():
        BY_NAME[section](chute)
    return chute


CHUTES = {section: make(section) for section in BY_NAME}


def test_all_35_are_here() -> None:
    found = [describe(chute) for chute in CHUTES.values()]
    assert [sum(len(each[kind]) for each in found) for kind in ("jobs", "cords", "refused")] == [30, 3, 2]
    assert {(section, name) for section, chute in CHUTES.items() for name in chute.jobs} == set(RUNS)


def test_the_two_that_break_the_port_rules_are_refused_with_each_fault() -> None:
    refused = [error for chute in CHUTES.values() for error in chute.refused_functions]
    told = {
        error.function: {(fault.field, fault.message.split()[0]) for fault in error.faults}
        for error in refused
    }
    assert told == REFUSED


@pytest.mark.parametrize(("section", "name"), RUNS)
async def test_each_job_runs_with_the_payload_it_is_started_with(
    section: str, name: str, tmp_path: Path
) -> None:
    chute = make(section)
    platform = Recorder(chute.jobs)
    platform.stopping = True
    chute.attach(platform)
    payload, expected = RUNS[section, name]
    function = chute.jobs[name].function
    args, kwargs = bind(function, payload, str(tmp_path))
    returned = await function(chute, *args, **kwargs)
    assert json.loads(json.dumps(returned).replace(str(tmp_path), "OUTPUT")) == expected


SETTINGS = {
    ("timeouts", "training_job"): {"timeout": 3600},
    ("timeouts", "server_job"): {"timeout": None},
    ("timeouts", "quick_batch_job"): {"timeout": 300},
    ("uploads_and_ssh", "streaming_job"): {"upload": False},
    ("uploads_and_ssh", "debug_job"): {"ssh": True},
    ("basic", "training_job"): {"upload": True, "ssh": True, "timeout": 3600},
    ("scheduled", "daily_maintenance"): {"function": "daily_maintenance", "schedule": "0 3 * * *"},
    ("scheduled", "data_sync"): {
        "function": "sync_external_data",
        "schedule": "0 * * * *",
        "retry_count": 5,
    },
    ("long_running", "model_training"): {
        "function": "train_model",
        "timeout": 7200,
        "retry_count": 1,
        "queue": "gpu_intensive",
    },
    ("long_running", "data_pipeline"): {
        "function": "process_data_pipeline",
        "timeout": 3600,
        "queue": "data_processing",
    },
    ("errors", "robust_job"): {
        "function": "robust_job_with_error_handling",
        "retry_count": 3,
        "timeout": 300,
    },
    ("errors", "graceful_job"): {"function": "job_with_graceful_shutdown", "timeout": 1800},
    ("workflows", "workflow_step_final"): {"function": "workflow_final_step"},
    ("monitored", "progress_job"): {"function": "job_with_progress"},
    ("monitored", "metrics_job"): {"function": "job_with_metrics"},
    ("monitored", "health_check"): {"function": "health_check_job", "schedule": "*/5 * * * *"},
    ("practices", "quick_job"): {"timeout": 30},
    ("practices", "complex_job"): {"timeout": 3600},
    ("practices", "resilient_job"): {"retry_count": 3},
    ("practices", "critical_job"): {"queue": "critical", "priority": 10},
    ("practices", "gpu_job"): {"queue": "gpu_intensive"},
}
DEFAULTS = {
    "ports": [],
    "timeout": None,
    "upload": True,
    "ssh": False,
    "schedule": None,
    "retry_count": 0,
    "queue": "default",
    "priority": 0,
}


@pytest.mark.parametrize(("section", "name"), RUNS)
def test_each_job_is_described_as_it_was_decorated(section: str, name: str) -> None:
    ports = [{"name": "web", "port": 8080, "proto": "http"}] if name == "web_server_job" else []
    expected = {
        **DEFAULTS,
        "name": name,
        "function": name,
        "ports": ports,
        **SETTINGS.get((section, name), {}),
    }
    (described,) = [job for job in describe(CHUTES[section])["jobs"] if job["name"] == name]
    assert {field: described[field] for field in expected} == expected


async def test_its_cords_named_like_the_platforms_members_call_those() -> None:
    chute = make("cords")
    platform = Recorder()
    chute.attach(platform)
    start, look, cancel = [cord.function for cord in chute.cords]
    job_id = await start(chute, config={"epochs": 1})
    assert [child.payload for child in platform.children] == [{"epochs": 1}]
    assert (await look(chute, job_id=job_id))["id"] == job_id
    assert [await cancel(chute, job_id=job_id), await cancel(chute, job_id="another")] == [True, False]
    with pytest.raises(HTTPException) as raised:
        await look(chute, job_id="another")
    assert raised.value.status_code == 404
