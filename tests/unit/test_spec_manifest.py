"""A manifest out of an author's container: what is wrong is named at the author's own words, and no lie does any harm."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.spec import DeployRefusedError, Fault, read_manifest, signature_of
from agent.spec.manifest import MAX_MANIFEST_BYTES, field_of, load_manifest
from tests.unit.chute_values import a_job, a_manifest, a_parameter, encoded, good

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def faults_of(manifest: object) -> list[Fault]:
    try:
        return read_manifest(encoded(manifest))[1]
    except DeployRefusedError as refused:
        return list(refused.faults)


def fields_of(manifest: object) -> set[str]:
    return {fault.field for fault in faults_of(manifest)}


def test_what_the_sdk_describes_is_taken_whole() -> None:
    manifest = good(a_job("a"), a_job("b", timeout=60))
    assert [job.name for job in manifest.jobs] == ["a", "b"]
    assert manifest.find_job("b") == manifest.jobs[1]
    assert manifest.find_job("c") is None


def test_what_is_kept_is_read_again_as_it_was() -> None:
    manifest = good(a_job("a", parameters=[a_parameter("x")]), cords=[{"function": "ask"}])
    assert load_manifest(manifest.model_dump_json()) == manifest


def test_each_refused_function_is_told_with_each_of_its_faults() -> None:
    told = [
        {"field": "ports[0].port", "message": "8000 is no port", "remedy": "Use another."},
        {"field": "ports[2].name", "message": "is no name", "remedy": "Rename it."},
    ]
    refused = [
        {"function": "multi_port_job", "kind": "job", "faults": told},
        {"function": "ask", "kind": "cord", "faults": told[:1]},
    ]
    found = faults_of(a_manifest(refused=refused))
    assert [(fault.field, fault.code) for fault in found] == [
        ("jobs.multi_port_job.ports[0].port", "function_refused"),
        ("jobs.multi_port_job.ports[2].name", "function_refused"),
        ("cords.ask.ports[0].port", "function_refused"),
    ]
    assert (found[0].message, found[0].remedy) == ("8000 is no port", "Use another.")


def test_a_schedule_that_can_fire_is_taken() -> None:
    optional = a_parameter("limit", required=False)
    rest = a_parameter("rest", "var_keyword")
    job = a_job("nightly", schedule="0 3 * * *", parameters=[a_parameter("output_dir"), optional, rest])
    assert good(job).jobs[0].schedule == "0 3 * * *"


def test_a_schedule_is_refused_with_each_fault_at_the_functions_own_name() -> None:
    job = a_job(
        "nightly", schedule="61 25 * * *", parameters=[a_parameter("table"), a_parameter("output_dir")]
    )
    found = [(fault.field, fault.code) for fault in faults_of(a_manifest(job))]
    assert found == [
        ("jobs.nightly.schedule", "cron_invalid"),
        ("jobs.nightly.schedule", "cron_invalid"),
        ("jobs.nightly.schedule", "schedule_without_payload"),
    ]
    assert "table" in faults_of(a_manifest(job))[2].message


def test_two_jobs_of_one_name_are_refused() -> None:
    assert fields_of(a_manifest(a_job("a"), a_job("a"))) == {"jobs.a.name"}


@pytest.mark.parametrize("name", ["", "-a", ".", "a/b", "a b", "x" * 129, "a\n", "ü"])
def test_a_name_that_can_stand_in_no_path_is_refused(name: str) -> None:
    assert len(faults_of(a_manifest(a_job(name)))) == 1
    assert fields_of(a_manifest(chute={"name": name})) == {"chute.name"}


def test_a_file_without_a_function_is_refused() -> None:
    assert fields_of(a_manifest(jobs=[])) == {"jobs"}


def test_faults_of_several_functions_come_in_one_answer() -> None:
    manifest = a_manifest(a_job("-"), a_job("nightly", schedule="@reboot"), chute={"name": "no name"})
    assert fields_of(manifest) == {"chute.name", "jobs.-.name", "jobs.nightly.schedule"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"manifest": 1}',
        b"9" * 10_000,
        b'{"a": ' * 40 + b"1" + b"}" * 40,
        b'{"a": ' + b"[" + b"1," * 30_000 + b"1]}",
        b" " * (MAX_MANIFEST_BYTES + 1),
    ],
)
def test_what_is_no_manifest_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(DeployRefusedError) as refused:
        read_manifest(data)
    assert {fault.code for fault in refused.value.faults} == {"manifest_invalid"}


@pytest.mark.parametrize(
    "changes",
    [
        {"ports": [{"name": "web", "port": "8080", "proto": "http"}]},
        {"ports": [{"name": "web", "port": True, "proto": "http"}]},
        {"ports": "8080"},
        {"timeout": "60"},
        {"timeout": 1.5},
        {"upload": "yes"},
        {"name": None},
        {"parameters": [{"name": "x", "kind": "odd", "required": True}]},
    ],
)
def test_a_value_of_a_wrong_type_is_named(changes: dict[str, Any]) -> None:
    (fault,) = faults_of(a_manifest(a_job(**{"name": "a", "function": "a", **changes})))
    assert fault.code == "manifest_invalid"
    assert fault.field.startswith("jobs.0.")


def test_half_a_character_is_replaced_and_in_a_name_refused() -> None:
    kept, faults = read_manifest(encoded(a_manifest(a_job("a", doc="odd \ud800"))))
    assert faults == []
    assert kept.model_dump_json().encode("utf-8")
    assert faults_of(a_manifest(a_job("a\ud800")))


def test_a_later_sdk_may_tell_more() -> None:
    assert faults_of({**a_manifest(a_job("a", later=1)), "more": {}}) == []


def test_another_kind_of_manifest_is_refused() -> None:
    assert fields_of({**a_manifest(), "manifest": 2}) == {"manifest"}


def test_words_out_of_a_container_are_cut_and_hold_no_line_end() -> None:
    told = [{"field": "x\x1b[2J", "message": "a\nb" * 5_000, "remedy": ""}]
    (fault,) = faults_of(a_manifest(refused=[{"function": "f", "kind": "job", "faults": told}]))
    assert len(fault.message) <= 1_000
    assert fault.message.isprintable()
    assert fault.field.isprintable()
    assert fault.remedy


@settings(deadline=None)
@given(JSON)
def test_any_json_at_all_is_a_manifest_or_refused(body: object) -> None:
    try:
        data = json.dumps(body).encode()
    except ValueError:
        return
    try:
        _, faults = read_manifest(data)
    except DeployRefusedError as refused:
        faults = list(refused.faults)
    assert faults


@settings(deadline=None)
@given(data=st.data())
def test_a_manifest_with_any_value_in_any_place_is_taken_or_refused(data: st.DataObject) -> None:
    manifest = a_manifest(a_job("a", parameters=[a_parameter("x")]))
    place = data.draw(st.sampled_from(["top", "chute", "job"]))
    holder = {"top": manifest, "chute": manifest["chute"], "job": manifest["jobs"][0]}[place]
    holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(JSON)
    try:
        _, faults = read_manifest(encoded(manifest))
    except DeployRefusedError as refused:
        faults = list(refused.faults)
    assert all(fault.field and fault.remedy and fault.message.isprintable() for fault in faults)


def test_a_field_is_written_as_in_the_file() -> None:
    assert field_of("serve", "ports.0.port") == "jobs.serve.ports[0].port"
    assert field_of("serve", "timeout") == "jobs.serve.timeout"


@pytest.mark.parametrize(
    ("parameters", "written"),
    [
        ([], "f()"),
        ([a_parameter("a"), a_parameter("b", required=False)], "f(a, b=…)"),
        ([a_parameter("a"), a_parameter("b", "keyword_only", required=False)], "f(a, *, b=…)"),
        ([a_parameter("rest", "var_keyword", required=False)], "f(**rest)"),
        ([a_parameter("all", "var_positional"), a_parameter("b", "keyword_only")], "f(*all, b)"),
    ],
)
def test_a_signature_reads_as_in_the_file(parameters: list[dict[str, Any]], written: str) -> None:
    job = good(a_job("f", parameters=parameters)).jobs[0]
    assert signature_of("f", job.parameters) == written
