"""What the rules let through, as the kernel would read them: for every packet that one can think of, and every setting."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as unhurried
from hypothesis import strategies as st

from agent.core.firewall import (
    LINK_LOCAL,
    Address,
    Condition,
    Egress,
    Fact,
    Hook,
    Into,
    NetworkSettings,
    OutOf,
    RuleSet,
    Verdict,
    make_rules,
)
from agent.core.firewall_text import Siblings, write_removal, write_rules
from agent.core.outgoing import CLOSED_V4, Network

DNS = (ip_address("10.0.0.53"), ip_address("fd00::53"))


@dataclass(frozen=True)
class Packet:
    hook: Hook
    to: Address
    facts: frozenset[Fact]


def verdict(rules: RuleSet, packet: Packet) -> Verdict:
    """As nft walks its chains. What no rule of ours speaks of is accepted, as the chains' policy is."""
    chains = {chain.name: chain for chain in rules.chains}

    def walk(name: str) -> Verdict | None:
        for rule in chains[name].rules:
            if all(fits(condition, packet) for condition in rule.conditions):
                found = rule.verdict if isinstance(rule.verdict, Verdict) else walk(rule.verdict)
                if found is not None:
                    return found
        return None

    (base,) = [chain for chain in rules.chains if chain.hook is packet.hook]
    return walk(base.name) or Verdict.ACCEPT


def fits(condition: Condition, packet: Packet) -> bool:
    match condition:
        case Into(networks):
            assert len({network.version for network in networks}) == 1
            return any(packet.to in network for network in networks)
        case OutOf(network):
            return packet.to.version == network.version and packet.to not in network
        case Fact():
            return condition in packet.facts


def settings(
    egress: Egress = Egress.INTERNET,
    allow: Iterable[Network] = (),
    deny: Iterable[Network] = (),
    dns: tuple[Address, ...] = DNS,
) -> NetworkSettings:
    return NetworkSettings("gpuagent0", egress, tuple(allow), tuple(deny), dns)


def new_from_job(to: Address, hook: Hook = Hook.FORWARD, *facts: Fact) -> Packet:
    return Packet(hook, to, frozenset({Fact.FROM_JOB, *facts}))


addresses = st.one_of(
    st.builds(IPv4Address, st.integers(0, 2**32 - 1)),
    st.builds(IPv6Address, st.integers(0, 2**128 - 1)),
    # Where the rules' edges are.
    st.sampled_from([*CLOSED_V4, *LINK_LOCAL, IPv6Network("2000::/3"), IPv6Network("fc00::/7")]).flatmap(
        lambda network: st.sampled_from(
            [network.network_address, network.broadcast_address, network.network_address + 1]
        )
    ),
)
networks = st.builds(
    lambda address, bits: ip_network(f"{address}/{min(bits, address.max_prefixlen)}", strict=False),
    addresses,
    st.integers(0, 128),
)
all_settings = st.builds(
    NetworkSettings,
    st.just("gpuagent0"),
    st.sampled_from(Egress),
    st.lists(networks, max_size=4).map(tuple),
    st.lists(networks, max_size=4).map(tuple),
    st.lists(addresses, max_size=3).map(tuple),
)
all_facts = st.frozensets(st.sampled_from(Fact))
packets = st.builds(Packet, st.sampled_from(Hook), addresses, all_facts)


@unhurried(deadline=None)
@given(all_settings, packets)
def test_a_packet_that_neither_comes_from_a_job_nor_goes_to_one_is_never_touched(
    chosen: NetworkSettings, packet: Packet
) -> None:
    facts = packet.facts - {Fact.FROM_JOB, Fact.TO_JOB}
    assert verdict(make_rules(chosen), Packet(packet.hook, packet.to, facts)) is Verdict.ACCEPT


@unhurried(deadline=None)
@given(all_settings, packets)
def test_a_job_never_reaches_a_sibling_whatever_the_packet_is_and_the_config_says(
    chosen: NetworkSettings, packet: Packet
) -> None:
    facts = packet.facts | {Fact.FROM_JOB, Fact.TO_JOB}
    assert verdict(make_rules(chosen), Packet(Hook.FORWARD, packet.to, facts)) is Verdict.DROP


@unhurried(deadline=None)
@given(all_settings, addresses, all_facts)
def test_a_job_never_begins_anything_with_the_host_but_a_question_to_its_dns_server(
    chosen: NetworkSettings, to: Address, facts: frozenset[Fact]
) -> None:
    facts = (facts - {Fact.REPLY, Fact.NEIGHBOURS, Fact.TO_JOB}) | {Fact.FROM_JOB}
    found = verdict(make_rules(chosen), Packet(Hook.INPUT, to, facts))
    is_question = Fact.ASKS_NAME in facts and to in chosen.dns and Fact.STRAY_SOURCE not in facts
    may_ask = chosen.egress is Egress.INTERNET or bool(chosen.allow)
    assert (found is Verdict.ACCEPT) == (is_question and may_ask)


