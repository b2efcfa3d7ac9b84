"""All faults at once, hostile bodies, and the words of a refusal."""

import string
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Blame
from agent.spec import Fault, JobSpec, SpecRefusedError, parse_spec
from agent.spec.faults import MAX_FAULTS
from agent.spec.job import Gpus, Outputs

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=12)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT, st.just(10**30))
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
PORT_LIKE = st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "port", "proto", "x"), ANY_JSON))
NEARLY = {
    **dict.fromkeys(JobSpec.model_fields, ANY_JSON),
    "image": st.just("alpine") | ANY_JSON,
    "ports": st.lists(PORT_LIKE | ANY_JSON, max_size=4) | ANY_JSON,
    "gpus": st.fixed_dictionaries({}, optional=dict.fromkeys(Gpus.model_fields, ANY_JSON)) | ANY_JSON,
    "outputs": st.fixed_dictionaries({}, optional=dict.fromkeys(Outputs.model_fields, ANY_JSON)) | ANY_JSON,
    "secrets_env": st.lists(ANY_TEXT | SCALARS, max_size=3),
    "not_before": st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]([+-][0-9]{2}:[0-9]{2}|Z)", fullmatch=True),
}  # fmt: skip
NEARLY_SPECS = st.fixed_dictionaries({}, optional={**NEARLY, "unknown": ANY_JSON})


def refuse(body: object) -> SpecRefusedError:
    with pytest.raises(SpecRefusedError) as refused:
        parse_spec(body)
    return refused.value


@given(st.one_of(ANY_JSON, NEARLY_SPECS))
def test_any_json_is_a_spec_or_a_refusal_with_faults_that_can_be_sent(body: object) -> None:
    try:
        spec = parse_spec(body)
    except SpecRefusedError as refused:
        faults = list(refused.faults)
    else:
        assert parse_spec(spec.model_dump(mode="json")) == spec
        return
    assert faults
    for fault in faults:
        assert all((fault.field, fault.code, fault.message, fault.remedy))
        assert fault.field.isascii()
        assert fault.field.isprintable()
        (fault.message + fault.remedy).encode()


BROKEN = {
    "name": 7,
    "image": "No Image",
    "cpus": -1,
    "memory": "lots",
    "grace": 601,
    "network": "host",
    "queue": "",
    "priority": 10**30,
    "workdir": "x\x00",
    "disk": 1,
    "env": {"1": "x"},
    "labels": {"gpu-agent.x": "y"},
    "secrets": {"..": "s"},
    "secrets_env": ["NONE"],
    "ports": [{"name": "A", "port": 9000, "proto": "tcp"}],
    "outputs": {"live": True},
    "unknown": 1,
}


@given(st.sets(st.sampled_from(sorted(BROKEN)), min_size=1))
def test_the_faults_of_fields_add_up_whatever_else_is_wrong(names: set[str]) -> None:
    alone = {fault for name in names for fault in refuse({"image": "alpine", name: BROKEN[name]}).faults}
    together = refuse({"image": "alpine"} | {name: BROKEN[name] for name in names}).faults
    assert set(together) == alone


def test_faults_are_sorted_by_field_and_none_is_told_twice() -> None:
    faults = refuse(BROKEN).faults
    assert [fault.field for fault in faults] == sorted(fault.field for fault in faults)
    assert len(faults) == len(set(faults)) == len(BROKEN)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (None, "null"),
        ([], "a list"),
        ("image", "text"),
        (1, "a number"),
        (1.5, "a number"),
        (True, "true or false"),
    ],
)
def test_a_body_that_is_no_object_is_one_fault(body: object, kind: str) -> None:
    (fault,) = refuse(body).faults
    assert (fault.field, fault.code) == ("body", "wrong_type")
    assert kind in fault.message


def test_deep_json_is_one_fault_and_no_recursion() -> None:
    lists: list[Any] = []
    for _ in range(100_000):
        lists = [lists]
    objects: dict[str, Any] = {}
    for _ in range(100_000):
        objects = {"env": objects}
    for body in ({"image": "a", "env": lists}, objects):
        assert [(fault.field, fault.code) for fault in refuse(body).faults] == [("body", "too_deep")]


