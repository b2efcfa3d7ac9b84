"""Host names of jobs' pages: what they name, and what only looks like one."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.proxy_hosts import MAX_NAME_CHARACTERS, Elsewhere, PageHost, is_domain, read_host, write_host

JOB = "0190aaaa-0000-7000-8000-000000000001"
DOMAIN = "jobs.example.org"
names = st.from_regex(r"[a-z]{1,10}[0-9]{0,5}", fullmatch=True)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join).filter(is_domain)


@given(names, st.uuids(), domains, st.sampled_from(["", ":80", ":8470"]))
def test_what_is_written_reads_the_same(port: str, job: uuid.UUID, domain: str, behind: str) -> None:
    page = PageHost(str(job), port)
    host = write_host(page, domain)
    assert host is not None
    assert len(host) <= MAX_NAME_CHARACTERS
    assert read_host(host + behind, domain) == page
    assert read_host(host.upper() + behind, domain) == page
    assert read_host(f"{host}.{behind}", domain) == page


@given(st.text(max_size=120), domains)
def test_a_host_names_a_page_only_where_writing_that_page_gives_the_host(host: str, domain: str) -> None:
    found = read_host(host, domain)
    if isinstance(found, PageHost):
        name = host.lower().partition(":")[0].removesuffix(".")
        assert write_host(found, domain) == name


@pytest.mark.parametrize(
    "host",
    [
        f"web-{JOB}.{DOMAIN}",  # one hyphen
        f"--{JOB}.{DOMAIN}",
        f"web--{JOB}x.{DOMAIN}",
        f"web--{JOB[:-1]}.{DOMAIN}",
        f"web--{JOB.replace('-', '')}.{DOMAIN}",
        f"a.web--{JOB}.{DOMAIN}",
        f"evil.org.{DOMAIN}",
        f"web--{JOB}.{DOMAIN}:x",
        f"web--{JOB}.{DOMAIN}:80:80",
        f"web--{JOB}..{DOMAIN}",
        f"1web--{JOB}.{DOMAIN}",
        f"web--{JOB}@x.{DOMAIN}",
        f"xn--web.{DOMAIN}",
        f"web--{JOB}\n.{DOMAIN}",
    ],
)
def test_a_name_below_the_domain_that_is_no_pages_is_nobodys(host: str) -> None:
    assert read_host(host, DOMAIN) is Elsewhere.NOWHERE


@pytest.mark.parametrize(
    "host",
    ["", DOMAIN, f"{DOMAIN}:8470", "127.0.0.1:8470", f"x{DOMAIN}", f"web--{JOB}.evil.org", f"web--{JOB}.{DOMAIN}.evil.org"],
)  # fmt: skip
def test_a_name_outside_the_domain_is_the_apis(host: str) -> None:
    assert read_host(host, DOMAIN) is Elsewhere.OUTSIDE


def test_a_ports_name_that_does_not_fit_into_a_label_has_no_host() -> None:
    assert write_host(PageHost(JOB, "a" * 25), DOMAIN) is not None
    assert write_host(PageHost(JOB, "a" * 26), DOMAIN) is None


@pytest.mark.parametrize("text", ["localhost", "jobs.localhost", "a.b-c.d0", "x" * 63])
def test_domains(text: str) -> None:
    assert is_domain(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "a.", ".a", "A.b", "a..b", "-a.b", "a-.b", "10.0.0.1", "a.1", "a_b", "a b", "x" * 64, "é.org", "a:80", "https://a", "*.a", ".".join(["a" * 62] * 4)],
)  # fmt: skip
def test_what_is_no_domain(text: str) -> None:
    assert not is_domain(text)