@unhurried(deadline=None)
@given(all_settings, addresses, all_facts)
def test_a_job_never_begins_anything_with_a_link_local_address_but_a_question_to_a_dns_server(
    chosen: NetworkSettings, to: Address, facts: frozenset[Fact]
) -> None:
    facts = (facts - {Fact.REPLY}) | {Fact.FROM_JOB}
    found = verdict(make_rules(chosen), Packet(Hook.FORWARD, to, facts))
    if any(to in network for network in LINK_LOCAL) and not (Fact.ASKS_NAME in facts and to in chosen.dns):
        assert found is Verdict.DROP


@unhurried(deadline=None)
@given(all_settings, addresses, all_facts)
def test_what_is_denied_is_never_reached_nor_is_what_is_private_and_not_allowed(
    chosen: NetworkSettings, to: Address, facts: frozenset[Fact]
) -> None:
    facts = (facts - {Fact.REPLY, Fact.TO_JOB, Fact.ASKS_NAME}) | {Fact.FROM_JOB}
    found = verdict(make_rules(chosen), Packet(Hook.FORWARD, to, facts))
    is_denied = any(to in network for network in chosen.deny)
    is_allowed = any(to in network for network in chosen.allow)
    if is_denied or (is_closed(to) and not is_allowed) or Fact.STRAY_SOURCE in facts:
        assert found is Verdict.DROP
    if chosen.egress is Egress.NONE and not is_allowed:
        assert found is Verdict.DROP


@unhurried(deadline=None)
@given(all_settings, addresses)
def test_what_is_public_and_not_denied_is_reached_where_there_is_an_internet(
    chosen: NetworkSettings, to: Address
) -> None:
    is_open = is_public(to) and not any(to in network for network in chosen.deny)
    if chosen.egress is Egress.INTERNET and is_open:
        assert verdict(make_rules(chosen), new_from_job(to)) is Verdict.ACCEPT


def is_public(to: Address) -> bool:
    """Of IPv6 what registries give to providers: Python calls more of it global, "::2" among it."""
    if isinstance(to, IPv6Address):
        return IPv6Address("2003::") <= to < IPv6Address("2e00::") and to.is_global
    others = ("192.0.0.0/24", "192.88.99.0/24")
    return not is_closed(to) and not any(to in ip_network(one) for one in others)


def is_closed(to: Address) -> bool:
    """Written anew, by what Python knows of the registries and what clouds do beside them."""
    if isinstance(to, IPv6Address) and to not in IPv6Network("2000::/3"):
        return True
    clouds = ("168.63.129.16", "192.0.0.192", "100.100.100.200")
    return not to.is_global or to.is_multicast or str(to) in clouds


@unhurried(deadline=None)
@given(all_settings, addresses, all_facts)
def test_a_reply_of_a_job_to_who_called_it_is_let_through_and_nothing_that_it_began_by_being_known(
    chosen: NetworkSettings, to: Address, facts: frozenset[Fact]
) -> None:
    rules = make_rules(chosen)
    from_job = (facts - {Fact.TO_JOB}) | {Fact.FROM_JOB}
    for hook in Hook:
        reply = Packet(hook, to, from_job | {Fact.REPLY})
        assert verdict(rules, reply) is Verdict.ACCEPT
        # That the kernel knows the connection is no reason: it may have begun while the rules were away.
        known, unknown = from_job | {Fact.ANSWERED}, from_job - {Fact.ANSWERED}
        assert verdict(rules, Packet(hook, to, known)) is verdict(rules, Packet(hook, to, unknown))


@unhurried(deadline=None)
@given(all_settings, addresses, all_facts)
def test_to_a_job_come_answers_and_what_is_published_and_nothing_else(
    chosen: NetworkSettings, to: Address, facts: frozenset[Fact]
) -> None:
    facts = (facts - {Fact.FROM_JOB}) | {Fact.TO_JOB}
    found = verdict(make_rules(chosen), Packet(Hook.FORWARD, to, facts))
    assert (found is Verdict.ACCEPT) == bool(facts & {Fact.ANSWERED, Fact.TRANSLATED})