@pytest.mark.parametrize("body", [{"command": [0] * 1_000_000}, {"env": {str(n): "" for n in range(10_001)}}])
def test_a_body_of_too_many_values_is_one_fault(body: object) -> None:
    assert [fault.code for fault in refuse(body).faults] == ["too_large"]


@pytest.mark.parametrize("body", [{1: "a"}, {"image": b"alpine"}, {"command": ("a",)}, {"env": {"A": {1}}}])
def test_what_is_no_json_is_refused_as_such(body: object) -> None:
    assert [fault.code for fault in refuse(body).faults] == ["wrong_type"]


@pytest.mark.parametrize(
    "body",
    [
        {f"imagee{n}": 0 for n in range(9_900)},
        {"image": "a", "ports": [{"name": "A", "port": 1, "proto": 2}] * 1_000},
        {"image": "a", "env": {f"{n}\x00": 0 for n in range(9_900)}},
        {"image": "a", "i" * 1_000_000: 0},
        {"image": "a-" * 500_000},
        {"image": "a", "memory": "9" * 1_000_000, "not_before": "9" * 1_000_000},
    ],
)
def test_a_hostile_body_is_refused_in_a_bounded_time_with_a_bounded_answer(body: object) -> None:
    began = process_time()
    refused = refuse(body)
    assert process_time() - began < 0.5
    assert len(refused.faults) <= MAX_FAULTS + 1
    assert len(str(refused)) < 2_000


def test_a_name_and_its_value_with_one_fault_are_told_once() -> None:
    assert [fault.code for fault in refuse({"image": "a", "env": {"A\x00": "x\x00"}}).faults] == [
        "nul_character",
    ]


def test_faults_past_the_most_that_is_listed_are_counted() -> None:
    refused = SpecRefusedError([Fault(f"f{n}", "c", "m", "r") for n in range(MAX_FAULTS + 5)])
    assert len(refused.faults) == MAX_FAULTS + 1
    assert refused.faults[-1].code == "more_faults"
    assert "5 more" in refused.faults[-1].message


@pytest.mark.parametrize(
    ("body", "field", "near"),
    [
        ({"imge": "a"}, "imge", "image"),
        ({"gpu": 1}, "gpu", "gpus"),
        ({"time_out": 1}, "time_out", "timeout"),
        ({"ports": [{"nam": 1}]}, "ports.0.nam", "name"),
        ({"outputs": {"pth": "/x"}}, "outputs.pth", "path"),
        ({"retry": {"counts": 1}}, "retry.counts", "count"),
        ({"registry": {"user": "x"}}, "registry.user", "username"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(
    body: dict[str, Any], field: str, near: str
) -> None:
    (fault,) = [fault for fault in refuse(body).faults if fault.code == "unknown_field"]
    assert fault.field == field
    assert f"did you mean {near}?" in fault.message
    assert near in fault.remedy


def test_an_unknown_field_near_to_none_gets_the_list() -> None:
    (fault,) = refuse({"image": "a", "zzzzzz": 1}).faults
    assert "did you mean" not in fault.message
    assert "not_before" in fault.remedy


@given(st.text(string.ascii_letters, min_size=24, max_size=24))
def test_no_refusal_repeats_a_secret(secret: str) -> None:
    body = {
        "image": "a",
        "secrets": {"..": secret, "a": secret + "\x00", "b": [secret], "c": secret * 4_000},
        "env": {"1": secret},
        "registry": {"username": 1, "password": secret + "\n"},
        "notify": {"secret": secret},
    }
    refused = refuse(body)
    assert len(refused.faults) >= 7
    assert secret not in str(refused) + repr(refused.faults)


def test_a_refusal_is_the_users_fault_and_says_what_is_wrong() -> None:
    refused = refuse({"image": "a", "grace": 601, "timeout": 1})
    assert isinstance(refused, AgentError)
    assert (refused.code, refused.blame) == ("spec_refused", Blame.USER)
    assert str(refused).startswith("the job spec has 2 fault(s): grace: must be from 0 to 600 seconds")
