"""URLs of a spec: one strict form; what some reader might take for another host is refused, and no refusal repeats the URL."""

from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from agent.spec import hide_query, read_host, read_url

READ = [
    ("https://a.example", "https://a.example:443/"),
    ("HTTPS://A.Example/P?q=1", "https://a.example:443/P?q=1"),
    ("http://a:8080/x/../y", "http://a:8080/x/../y"),
    ("https://a/?", "https://a:443/"),
    ("https://a?q=/x", "https://a:443/?q=/x"),
    ("https://1.2.3.4/", "https://1.2.3.4:443/"),
    ("https://[2001:DB8::0:1]:1/", "https://[2001:db8::1]:1/"),
    # How Python writes such a one changed with 3.13.
    ("https://[::ffff:1.2.3.4]/", f"https://[{IPv6Address('::ffff:1.2.3.4')}]:443/"),
    ("https://xn--bcher-kva.example/%C3%BC", "https://xn--bcher-kva.example:443/%C3%BC"),
    ("https://under_score.example/", "https://under_score.example:443/"),
    ("https://7up.example/", "https://7up.example:443/"),
    ("https://a/b:c@d", "https://a:443/b:c@d"),
]  # fmt: skip

REFUSED = [
    "", "a", "//a/", "https:a", "https:/a", "ftp://a/", "file:///etc/passwd", "gopher://a", "javascript:1", " https://a",
    "https://", "https:///x", "https://?x", "https://:443/", "https://a:/", "https://a:0/", "https://a:65536/", "https://a:x/",
    "https://a:1:2/", "https://a:-1/",
    # who is the host?
    "https://u@a/", "https://u:p@a/", "https://@a/", "https://a@b@c/", "https://a\\@b/", "https://a\\b", "https://a#@b/",
    "https://a/#f", "https://a%2eb/", "https://a%00b/", "https://a/ b", "https://a\t/", "https://a\n/", "https://a\r\nHost: b/",
    "https://a/\x00", "https://\uff41/", "https://bücher.example/", "https://127。0。0。1/", "https://a/%zz", 'https://a/"',
    # names that are none
    "https://a./", "https://a../", "https://.a/", "https://a..b/", "https://-a/", "https://a-/", "https://a,b/",
    f"https://{'a' * 64}/", f"https://{'a.' * 130}b/", "https://*.a/",
    # addresses in disguise
    "https://2130706433/", "https://0x7f000001/", "https://017700000001/", "https://127.1/", "https://127.0.1/",
    "https://0177.0.0.1/", "https://0x7f.0.0.1/", "https://127.0.0.0x1/", "https://127.0.0.01/", "https://1.2.3.4.5/",
    "https://1.2.3.4./", "https://256.1.1.1/", "https://a.1/", "https://a.0x/", "https://1.2.3/",
    "https://::1/", "https://[::1/", "https://[]/", "https://[a]/", "https://[fe80::1%eth0]/", "https://[fe80::1%25eth0]/",
    "https://[::1]x/", "https://[v1.a]/", "https://[1.2.3.4]/",
    "https://a/" + "x" * 2_040,
]  # fmt: skip


@pytest.mark.parametrize(("text", "whole"), READ)
def test_a_url_is_taken_apart_and_written_in_one_way(text: str, whole: str) -> None:
    assert read_url(text).text == whole
    assert read_url(whole) == read_url(text)


@pytest.mark.parametrize("text", REFUSED)
def test_what_another_reader_could_take_for_another_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(has|holds|is) ") as refused:
        read_url(text)
    assert len(text) <= len("https://") or text.removeprefix("https://")[:40] not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://u:p@a/", "user name"),
        ("https://a/#f", "fragment"),
        ("https://127.1/", "four decimal numbers"),
        ("https://[fe80::1%25eth0]/", "zone"),
        ("https://b\u00fccher.example/", "xn--"),
        ("https://a:0/", "port"),
    ],
)
def test_a_refusal_says_what_is_in_the_way(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_url(text)


@given(st.integers(0, 2**32 - 1), st.data())
def test_no_way_to_write_an_address_but_the_plain_one_is_read(number: int, data: st.DataObject) -> None:
    parts = IPv4Address(number).packed
    written = [
        data.draw(st.sampled_from([str(part), oct(part).replace("0o", "0"), hex(part)])) for part in parts
    ]
    forms = [str(number), hex(number), oct(number).replace("0o", "0"), ".".join(written), ".".join([*map(str, parts[:2]), str(parts[2] << 8 | parts[3])])]  # fmt: skip
    host = data.draw(st.sampled_from(forms))
    if host == str(IPv4Address(number)):
        assert read_url(f"https://{host}/").host == host
    else:
        with pytest.raises(ValueError, match="has an address as a number"):
            read_url(f"https://{host}/")


SIGNS = st.text(st.sampled_from("aA1.-_:/@?#[]%20\\ \té"), max_size=24)


@given(st.builds("{}{}".format, st.sampled_from(["https://", "http://", ""]), SIGNS))
@example("https://host?")
def test_what_is_read_is_read_alike_by_the_libraries_that_send_it(text: str) -> None:
    try:
        read = read_url(text)
    except ValueError:
        return
    sent = URL(read.text, encoded=True)
    assert (sent.scheme, sent.host, sent.port) == (read.scheme, read.host, read.port)
    split = urlsplit(read.text)
    assert (split.hostname, split.port, split.username) == (read.host, read.port, None)
    assert str(sent.path_qs) == read.text.removeprefix(read.origin)


@pytest.mark.parametrize(
    ("text", "host"), [("A.b", "a.b"), ("::0001", "::1"), ("1.2.3.4", "1.2.3.4"), ("localhost", "localhost")]
)
def test_a_host_alone_is_written_in_the_same_way(text: str, host: str) -> None:
    assert read_host(text) == host


@pytest.mark.parametrize("text", ["", "*", "a/b", "1.2.3", "a:1", "::1%lo", "a b"])
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^has "):
        read_host(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("https://a/b?c=d?e", "https://a/b?***"), ("https://a/b", "https://a/b"), ("?", "?***"), ("", "")],
)
def test_of_a_query_nothing_is_shown(text: str, shown: str) -> None:
    assert hide_query(text) == shown
