"""What is shown and stored of a spec, and that it reads back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.spec import (
    Notify,
    Registry,
    dump_spec,
    load_spec,
    masked,
    parse_spec,
    secrets_of,
    spec_schema,
    without_secrets,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,9}", fullmatch=True)
PORTS = st.lists(
    st.tuples(st.from_regex(r"[a-z]{1,5}[0-9]{0,3}", fullmatch=True), st.integers(8_002, 65_535), st.sampled_from(["tcp", "udp", "http"])),
    max_size=5,
    unique_by=(lambda port: port[0], lambda port: port[1]),
).map(lambda ports: [dict(zip(("name", "port", "proto"), port, strict=True)) for port in ports])  # fmt: skip
HEADERS = st.dictionaries(NAMES, st.from_regex(r"[A-Za-z0-9]{1,8}", fullmatch=True), max_size=2)
UPLOADS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"to": "put", "url": "https://a/{job}/{path}?sig=x&at={attempt}"},
        {"to": "put", "presign": "https://a/presign?key=b"},
        {"to": "chutes", "status_url": "https://a/s"},
        {"to": "tus", "url": "https://a/t?u", "metadata": {"bucket": "b"}},
    ]
).flatmap(lambda upload: HEADERS.map(lambda headers: {**upload, "headers": headers}))
SPECS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"image": st.sampled_from(["alpine", "ghcr.io/a/b:1"])},
    optional={
        "command": st.lists(TEXT, max_size=3),
        "env": st.dictionaries(NAMES, TEXT, max_size=3),
        "secrets": st.dictionaries(NAMES, TEXT, max_size=3),
        "registry": st.fixed_dictionaries({"username": NAMES, "password": NAMES}),
        "cpus": st.floats(0.01, 8_192),
        "memory": st.integers(6 * 2**20, 2**63 - 1) | st.just("1.5GiB"),
        "gpus": st.integers(0, 8) | st.fixed_dictionaries({"count": st.integers(1, 8), "models": st.lists(NAMES, max_size=2)}),
        "ports": PORTS,
        "network": st.sampled_from(["egress", "none"]),
        "timeout": st.none() | st.integers(30, 86_400),
        "retry": st.fixed_dictionaries({"count": st.integers(0, 5), "on": st.lists(st.sampled_from(["failed", "lost", "timed_out"]))}),
        "not_before": st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
        "labels": st.dictionaries(NAMES, NAMES, max_size=3),
        "outputs": st.just({"path": "/data"}) | UPLOADS.map(lambda upload: {"upload": upload, "on": "success"}),
        "notify": st.fixed_dictionaries({"url": st.just("https://a/b?c=d"), "secret": NAMES}),
    },
)  # fmt: skip


@given(SPECS)
def test_what_is_stored_reads_back_as_the_spec_without_its_secrets(body: dict[str, Any]) -> None:
    spec = parse_spec(body)
    assert load_spec(dump_spec(spec)) == without_secrets(spec)
    assert json.loads(dump_spec(spec)) == masked(spec)


@given(SPECS)
def test_what_is_shown_can_be_sent_again(body: dict[str, Any]) -> None:
    spec = parse_spec(body)
    assert parse_spec(spec.model_dump(mode="json")) == spec
    assert parse_spec(masked(spec)) == without_secrets(spec)


def test_secrets_are_masked_in_every_form_and_kept_in_one() -> None:
    spec = parse_spec(
        {
            "image": "a",
            "secrets": {"token": "hush-1", "EMPTY": ""},
            "secrets_env": ["token"],
            "registry": {"username": "me", "password": "hush-2"},
            "notify": {"url": "https://a/b?token=hush-3", "secret": "hush-4"},
        }
    )
    for shown in (
        repr(spec),
        str(spec),
        dump_spec(spec),
        str(masked(spec)),
        repr(without_secrets(spec)),
        repr(secrets_of(spec)),
    ):
        assert "hush" not in shown
    assert masked(spec)["secrets"] == {"token": "***", "EMPTY": "***"}
    assert masked(spec)["registry"] == {"username": "me", "password": "***"}
    assert secrets_of(spec).files == {"token": "hush-1", "EMPTY": ""}
    assert masked(spec)["notify"] == {"url": "https://a/b?***", "secret": "***"}
    assert secrets_of(spec).notify == Notify(url="https://a/b?token=hush-3", secret="hush-4")
    assert secrets_of(spec).registry == Registry(username="me", password="hush-2")
    assert spec.secrets["token"] == "hush-1"


def test_a_stored_spec_that_breaks_todays_limits_still_reads() -> None:
    row = masked(parse_spec({"image": "a"})) | {
        "timeout": 5,
        "image": "No Image",
        "grace": 9_999,
        "labels": {"gpu-agent.x": "y"},
    }
    assert load_spec(json.dumps(row)).timeout == 5


def test_a_stored_spec_of_a_version_with_fewer_fields_still_reads() -> None:
    assert load_spec('{"image": "a"}') == parse_spec({"image": "a"})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"image": 1}'])
def test_a_text_that_is_no_spec_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="JobSpec"):
        load_spec(text)


def test_the_schema_stands_alone_and_names_every_field() -> None:
    schema = spec_schema()
    assert "$ref" not in json.dumps(schema)
    assert set(schema["properties"]) == set(masked(parse_spec({"image": "a"})))
    assert schema["required"] == ["image"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["gpus"]["anyOf"][0]["type"] == "integer"
    assert schema["properties"]["ports"]["items"]["properties"]["proto"]["enum"] == ["tcp", "udp", "http"]
    assert schema["properties"]["timeout"]["maximum"] == 86_400
