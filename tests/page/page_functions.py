"""The decorator reference's own functions, as its page has them: each registered, or refused for the faults it has, and run.

Run by `make test-page PAGE=FILE`, by this file's path alone: the page is no part of the repository.
"""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

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


class FastAPI:
    """Undefined on the page; nothing here listens."""

    def get(self, path: str) -> Callable[[Any], Any]:
        return lambda function: function


def define(function: Decorated, called: asyncio.Event) -> Chute:
    """A chute with this function alone, and with what the page leaves to the author."""
    chute = Chute(username="page", name="page")
    for name in function.methods - MEMBERS:
        setattr(chute, name, stand_in(name, called))
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
    return chute


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
