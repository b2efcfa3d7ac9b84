"""Where outputs are sent: every fault by its field, nothing secret in any of them, and what is hidden where a spec is shown."""

from typing import Any

import pytest

from agent.spec import SpecRefusedError, hide_upload, parse_spec

PUT = {"to": "put", "url": "https://a/{path}"}
TUS = {"to": "tus", "url": "https://a/t"}
CHUTES = {"to": "chutes", "status_url": "https://a/s"}


def body(upload: Any, **outputs: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"image": "alpine", "outputs": {"upload": upload, **outputs}}


BROKEN: list[tuple[Any, set[tuple[str, str]]]] = [
    (body("put"), {("outputs.upload", "wrong_type")}),
    (body({"to": "ftp"}), {("outputs.upload.to", "not_one_of")}),
    (body({"to": []}), {("outputs.upload.to", "not_one_of")}),
    (body({"to": {}}), {("outputs.upload.to", "not_one_of")}),
    (body({"to": "put"}), {("outputs.upload.url", "missing_field")}),
    (body({"to": "tus"}), {("outputs.upload.url", "missing_field")}),
    (body({"to": "chutes"}), {("outputs.upload.status_url", "missing_field")}),
    (body({"to": "put", "uri": "x"}), {("outputs.upload.uri", "unknown_field"), ("outputs.upload.url", "missing_field")}),
    (body({**PUT, "presign": "https://a/"}), {("outputs.upload.presign", "too_many")}),
    (body({**PUT, "metadata": {"a": "b"}}), {("outputs.upload.metadata", "field_not_of_kind")}),
    (body({**CHUTES, "url": "https://a/"}), {("outputs.upload.url", "field_not_of_kind")}),
    (body({**TUS, "status_url": "https://a/"}), {("outputs.upload.status_url", "field_not_of_kind")}),
    (body({"to": "local", "headers": {"A": "b"}}), {("outputs.upload.headers", "field_not_of_kind")}),
    (body({"url": "https://a/{path}"}), {("outputs.upload.url", "field_not_of_kind")}),
    (body({"to": "put", "url": ""}), {("outputs.upload.url", "empty_text")}),
    (body({"to": "put", "url": 7}), {("outputs.upload.url", "wrong_type")}),
    (body({"to": "put", "url": "https://a/file"}), {("outputs.upload.url", "url_invalid")}),
    (body({"to": "put", "url": "https://a/{name}/{path}"}), {("outputs.upload.url", "url_invalid")}),
    (body({"to": "put", "url": "https://{path}/x"}), {("outputs.upload.url", "url_invalid")}),
    (body({"to": "put", "url": "https://{job}.example.org/{path}"}), {("outputs.upload.url", "url_invalid")}),
    (body({"to": "put", "url": "https://a:{attempt}/{path}"}), {("outputs.upload.url", "url_invalid")}),
    (body({"to": "put", "url": "{path}://a/{path}"}), {("outputs.upload.url", "url_invalid")}),
    (body({"to": "put", "url": "https://a/{path"}), {("outputs.upload.url", "url_invalid")}),
    (body({"to": "put", "url": "https://me:pw@a/{path}"}), {("outputs.upload.url", "url_invalid")}),
    (body({"to": "put", "presign": "https://a/{path}"}), {("outputs.upload.presign", "url_invalid")}),
    (body({"to": "tus", "url": "ftp://a/"}), {("outputs.upload.url", "url_invalid")}),
    (body({"to": "tus", "url": "https://a/" + "x" * 2_048}), {("outputs.upload.url", "too_long"), ("outputs.upload.url", "url_invalid")}),
    (body({**PUT, "headers": {"Host": "b"}}), {("outputs.upload.headers.Host", "header_reserved")}),
    (body({**PUT, "headers": {"content-LENGTH": "1"}}), {("outputs.upload.headers.content-LENGTH", "header_reserved")}),
    (body({**PUT, "headers": {"Transfer-Encoding": "chunked"}}), {("outputs.upload.headers.Transfer-Encoding", "header_reserved")}),
    (body({**PUT, "headers": {"A": "b\r\nHost: c"}}), {("outputs.upload.headers.A", "header_value_invalid")}),
    (body({**PUT, "headers": {"A": ""}}), {("outputs.upload.headers.A", "header_value_invalid")}),
    (body({**PUT, "headers": {"A b": "c"}}), {("outputs.upload.headers.A b", "header_name_invalid")}),
    (body({**PUT, "headers": {"A": "b", "a": "c"}}), {("outputs.upload.headers.a", "header_twice")}),
    (body({**PUT, "headers": {"A": "b" * 4_097}}), {("outputs.upload.headers.A", "too_long")}),
    (body({**PUT, "headers": {f"A{n}": "b" for n in range(33)}}), {("outputs.upload.headers", "too_many")}),
    (body({**PUT, "headers": {"A": 1}}), {("outputs.upload.headers.A", "wrong_type")}),
    (body({**TUS, "metadata": {"a b": "c"}}), {("outputs.upload.metadata.a b", "metadata_key_invalid")}),
    (body({**TUS, "metadata": {"filename": "c"}}), {("outputs.upload.metadata.filename", "metadata_reserved")}),
    (body({**TUS, "metadata": {"a": "c\n"}}), {("outputs.upload.metadata.a", "unprintable")}),
    (body({**TUS, "metadata": {"a": "c" * 1_025}}), {("outputs.upload.metadata.a", "too_long")}),
    (body({**TUS, "metadata": {f"a{n}": "" for n in range(33)}}), {("outputs.upload.metadata", "too_many")}),
    (body(PUT, deadline=59), {("outputs.deadline", "out_of_range")}),
    (body(PUT, deadline=604_801), {("outputs.deadline", "out_of_range")}),
    (body(PUT, on="sometimes"), {("outputs.on", "not_one_of")}),
    (body({}, on="success"), {("outputs.on", "nothing_is_sent")}),
    (body(PUT, quiet=0, live=True), {("outputs.quiet", "out_of_range")}),
    (body(PUT, quiet=6), {("outputs.quiet", "nothing_is_live")}),
    (body(PUT, live=True, on="success"), {("outputs.live", "live_not_possible")}),
    (body(CHUTES, live=True), {("outputs.live", "live_not_possible")}),
    (body({}, logs=True), {("outputs.logs", "nothing_is_sent")}),
    (body({"to": "local"}, deadline=60), {("outputs.deadline", "nothing_is_sent")}),
]  # fmt: skip

