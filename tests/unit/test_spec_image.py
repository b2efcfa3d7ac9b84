"""Image references, read as the engine reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.spec import parse_reference

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("alpine:V_1-2.x", "docker.io/library/alpine:V_1-2.x"),
        ("user/app", "docker.io/user/app:latest"),
        ("a/b/c/d", "docker.io/a/b/c/d:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/user/app:1", "docker.io/user/app:1"),
        ("docker.io/library/alpine:latest", "docker.io/library/alpine:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("[2001:db8::1]/app", "[2001:db8::1]/app:latest"),
        ("ghcr.io/owner/app:v1", "ghcr.io/owner/app:v1"),
        ("Registry/app", "Registry/app:latest"),
        ("registry.Example.com/app", "registry.Example.com/app:latest"),
        ("host:80/library/app", "host:80/library/app:latest"),
        ("host:5000", "docker.io/library/host:5000"),
        ("localhost", "docker.io/library/localhost:latest"),
        ("example.com", "docker.io/library/example.com:latest"),
        ("a__b/c---d.e_f", "docker.io/a__b/c---d.e_f:latest"),
        (f"alpine@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
        (f"alpine:3@{DIGEST}", f"docker.io/library/alpine@{DIGEST}"),
        (f"host:5000/a@sha512:{HEX}{HEX}", f"host:5000/a@sha512:{HEX}{HEX}"),
        (HEX[:63], f"docker.io/library/{HEX[:63]}:latest"),
        (f"a:{'t' * 128}", f"docker.io/library/a:{'t' * 128}"),
        ("a" * 247, f"docker.io/library/{'a' * 247}:latest"),
    ],
)
def test_a_reference_gets_the_defaults_that_the_engine_gives_it(text: str, canonical: str) -> None:
    assert parse_reference(text).canonical == canonical


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (HEX, "image id"),
        (DIGEST, "image id"),
        ("Alpine", "lower case"),
        ("user/App", "lower case"),
        ("docker.io/App", "lower case"),
        ("alpine:", "tag"),
        ("alpine:-1", "tag"),
        ("alpine:.1", "tag"),
        ("alpine:1:2", "tag"),
        ("alpine:1 ", "tag"),
        ("alpine:1\n", "tag"),
        ("alpine:é", "tag"),
        (f"a:{'t' * 129}", "tag"),
        ("alpine@", "digest"),
        ("alpine@sha256:abc", "digest"),
        (f"alpine@sha256:{HEX.upper()}", "digest"),
        (f"alpine@sha256:{HEX}0", "digest"),
        (f"alpine@md5:{HEX[:32]}", "digest"),
        (f"alpine@{DIGEST}@{DIGEST}", "digest"),
        (f"@{DIGEST}", "repository"),
        (":tag", "repository"),
        (" alpine", "repository"),
        ("alpine\n", "repository"),
        ("a//b", "repository"),
        ("a/", "repository"),
        ("/a", "repository"),
        ("-a", "repository"),
        ("a-", "repository"),
        ("a..b", "repository"),
        ("a___b", "repository"),
        ("a._b", "repository"),
        ("a/../b", "repository"),
        ("https://ghcr.io/a", "registry"),
        ("ghcr.io/", "repository"),
        ("é", "repository"),
        ("host:/app", "registry"),
        ("host:port/app", "registry"),
        ("-host.io/app", "registry"),
        ("ho_st.io/app", "registry"),
        ("a..io/app", "registry"),
        # Docker takes this one as a path without any registry; nobody means that.
        ("a_b.io/app", "registry"),
        ("[::1/app", "registry"),
        ("[fe80::1%eth0]/app", "registry"),
        ("user@host.io/app", "digest"),
        ("a" * 248, "at most 255"),
    ],
)
def test_what_the_engine_would_refuse_is_refused_with_the_part_that_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_reference(text)


def test_the_parts_of_a_reference_can_be_asked_for() -> None:
    reference = parse_reference(f"host:5000/team/app:v1@{DIGEST}")
    assert (reference.registry, reference.path, reference.tag, reference.digest) == (
        "host:5000",
        "team/app",
        "v1",
        DIGEST,
    )
    assert reference.repository == "host:5000/team/app"


def test_a_digest_alone_gets_no_tag_made_up() -> None:
    assert parse_reference(f"alpine@{DIGEST}").tag is None
    assert parse_reference("alpine").digest is None


PART = st.from_regex(r"[a-z0-9]{1,8}([_-][a-z0-9]{1,8}){0,2}", fullmatch=True)
REFERENCES = st.builds(
    lambda host, parts, tag, digest: f"{host}{'/'.join(parts)}{tag}{digest}",
    st.sampled_from(["", "localhost/", "host:5000/", "docker.io/", "index.docker.io/", "[::1]:80/", "A/"]),
    st.lists(PART, min_size=1, max_size=3),
    st.sampled_from(["", ":1", ":latest", ":A_b.c-d"]),
    st.sampled_from(["", f"@{DIGEST}"]),
)


@given(REFERENCES)
def test_the_canonical_form_reads_as_itself(text: str) -> None:
    canonical = parse_reference(text).canonical
    assert parse_reference(canonical).canonical == canonical


@given(st.one_of(st.text(), st.text(alphabet="aA0.:/@-_[]%\n ")))
def test_any_text_is_a_reference_or_a_value_error(text: str) -> None:
    try:
        reference = parse_reference(text)
    except ValueError:
        return
    assert reference.canonical.isascii()
    assert "\n" not in reference.canonical
