"""core/firewall_text — a set of rules as nft reads it. Pure: decides nothing, runs nothing.

The whole is one transaction: between the old rules and the new ones there is no moment without. Tables of others are not named.
"""

from collections.abc import Iterator
from enum import StrEnum

from agent.core.firewall import Chain, Condition, Fact, Into, OutOf, Rule, RuleSet, Verdict
from agent.core.outgoing import Network


class Siblings(StrEnum):
    """By what jobs are kept from each other."""

    ROUTED = "routed"  # what is IP, where br_netfilter shows bridged packets to the rules
    BRIDGED = "bridged"  # everything, ARP included, by a table of family bridge: where the kernel has nft_meta_bridge


# Before the chains of others (Docker's, firewalld's, ufw's are at "filter"): what we drop they don't see, what we accept they may drop.
_PRIORITY = "filter - 10"
_FACTS = {
    Fact.REPLY: "ct state established,related ct direction reply",
    Fact.ANSWERED: "ct state established,related",
    Fact.TRANSLATED: "ct status dnat",
    Fact.STRAY_SOURCE: "fib saddr . iif oif missing",
    Fact.NEIGHBOURS: "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255",
    Fact.ASKS_NAME: "meta l4proto { tcp, udp } th dport 53",
}


def write_rules(rules: RuleSet, siblings: Siblings) -> str:
    """What replaces our tables, if there are any, by these."""
    lines = [*_remove("inet", rules.table), f"table inet {rules.table} {{"]
    for chain in rules.chains:
        lines += _chain(chain, rules.bridge)
    lines.append("}")
    lines += _remove("bridge", rules.table)
    if siblings is Siblings.BRIDGED:
        lines += _bridge_table(rules)
    return "\n".join(lines) + "\n"


def write_removal(table: str) -> str:
    """What removes our tables, whether they are there or not."""
    return "\n".join([*_remove("inet", table), *_remove("bridge", table)]) + "\n"


def _remove(family: str, table: str) -> list[str]:
    # Only what is there can be deleted, and adding what is there is no error. (`destroy` wants Linux 6.3.)
    return [f"add table {family} {table}", f"delete table {family} {table}"]


def _chain(chain: Chain, bridge: str) -> Iterator[str]:
    yield f"\tchain {chain.name} {{"
    if chain.hook is not None:
        yield f"\t\ttype filter hook {chain.hook} priority {_PRIORITY}; policy accept;"
    for rule in chain.rules:
        yield f"\t\t{_rule(rule, bridge)}"
    yield "\t}"


def _rule(rule: Rule, bridge: str) -> str:
    if isinstance(rule.verdict, Verdict):
        # How much was refused is worth knowing, and nothing else is counted.
        verdict = "counter drop" if rule.verdict is Verdict.DROP else "accept"
    else:
        verdict = f"jump {rule.verdict}"
    why = rule.why.replace('"', "'")  # nft has no way to write one
    return " ".join([*(_condition(one, bridge) for one in rule.conditions), verdict, f'comment "{why}"'])


def _condition(condition: Condition, bridge: str) -> str:
    match condition:
        case Fact.FROM_JOB:
            return f'iifname "{bridge}"'
        case Fact.TO_JOB:
            return f'oifname "{bridge}"'
        case Fact():
            return _FACTS[condition]
        case Into(networks):
            return f"{_field(networks[0])} {{ {', '.join(map(str, networks))} }}"
        case OutOf(network):
            return f"{_field(network)} != {network}"


def _field(network: Network) -> str:
    return "ip daddr" if network.version == 4 else "ip6 daddr"


def _bridge_table(rules: RuleSet) -> list[str]:
    both = f'meta ibrname "{rules.bridge}" meta obrname "{rules.bridge}"'
    return [
        f"table bridge {rules.table} {{",
        "\tchain forward {",
        f"\t\ttype filter hook forward priority {_PRIORITY}; policy accept;",
        f'\t\t{both} counter drop comment "siblings, whatever they speak"',
        "\t}",
        "}",
    ]