TAKEN = [
    body(PUT),
    body({"to": "put", "url": "http://[2001:db8::1]:8080/a/{job}/{attempt}?name={path}&k=v"}, on="failure", deadline=60),
    body({"to": "put", "presign": "https://a/presign?key=b", "headers": {"Authorization": "Bearer x y"}}),
    body({**CHUTES, "headers": {}, "metadata": {}, "url": None}, logs=True),
    body({**TUS, "metadata": {"bucket": "über"}}, on="success"),
    body(PUT, live=True, quiet=1, include=["*.pt"]),
    body({"to": "local", "url": None, "headers": {}}, on="always", logs=False, deadline=86_400),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), BROKEN)
def test_what_is_wrong_with_an_upload_is_named_and_nothing_else_is(
    written: dict[str, Any], expected: set[tuple[str, str]]
) -> None:
    with pytest.raises(SpecRefusedError) as refused:
        parse_spec(written)
    assert {(fault.field, fault.code) for fault in refused.value.faults} == expected


@pytest.mark.parametrize("written", TAKEN)
def test_a_sound_upload_is_taken(written: dict[str, Any]) -> None:
    spec = parse_spec(written)
    assert spec.outputs.upload.to == written["outputs"]["upload"].get("to", "local")


def test_no_fault_repeats_what_may_be_a_secret() -> None:
    secret = "hush-hush"
    urls = [f"https://a/x?key={secret}", f"https://{secret}@a/{{path}}", f"ftp://{secret}/{{path}}"]
    for url in urls:
        with pytest.raises(SpecRefusedError) as refused:
            parse_spec(body({"to": "put", "url": url, "headers": {"A": secret + "\n"}}))
        assert secret not in str(refused.value)
        assert all(secret not in fault.message + fault.remedy for fault in refused.value.faults)


def test_what_opens_an_endpoint_is_hidden_and_what_names_it_is_shown() -> None:
    upload = parse_spec(
        body({"to": "tus", "url": "https://a/t?key=hush", "headers": {"Authorization": "hush"}})
    ).outputs.upload
    hidden = hide_upload(upload)
    assert (hidden.url, hidden.headers) == ("https://a/t?***", {"Authorization": "***"})
    assert hidden.has_secrets
    assert "hush" not in repr(upload)
    open_one = parse_spec(body(PUT)).outputs.upload
    assert not open_one.has_secrets
    assert hide_upload(open_one) == open_one
