"""docs/control-plane.md: its receiver runs as printed, and takes what the agent signs and nothing else; its example is one of ours."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.core.notify import NotifyEnd
from agent.core.webhook import message_body, message_id, sign
from agent.spec import parse_spec
from tests.unit.test_webhook import EVENT

PAGE = (Path(__file__).parents[2] / "docs" / "control-plane.md").read_text()


def block(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


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
