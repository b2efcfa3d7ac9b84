"""The config as the values of the rooms: what two keys say together."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from agent.api.proxy.pages import PageDomain
from agent.config import Config
from agent.core.bridge import HostIpv6, subnet6_of
from agent.core.outgoing import OutgoingRules
from agent.core.policy import InjectionWish
from agent.daemon.values import output_limits_of, page_domain_of, policy_of, subnet6_for


def config(**sections: object) -> Config:
    return Config.model_validate(sections)


@pytest.mark.parametrize(("ports", "least"), [("20000-20002", 3), ("20000-29999", 64)])
def test_a_job_may_have_no_more_ports_than_the_whole_range_holds(ports: str, least: int) -> None:
    policy = policy_of(config(ports={"range": ports}), "agent", (), 1024, {})
    assert policy.limits.job_ports == least


def test_jobs_ask_the_hosts_name_servers_where_the_config_names_none() -> None:
    hosts = ("192.0.2.7",)
    assert policy_of(config(), "agent", hosts, 1024, {}).dns == hosts
    assert policy_of(config(network={"dns": ["192.0.2.1"]}), "agent", hosts, 1024, {}).dns == ("192.0.2.1",)


def test_a_listing_ends_at_a_cap_that_an_operator_did_not_have_to_set() -> None:
    assert output_limits_of(config()).files == 50_000
    assert output_limits_of(config(outputs={"max_files": 200_000})).files == 200_000


@pytest.mark.parametrize(("pin", "pinned"), [(True, {0: "0-7"}), (False, {})])
def test_jobs_are_pinned_to_the_cpus_of_a_node_only_where_the_operator_wants_it(
    pin: bool,  # noqa: FBT001 - a table
    pinned: dict[int, str],
) -> None:
    gpus = {"pin_numa": pin, "injection": "nvidia"}
    policy = policy_of(config(gpus=gpus), "agent", (), 1024, {0: "0-7"})
    assert (policy.node_cpus, policy.injection) == (pinned, InjectionWish.NVIDIA)


def test_a_users_urls_lead_where_the_config_says_and_nowhere_else_by_default() -> None:
    assert policy_of(config(), "agent", (), 1024, {}).outgoing == OutgoingRules()
    uploads = {"allow_http": True, "allow_hosts": ("CI.internal", "10.0.0.0/8", "192.0.2.1")}
    rules = policy_of(config(uploads=uploads), "agent", (), 1024, {}).outgoing
    assert (rules.allow_http, rules.hosts) == (True, {"ci.internal"})
    assert rules.networks == (ip_network("10.0.0.0/8"), ip_network("192.0.2.1"))


def test_the_bridge_gets_ipv6_where_the_host_has_it_and_loses_nothing_by_it() -> None:
    well = HostIpv6(is_on=True, forwards=False, learners=())
    assert subnet6_for(config(), "agent", well) == subnet6_of("agent", "gpuagent0")
    assert subnet6_for(config(), "agent", replace(well, learners=("eth0",))) is None


TLS = {"tls_cert": "/c.pem", "tls_key": "/c.key"}


@pytest.mark.parametrize(
    ("api", "proxy", "domain"),
    [
        ({}, {}, None),
        ({}, {"domain": "jobs.localhost"}, PageDomain("jobs.localhost", "http", 8470)),
        ({"listen": "0.0.0.0:443", **TLS}, {"domain": "a.org"}, PageDomain("a.org", "https", 443)),
        (
            {},
            {"domain": "a.org", "external_scheme": "https", "external_port": 443},
            PageDomain("a.org", "https", 443),
        ),
    ],
)
def test_pages_are_reached_as_the_api_is_where_the_operator_says_nothing_else(
    api: dict[str, object], proxy: dict[str, object], domain: PageDomain | None
) -> None:
    assert page_domain_of(config(api=api, proxy=proxy)) == domain


def test_the_usual_port_is_not_written_into_urls() -> None:
    assert PageDomain("a.org", "https", 443).authority("x.a.org") == "x.a.org"
    assert PageDomain("a.org", "http", 443).authority("x.a.org") == "x.a.org:443"
