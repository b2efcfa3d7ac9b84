"""The decorator reference's own functions, as its page has them: each registered, or refused for the faults it has, and run.

Run by `make test-page PAGE=FILE`, by this file's path alone: the page is no part of the repository.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.spec.cron import find_cron_faults, next_few
from chutes import Chute, HTTPException, PermanentError, Port, RetriableError
from chutes._binding import bind
from chutes._signature import read_parameters
from chutes.errors import RegistrationError
from chutes.platform import MEMBERS, Recorder
from chutes.testing import LocalRunner
from tests.page.blocks import Decorated, find_blocks, find_decorated, is_python

if not os.environ.get("PAGE"):
    raise pytest.UsageError("say which page: make test-page PAGE=FILE")
PAGE = Path(os.environ["PAGE"]).read_text(encoding="utf-8")
FUNCTIONS = find_decorated(PAGE)

REFUSED = {
    "multi_port_job": ["ports[0].port", "ports[2].port", "ports[2].name"],
    "api_server_job": ["ports[0].port"],
}
REGISTERED = [function for function in FUNCTIONS if function.name not in REFUSED]

# What the page's functions are started with, by the names of their parameters.
ARGUMENTS: dict[str, Any] = {
    "all_results": [{}],
    "batch_data": [{"id": 1}, {"id": 2}],
    "config": {"epochs": 1},
    "data": {"key": "value"},
    "item_id": "item",
    "items": [{}, {}, {}],
    "pipeline_config": {"stages": {"load": {}, "train": {"critical": True}}},
    "previous_result": {},
    "task_id": "task",
    "training_config": {"min_score": 0.5},
    "workflow_id": "workflow",
}
# What the authors' own methods give, where a text would not do.
GIVEN: dict[str, Any] = {
    "fetch_from_source": [1, 2],
    "generate_pdf_report": b"%PDF",
    "is_already_processed": False,
    "validate_model": 0.9,
}
PLAIN_METHODS = {"validate_training_config"}
ENDLESS = {"streaming_job"}
# When its scheduled functions come next, on that day at that time.
AT = datetime(2030, 3, 17, 17, 46, tzinfo=UTC)
NEXT = {
    "daily_maintenance": ["18 03:00", "19 03:00"],
    "data_sync": ["17 18:00", "17 19:00"],
    "health_check": ["17 17:50", "17 17:55"],
}


class FastAPI:
    """Undefined on the page; nothing here listens."""

    def get(self, path: str) -> Callable[[Any], Any]:
        return lambda function: function


def define(function: Decorated, called: asyncio.Event) -> Chute:
    """A chute with this function alone, and with what the page leaves to the author."""
    chute = Chute(username="page", name="page")
    for name in function.methods - MEMBERS:
        setattr(chute, name, stand_in(name, called))
    put(function, chute)
    return chute


def put(function: Decorated, chute: Chute) -> None:
    scope = {
        "FastAPI": FastAPI,
        "HTTPException": HTTPException,
        "List": list,
        "PermanentError": PermanentError,
        "Port": Port,
        "RetriableError": RetriableError,
        "asyncio": asyncio,
        "chute": chute,
        "datetime": datetime,
        "json": json,
        "time": time,
    }
    exec(compile(function.source, function.name, "exec"), scope)


def stand_in(name: str, called: asyncio.Event) -> Callable[..., Any]:
    async def method(*_: object, **__: object) -> object:
        called.set()
        return GIVEN.get(name, f"by {name}")

    return (lambda *_: True) if name in PLAIN_METHODS else method


def test_the_page_has_its_35_functions() -> None:
    assert Counter(function.kind for function in FUNCTIONS) == {"job": 32, "cord": 3}


def test_what_is_no_python_on_the_page_holds_no_function() -> None:
    assert [block for block in find_blocks(PAGE) if not is_python(block) and "def " in block] == []


@pytest.mark.parametrize("function", REGISTERED, ids=str)
def test_it_is_registered(function: Decorated) -> None:
    chute = define(function, asyncio.Event())
    registered = [job.function.__name__ for job in chute.jobs.values()]
    registered += [cord.function.__name__ for cord in chute.cords]
    assert registered == [function.name]


@pytest.mark.parametrize("function", [each for each in FUNCTIONS if each.name in REFUSED], ids=str)
def test_it_is_refused_with_each_fault(function: Decorated) -> None:
    with pytest.raises(RegistrationError) as refused:
        define(function, asyncio.Event())
    assert [fault.field for fault in refused.value.faults] == REFUSED[function.name]


@pytest.mark.parametrize("function", [each for each in REGISTERED if each.kind == "job"], ids=str)
async def test_it_runs_as_written(function: Decorated, tmp_path: Path) -> None:
    called = asyncio.Event()
    chute = define(function, called)
    chute.attach(Recorder())
    (job,) = chute.jobs.values()
    payload = {
        each.name: ARGUMENTS[each.name]
        for each in read_parameters(job.function)
        if each.is_named and each.name != "output_dir"
    }
    args, kwargs = bind(job.function, payload, str(tmp_path))
    # As its tests call it: an attribute of the chute.
    run = asyncio.ensure_future(getattr(chute, function.name)(*args, **kwargs))
    if function.name in ENDLESS:
        await asyncio.wait_for(called.wait(), 5)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
    else:
        json.dumps(await asyncio.wait_for(run, 5), allow_nan=False)


@pytest.mark.parametrize("function", [each for each in REGISTERED if each.kind == "cord"], ids=str)
async def test_a_cord_calls_the_platform_and_not_itself(function: Decorated) -> None:
    chute = define(function, asyncio.Event())
    platform = Recorder()
    chute.attach(platform)
    arguments = {**ARGUMENTS, "job_id": await platform.start_job("model_training")}
    (cord,) = chute.cords
    names = [each.name for each in read_parameters(cord.function)]
    assert await cord.function(chute, **{name: arguments[name] for name in names})
    if "job_id" in names:
        with pytest.raises(HTTPException) as raised:
            await cord.function(chute, job_id="nobody")
        assert raised.value.status_code == 404


@pytest.mark.parametrize("function", [each for each in REGISTERED if each.kind == "cord"], ids=str)
async def test_a_cord_answers_requests(function: Decorated) -> None:
    chute = define(function, asyncio.Event())

    @chute.job(name="model_training")
    async def train(self: Chute, epochs: int) -> None: ...

    (cord,) = chute.cords
    runner = LocalRunner(chute)
    if "{job_id}" in cord.public_api_path:
        answer = await runner.call_cord(cord.method, cord.public_api_path.replace("{job_id}", "nobody"))
        assert (answer.status, list(answer.json()), answer.error) == (404, ["detail"], None)
    else:
        answer = await runner.call_cord(cord.method, cord.public_api_path, json={"epochs": 1})
        (started,) = runner.started
        assert (answer.status, started.payload) == (200, {"epochs": 1})
        assert answer.json()["job_id"] == started.job_id


def test_its_scheduled_functions_come_when_they_say() -> None:
    jobs = [job for each in REGISTERED for job in define(each, asyncio.Event()).jobs.values()]
    schedules = {job.name: job.schedule for job in jobs if job.schedule}
    assert [fault for cron in schedules.values() for fault in find_cron_faults(cron, "schedule")] == []
    coming = {name: next_few(cron, AT.timestamp(), 2) for name, cron in schedules.items()}
    told = {
        name: [f"{datetime.fromtimestamp(at, UTC):%d %H:%M}" for at in all_of]
        for name, all_of in coming.items()
    }
    assert told == NEXT


async def test_its_cords_together_start_a_job_tell_of_it_and_cancel_it() -> None:
    chute = Chute(username="page", name="page")
    chute.validate_training_config = lambda config: "epochs" in config
    for function in REGISTERED:
        if function.kind == "cord" or "model_training" in function.source.partition("def ")[0]:
            put(function, chute)
    runner = LocalRunner(chute)
    unfit = await runner.call_cord("POST", "/start_training", json={"rate": 1})
    assert (unfit.status, list(unfit.json())) == (400, ["detail"])
    job_id = (await runner.call_cord("POST", "/start_training", json={"epochs": 1})).json()["job_id"]
    assert (await runner.call_cord("POST", f"/job_status/{job_id}")).json()["id"] == job_id
    cancelled = [(await runner.call_cord("DELETE", f"/cancel_job/{job_id}")).status for _ in range(2)]
    assert cancelled == [200, 404]
