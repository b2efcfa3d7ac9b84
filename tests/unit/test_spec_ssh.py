"""Who may log in, as users write it: one whole key a line, and nothing that a server could take for more than that."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.spec import (
    Keys,
    SpecRefusedError,
    dump_spec,
    load_spec,
    masked,
    parse_spec,
    read_public_key,
    spec_schema,
)
from agent.spec.limits import MAX_SSH_KEYS
from agent.spec.ports import Port, Proto

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP7+aZqH/ePfClKHMEubgirDYJK5hZFzvbEw4ml+OrDX"


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data


def line(kind: str, *fields: bytes, comment: str = "") -> str:
    blob = b"".join(map(string, (kind.encode(), *fields)))
    return f"{kind} {base64.b64encode(blob).decode()} {comment}".rstrip()


def rsa(bits: int, exponent: int = 65537) -> str:
    modulus = (1 << bits - 1) | 1
    return line("ssh-rsa", exponent.to_bytes(3), b"\0" * (bits % 8 == 0) + modulus.to_bytes((bits + 7) // 8))


def ecdsa(size: int, points: int, kind: str = "ecdsa-sha2-nistp") -> str:
    return line(f"{kind}{size}", f"nistp{size}".encode(), b"\x04" + bytes(points - 1))


GOOD = [
    ED25519,
    f"{ED25519} me@laptop",
    f"  {ED25519}   two  words ",
    rsa(2048),
    rsa(4096),
    rsa(3071),
    ecdsa(256, 65),
    ecdsa(384, 97),
    ecdsa(521, 133),
    line("sk-ssh-ed25519@openssh.com", bytes(32), b"ssh:"),
    line("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", b"\x04" + bytes(64), b"ssh:"),
]

BAD = {
    "": "empty or a comment",
    "# mine": "empty or a comment",
    f'command="/bin/sh" {ED25519}': "options",
    f"no-pty {ED25519}": "options",
    f"restrict,{ED25519}": "does not begin with a type",
    "ssh-dss AAAA": "DSA",
    "ssh-ed25519": "no base64",
    "ssh-ed25519 !!!!": "no base64",
    "ssh-ed25519 AAAA=": "no base64",
    f"ssh-rsa {ED25519.split()[1]}": "no key of its type",
    f"{ED25519}\n{ED25519}": "line end",
    f"{ED25519}\r": "line end",
    f"{ED25519} a\x00b": "line end",
    f"{ED25519} \u202emoc": "line end",
    f"{ED25519} naïve": "not ASCII",
    f"{ED25519} {'x' * 257}": "not ASCII of at most",
    f"{ED25519} {'x' * 4000}": "more than 2560 characters",
    "-----BEGIN OPENSSH PRIVATE KEY-----": "private key",
    "-----BEGIN PUBLIC KEY-----": "no line of a .pub file",
    line("ssh-ed25519", bytes(31)): "no key of its type",
    line("ssh-ed25519", bytes(32), b"more"): "no key of its type",
    line("ecdsa-sha2-nistp256", b"nistp384", b"\x04" + bytes(64)): "no key of its type",
    line("ecdsa-sha2-nistp256", b"nistp256", b"\x02" + bytes(32)): "no key of its type",
    line("sk-ssh-ed25519@openssh.com", bytes(32), b""): "application",
    line("ssh-rsa", b"\x01\x00\x01", b"\x80" + bytes(255)): "no key of its type",  # a negative number
    rsa(1024): "1024 bits",
    rsa(8200): "8200 bits",
    rsa(2048, exponent=1): "no RSA key",
    rsa(2048, exponent=2): "no RSA key",
}


@pytest.mark.parametrize("text", GOOD)
def test_a_key_of_each_type_is_read(text: str) -> None:
    key = read_public_key(text)
    assert key.line.split()[:2] == text.split()[:2]
    assert read_public_key(key.line) == key


@pytest.mark.parametrize(("text", "told"), BAD.items())
def test_what_is_no_key_is_refused_with_its_reason_and_not_with_its_text(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        read_public_key(text)
    for word in text.split()[1:]:
        assert len(word) < 20 or word not in str(refused.value)


def test_a_fingerprint_is_the_one_that_ssh_keygen_shows() -> None:
    assert read_public_key(ED25519).fingerprint == "SHA256:kArAWoi4cE422VZQVqqvy1mqqAaNC9UghOPxZ2Wp0bc"


@given(st.text(max_size=60), st.sampled_from([ED25519, rsa(2048), ecdsa(256, 65)]), st.text(max_size=60))
def test_whatever_stands_around_a_key_what_passes_is_one_line_that_begins_with_its_type(
    before: str, key: str, after: str
) -> None:
    try:
        read = read_public_key(before + key + after)
    except ValueError:
        return
    assert read.line.split()[:2] == key.split()[:2]
    assert read.line.isprintable()
    assert "\n" not in read.line


@given(
    st.sampled_from([ED25519, rsa(2048), ecdsa(256, 65), GOOD[-1]]),
    st.integers(0, 200),
    st.binary(max_size=3),
)
def test_a_key_with_a_piece_cut_out_or_put_in_is_never_taken_for_a_whole_one(
    text: str, at: int, piece: bytes
) -> None:
    kind, encoded = text.split()[:2]
    blob = base64.b64decode(encoded)
    at %= len(blob)
    for other in (blob[:at], blob[:at] + piece + b"x" + blob[at:]):
        with pytest.raises(ValueError, match=r"no key|no base64|application|bits"):
            read_public_key(f"{kind} {base64.b64encode(other).decode()}")


def find_faults(**fields: object) -> set[tuple[str, str]]:
    try:
        parse_spec({"image": "x", **fields})
    except SpecRefusedError as refused:
        return {(fault.field, fault.code) for fault in refused.faults}
    return set()


def test_every_key_that_is_none_is_named_at_once() -> None:
    keys = [ED25519, "nonsense", 7, f"{ED25519} again", f"no-pty {ED25519}"]
    assert find_faults(ssh={"authorized_keys": keys}) == {
        ("ssh.authorized_keys.1", "ssh_key_invalid"),
        ("ssh.authorized_keys.2", "wrong_type"),
        ("ssh.authorized_keys.3", "ssh_key_duplicate"),
        ("ssh.authorized_keys.4", "ssh_key_invalid"),
    }


def many(count: int) -> list[str]:
    return [line("ssh-ed25519", number.to_bytes(32)) for number in range(count)]


def test_64_keys_are_taken_and_65_are_not() -> None:
    assert find_faults(ssh={"authorized_keys": many(MAX_SSH_KEYS)}) == set()
    assert find_faults(ssh={"authorized_keys": many(MAX_SSH_KEYS + 1)}) == {
        ("ssh.authorized_keys", "too_many")
    }


def test_a_key_of_a_megabyte_is_refused_by_its_size() -> None:
    assert find_faults(ssh={"authorized_keys": [ED25519 + "A" * 1_000_000]}) == {
        ("ssh.authorized_keys.0", "ssh_key_invalid")
    }


def test_ssh_needs_a_network_and_its_name_for_a_port() -> None:
    ssh = {"authorized_keys": [ED25519]}
    assert find_faults(ssh=ssh, network="none") == {("ssh", "ssh_without_network")}
    port = {"name": "ssh", "port": 9000, "proto": "tcp"}
    assert find_faults(ssh=ssh, ports=[port]) == {("ports.0.name", "port_name_duplicate")}
    assert find_faults(ports=[port]) == set()


def test_ssh_adds_its_port_unless_the_job_names_it() -> None:
    ssh = {"authorized_keys": [ED25519]}
    own = Port(name="ssh", port=2202, proto=Proto.TCP)
    web = {"name": "web", "port": 8080, "proto": "http"}
    assert parse_spec({"image": "x"}).published == ()
    assert parse_spec({"image": "x", "ssh": ssh, "ports": [web]}).published[1:] == (own,)
    named = parse_spec({"image": "x", "ssh": ssh, "ports": [{"name": "shell", "port": 2202, "proto": "tcp"}]})
    assert named.published == (Port(name="shell", port=2202, proto=Proto.TCP),)
    assert parse_spec({"image": "x", "ports": [{"name": "shell", "port": 2202, "proto": "tcp"}]}).ssh is None


@pytest.mark.parametrize("fields", [{}, {"ssh": False}, {"ssh": None}])
def test_no_ssh_is_false_wherever_it_is_shown_and_read(fields: dict[str, Any]) -> None:
    spec = parse_spec({"image": "x", **fields})
    assert spec.ssh is None
    assert masked(spec)["ssh"] is False
    assert load_spec(dump_spec(spec)) == spec


def test_keys_are_no_secret_and_come_back_as_they_were_sent() -> None:
    ssh = {"authorized_keys": [f"{ED25519} me"]}
    spec = parse_spec({"image": "x", "ssh": ssh})
    assert masked(spec)["ssh"] == ssh
    assert load_spec(dump_spec(spec)) == spec
    assert spec.has_secrets  # the host key


def test_the_schema_says_false_or_keys() -> None:
    schema = spec_schema()["properties"]["ssh"]
    assert schema["anyOf"][0] == {"const": False}
    assert schema["anyOf"][1]["properties"]["authorized_keys"]["maxItems"] == MAX_SSH_KEYS
    assert schema["default"] is False


def test_a_job_of_a_function_may_get_its_first_key_later_and_no_other_job() -> None:
    body = {"image": "busybox", "ssh": {"authorized_keys": []}}
    later = parse_spec(body, Keys.LATER)
    assert later.ssh is not None
    assert later.ssh.authorized_keys == ()
    with pytest.raises(SpecRefusedError) as refused:
        parse_spec(body)
    assert [fault.field for fault in refused.value.faults] == ["ssh.authorized_keys"]
