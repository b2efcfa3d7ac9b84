"""docs/control-plane.md: its receiver runs as printed, and takes what the agent signs and nothing else; its examples are of ours."""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.api.problems import STATUS
from agent.core.notify import NotifyEnd
from agent.core.webhook import message_body, message_id, sign
from agent.jobs.chutes.starts import read_start
from agent.spec import parse_spec
from chutes._binding import bind
from chutes._loading import load
from chutes.chute import Chute
from chutes.testing import LocalRunner
from tests.unit.test_webhook import EVENT

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "training_service" / "main.py"
PAGE = (ROOT / "docs" / "control-plane.md").read_text()


def block(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Chute:
    monkeypatch.setattr(sys, "path", [*sys.path])
    return load(str(EXAMPLE))


@pytest.fixture
def receiver() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(block("python"), "control-plane.md", "exec"), names)
    return names


def test_the_receiver_takes_what_the_agent_signs(receiver: dict[str, Any]) -> None:
    is_genuine: Callable[[dict[str, str], bytes], bool] = receiver["is_genuine"]
    body = message_body(EVENT)
    now = int(time.time())
    assert is_genuine(sign(receiver["SECRET"], message_id(EVENT), now, body), body)
    assert not is_genuine(sign(receiver["SECRET"], message_id(EVENT), now, body), body + b" ")
    assert not is_genuine(sign(receiver["SECRET"], message_id(EVENT), now - 1000, body), body)
    assert not is_genuine(sign("another", message_id(EVENT), now, body), body)


def test_the_example_is_a_spec_that_is_taken() -> None:
    spec = parse_spec(json.loads(block("json")))
    assert spec.notify is not None


def test_the_printed_request_is_signed_with_the_printed_secret(receiver: dict[str, Any]) -> None:
    head, _, printed = block("http").partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    body = printed.replace("\n ", "").strip().encode()
    signed = sign(receiver["SECRET"], headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == signed["webhook-signature"]
    assert set(json.loads(body)) == set(json.loads(message_body(EVENT)))


def test_every_end_has_its_word_on_the_page() -> None:
    assert all(f"`{end}`" in PAGE for end in ("open", *NotifyEnd))


def test_its_calls_of_a_chute_are_those_that_the_example_answers() -> None:
    example = EXAMPLE.read_text()
    answered = re.findall(r'@chute\.cord\(public_api_path="([^"]+)"(?:, method="(\w+)")?\)', example)
    called = re.findall(
        r"^curl.*?(?:-X (\w+) )?\$A/v1/chutes/training-service/cords(\S+)(.*)$", PAGE, re.MULTILINE
    )
    assert [(path.replace("$ID", "{job_id}"), method or ("POST" if body else "GET")) for method, path, body in called] == [
        (path, method or "POST") for path, method in answered
    ]  # fmt: skip
    assert re.findall(r"/v1/chutes/training-service/jobs/(\w+)", PAGE) == re.findall(
        r'job\(name="(\w+)"', example
    )


async def test_the_bodies_of_its_calls_are_what_the_functions_of_the_example_take(example: Chute) -> None:
    sent = re.findall(r"/v1/chutes/training-service/(jobs|cords)/(\S+) -d '(.+)'$", PAGE, re.MULTILINE)
    assert [kind for kind, *_ in sent] == ["jobs", "cords"]
    runner, starts = LocalRunner(example), []
    for kind, place, body in sent:
        if kind == "jobs":
            starts.append((place, read_start(json.loads(body))[0]))
        else:
            # Any object binds to `config`: what is in it the function judges itself.
            answer = await runner.call_cord("POST", f"/{place}", json=json.loads(body))
            assert answer.status == 200, answer.text
    starts += [(child.name, child.payload) for child in runner.started]
    assert len(starts) == len(sent)
    for name, payload in starts:
        bind(example.jobs[name].function, payload, "/outputs")


def test_the_codes_that_it_names_for_cords_are_in_the_catalogue() -> None:
    codes = set(re.findall(r"`(cord_[a-z_]+)`", PAGE)) - {"cord_timeout"}
    catalogue = (ROOT / "docs" / "errors.md").read_text()
    assert codes
    assert {code for code in codes if f"`{code}`" not in catalogue} == set()


def test_each_code_of_a_cord_stands_behind_its_status() -> None:
    """Of several behind one status, each has it."""
    table = PAGE.partition("| of a cord's answer | |")[2].partition("\n\n")[0]
    said = {
        code: int(status)
        for status, codes in re.findall(r"\b(\d{3}) ((?:`cord_\w+`(?:, | and )?)+)", table)
        for code in re.findall(r"cord_\w+", codes)
    }
    assert said == {code: status for code, status in STATUS.items() if code.startswith("cord_")}
