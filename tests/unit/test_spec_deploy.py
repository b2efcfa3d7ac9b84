"""What a deploy asks for: read with every fault at once, kept with its secrets in one text, shown without them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.spec import DeployRefusedError, Fault, dump_deploy, load_deploy, masked_defaults, read_deploy
from agent.spec.deploy import NOT_OF_SPEC

IMAGE = {"image": "python:3.12"}
SECRET_SPEC = {
    "secrets": {"TOKEN": "hush"},
    "registry": {"username": "me", "password": "hush"},
    "outputs": {"upload": {"to": "put", "url": "https://example.org/{path}?sig=hush"}},
    "memory": "2GiB",
}


def faults_of(body: object) -> list[Fault]:
    with pytest.raises(DeployRefusedError) as refused:
        read_deploy(body)
    return list(refused.value.faults)


def test_an_image_alone_is_a_deploy_of_main_py() -> None:
    deploy = read_deploy(IMAGE)
    assert (deploy.image, deploy.entry.text, deploy.spec) == ("python:3.12", "main.py:chute", {})


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("app.py", "app.py:chute"),
        ("./pkg/app.py:mine", "pkg/app.py:mine"),
        ("app.py:c", "app.py:c"),
        (None, "main.py:chute"),
    ],
)
def test_an_entry_names_a_file_and_an_attribute(entry: object, text: str) -> None:
    assert read_deploy({**IMAGE, "entry": entry}).entry.text == text


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "app",
        "/app.py",
        "../app.py",
        "a/../b.py",
        "app.py:",
        "app.py:a.b",
        "app.py:1",
        "a\n.py",
        3,
        "a//b.py",
    ],
)
def test_an_entry_that_leads_nowhere_is_refused(entry: object) -> None:
    assert {fault.field for fault in faults_of({**IMAGE, "entry": entry})} == {"entry"}


def test_all_faults_come_at_once_and_the_specs_own_at_their_place() -> None:
    body = {
        "image": "Bad Image",
        "entry": "app",
        "spec": {"timeout": 60, "retry": {}, "memory": "lots", "nmae": "x"},
        "cords_gpus": "lots",
        "more": 1,
    }
    assert {fault.field for fault in faults_of(body)} == {
        "image",
        "entry",
        "spec.timeout",
        "spec.retry",
        "spec.memory",
        "spec.nmae",
        "cords_gpus",
        "more",
    }


@pytest.mark.parametrize("name", NOT_OF_SPEC)
def test_what_is_the_decorators_is_refused_with_the_way_to_say_it(name: str) -> None:
    (fault,) = faults_of({**IMAGE, "spec": {name: None}})
    assert (fault.field, fault.code) == (f"spec.{name}", "not_of_spec")
    assert "@chute.job" in fault.remedy or "agent runs" in fault.remedy


@pytest.mark.parametrize(
    "body", [None, [], "x", 1, {}, {"image": None}, {"image": ["a"]}, {"image": "a", "spec": []}]
)
def test_what_is_no_deploy_is_refused(body: object) -> None:
    assert faults_of(body)


@pytest.mark.parametrize("nothing", [None, 0, False])
def test_cords_without_gpus_are_nothing_to_refuse(nothing: object) -> None:
    assert read_deploy({**IMAGE, "cords_gpus": nothing})


@pytest.mark.parametrize("gpus", [1, {"count": 2, "models": ["*H100*"]}])
def test_cords_may_ask_for_gpus_as_a_spec_does_and_it_is_kept(gpus: object) -> None:
    deploy = read_deploy({**IMAGE, "cords_gpus": gpus})
    assert deploy.cords_gpus == gpus
    assert load_deploy(dump_deploy(deploy)) == deploy
    assert dump_deploy(deploy) != dump_deploy(read_deploy(IMAGE))


@pytest.mark.parametrize(
    ("gpus", "field"),
    [
        (-1, "cords_gpus.count"),
        ([], "cords_gpus"),
        ({"count": 1, "model": "x"}, "cords_gpus.model"),
        (True, "cords_gpus"),
    ],
)
def test_gpus_of_cords_that_no_spec_may_ask_for_are_refused_by_name(gpus: object, field: str) -> None:
    assert [fault.field for fault in faults_of({**IMAGE, "cords_gpus": gpus})] == [field]


def test_what_is_kept_is_read_again_with_its_secrets() -> None:
    deploy = read_deploy({**IMAGE, "entry": "a.py", "spec": SECRET_SPEC})
    assert load_deploy(dump_deploy(deploy)) == deploy


def test_the_same_deploy_is_the_same_text_in_whatever_order_it_came() -> None:
    one = read_deploy({**IMAGE, "spec": {"memory": "1GiB", "cpus": 1}})
    other = read_deploy({"spec": {"cpus": 1, "memory": "1GiB"}, **IMAGE, "entry": "main.py:chute"})
    assert dump_deploy(one) == dump_deploy(other)


def test_no_secret_is_shown_nor_printed() -> None:
    deploy = read_deploy({**IMAGE, "spec": SECRET_SPEC})
    assert "hush" not in json.dumps(masked_defaults(deploy))
    assert "hush" not in repr(deploy)
    assert set(masked_defaults(deploy)) == set(SECRET_SPEC)


def test_no_fault_repeats_a_secret() -> None:
    spec = {"secrets": {"TOKEN": "hush\0"}, "registry": {"username": "", "password": "hush\n"}}
    assert "hush" not in repr(faults_of({**IMAGE, "spec": spec}))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"image": 1}'])
def test_what_was_not_kept_by_us_is_no_deploy(text: str) -> None:
    with pytest.raises(ValueError, match=r"no deploy|Expecting"):
        load_deploy(text)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["image", "entry", "spec", "cords_gpus", "x"]),
        st.none()
        | st.integers()
        | st.text(max_size=20)
        | st.dictionaries(
            st.sampled_from(["image", "memory", "env", "timeout", "gpus", "ssh"]),
            st.none()
            | st.integers()
            | st.text(max_size=5)
            | st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
        ),
    )
)
def test_any_body_is_read_or_refused_in_words(body: dict[str, object]) -> None:
    try:
        deploy = read_deploy(body)
    except DeployRefusedError as refused:
        faults = refused.faults
    else:
        faults = ()
        assert load_deploy(dump_deploy(deploy)) == deploy
    assert all(fault.field and fault.remedy for fault in faults)