@pytest.mark.parametrize("to", ["8.8.8.8", "2a00::1"])
def test_what_the_host_publishes_is_no_part_of_the_internet_wherever_it_leads(to: str) -> None:
    rules = make_rules(settings())
    assert verdict(rules, new_from_job(ip_address(to))) is Verdict.ACCEPT
    assert verdict(rules, new_from_job(ip_address(to), Hook.FORWARD, Fact.TRANSLATED)) is Verdict.DROP


@pytest.mark.parametrize(
    "to",
    [
        "10.0.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "127.0.0.1", "0.0.0.0", "224.0.0.251", "255.255.255.255",
        "168.63.129.16", "192.0.0.192", "::1", "::ffff:10.0.0.1", "fd00::1", "fec0::1", "ff02::fb", "64:ff9b::a00:1",
        "2001:0:4136::1", "2001:db8::1", "2002:a00:1::1", "3fff::1", "4000::1",
    ],
)  # fmt: skip
def test_what_is_private_or_reserved_is_shut_until_the_config_allows_it(to: str) -> None:
    address = ip_address(to)
    assert verdict(make_rules(settings()), new_from_job(address)) is Verdict.DROP
    allowed = make_rules(settings(allow=[ip_network(to)]))
    assert verdict(allowed, new_from_job(address)) is Verdict.ACCEPT


@pytest.mark.parametrize("to", ["169.254.169.254", "169.254.0.1", "fe80::1", "febf::1"])
def test_link_local_addresses_stay_shut_although_everything_is_allowed(to: str) -> None:
    everything = [ip_network("0.0.0.0/0"), ip_network("::/0"), ip_network(to)]
    assert verdict(make_rules(settings(allow=everything)), new_from_job(ip_address(to))) is Verdict.DROP


def test_deny_goes_before_allow_and_dns_before_both() -> None:
    ten, part = ip_network("10.0.0.0/8"), ip_network("10.0.0.0/24")
    rules = make_rules(settings(allow=[ten], deny=[part]))
    assert verdict(rules, new_from_job(ip_address("10.1.0.1"))) is Verdict.ACCEPT
    assert verdict(rules, new_from_job(ip_address("10.0.0.53"))) is Verdict.DROP
    question = new_from_job(ip_address("10.0.0.53"), Hook.FORWARD, Fact.ASKS_NAME)
    assert verdict(rules, question) is Verdict.ACCEPT


# As text


def test_the_text_replaces_the_old_tables_in_one_transaction_and_names_no_others() -> None:
    text = write_rules(make_rules(settings()), Siblings.BRIDGED)
    lines = [line.strip() for line in text.splitlines()]
    table = "gpu_agent_gpuagent0"
    assert lines[:3] == [f"add table inet {table}", f"delete table inet {table}", f"table inet {table} {{"]
    assert {line.removesuffix(" {").split()[-1] for line in lines if "table" in line.split()[:2]} == {table}
    assert "flush" not in text
    assert write_removal(table).splitlines() == [
        f"add table inet {table}", f"delete table inet {table}", f"add table bridge {table}", f"delete table bridge {table}"
    ]  # fmt: skip


@unhurried(deadline=None)
@given(all_settings)
def test_every_base_chain_asks_first_whether_the_packet_is_of_our_bridge(chosen: NetworkSettings) -> None:
    rules = make_rules(chosen)
    for chain in rules.chains:
        if chain.hook is not None:
            assert all({Fact.FROM_JOB, Fact.TO_JOB} & set(rule.conditions) for rule in chain.rules)


@unhurried(deadline=None)
@given(all_settings)
def test_no_set_has_overlaps_which_nft_would_refuse(chosen: NetworkSettings) -> None:
    for chain in make_rules(chosen).chains:
        for rule in chain.rules:
            for condition in rule.conditions:
                if isinstance(condition, Into):
                    ordered = sorted(condition.networks, key=lambda one: int(one.network_address))
                    for one, other in pairwise(ordered):
                        assert not one.overlaps(other)


@unhurried(deadline=None)
@given(all_settings, st.sampled_from(Siblings))
def test_a_comment_is_never_longer_than_nft_takes_and_quotes_nothing(
    chosen: NetworkSettings, siblings: Siblings
) -> None:
    for line in write_rules(make_rules(chosen), siblings).splitlines():
        _, _, comment = line.partition(' comment "')
        assert len(comment) <= 128
        assert comment.count('"') == bool(comment)


def test_the_table_of_family_bridge_is_there_only_where_the_kernel_has_it() -> None:
    rules = make_rules(settings())
    assert "table bridge gpu_agent_gpuagent0 {" in write_rules(rules, Siblings.BRIDGED)
    assert "table bridge gpu_agent_gpuagent0 {" not in write_rules(rules, Siblings.ROUTED)
