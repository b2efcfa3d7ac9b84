"""Signatures by Standard Webhooks, and what is signed."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.event_form import show_event
from agent.core.job import Event
from agent.core.webhook import message_body, message_id, sign
from agent.spec.notify import read_key

EVENT = Event(
    41,
    3,
    "0190aaaa-0000-7000-8000-000000000001",
    "alice",
    1_900_000_000.25,
    "job.phase",
    {"to": "running", "é": "\ud800"},
)


def test_the_example_of_the_standards_own_libraries_is_signed_alike() -> None:
    headers = sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(st.binary(min_size=24, max_size=64))
def test_behind_the_prefix_is_base64_and_other_text_is_the_key_itself(key: bytes) -> None:
    text = base64.b64encode(key).decode()
    assert read_key(f"whsec_{text}") == key
    assert read_key(text) == text.encode()


@pytest.mark.parametrize(
    "secret",
    ["whsec_", "whsec_ MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_é", "whsec_AAAA", "whsec_" + "QUJD" * 22],
)
def test_a_prefix_without_a_key_behind_it_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_") as refused:
        read_key(secret)
    assert secret == "whsec_" or secret not in str(refused.value)


def test_each_part_changes_the_signature() -> None:
    base = ("secret", "id", 1, b"body")
    signatures = {
        sign(*parts)["webhook-signature"]
        for parts in (base, ("other", *base[1:]), ("secret", "ie", 1, b"body"), ("secret", "id", 2, b"body"), ("secret", "id", 1, b"bodx"))
    }  # fmt: skip
    assert len(signatures) == 5


def test_the_body_is_what_the_event_stream_has() -> None:
    body = json.loads(message_body(EVENT))
    assert body == {**show_event(EVENT), "data": {"to": "running", "é": "?"}}
    assert body["at"] == "2030-03-17T17:46:40.250Z"
    assert b"\n" not in message_body(EVENT)


def test_an_id_has_no_full_stop_and_no_other_event_has_it() -> None:
    others = [
        Event(42, 4, EVENT.job, "alice", EVENT.at, "job.phase", {}),
        Event(43, 3, EVENT.job, "alice", EVENT.at + 0.001, "job.phase", {}),  # a later job of the same id
    ]
    ids = {message_id(event) for event in (EVENT, *others)}
    assert len(ids) == 3
    assert not any("." in one for one in ids)
