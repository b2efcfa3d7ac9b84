"""The packet filter's promises, kept by the fake and by nft itself in a network namespace that each test makes."""

import asyncio
import errno
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import NoReturn

import pytest

from agent.adapters.firewall import Nft, RuleNews
from agent.adapters.firewall.news import open_news
from agent.adapters.firewall.nft import list_interfaces
from agent.core.firewall import Chain, Egress, Hook, Into, NetworkSettings, Rule, RuleSet, Verdict, make_rules
from agent.core.firewall_text import Siblings
from agent.interfaces import Firewall, FirewallSilentError, FirewallUnusableError
from tests.e2e.network import Net
from tests.fakes.firewall import FakeFirewall

OTHERS = "table inet firewalld {\n\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tcounter accept\n\t}\n}\n"
HEARD_SECONDS = 5.0


class FakeWorld:
    def __init__(self) -> None:
        self.fake = FakeFirewall()
        self.firewall: Firewall = self.fake

    def harm(self, table: str, what: str) -> None:
        if what in {"flush ruleset", f"delete table inet {table}"}:
            self.fake.change(table, None)
        else:
            self.fake.change(table, f"{self.fake.tables[table]}{what}")

    def tables(self) -> set[str]:
        return set(self.fake.tables)

    def add_others(self) -> None:
        self.fake.tables["firewalld"] = OTHERS

    def others(self) -> str:
        return self.fake.tables["firewalld"]


class NftWorld:
    def __init__(self, namespace: str) -> None:
        self.prefix = ["nsenter", f"--net=/run/netns/{namespace}"]
        self.net = Net(namespace)
        self.nft = Nft(RuleNews(lambda: self.net.inside(open_news)), [*self.prefix, "nft"])
        self.firewall: Firewall = self.nft

    def run(self, *words: str, text: str = "") -> str:
        command = [*self.prefix, "nft", *words]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=True, timeout=30
        ).stdout

    def harm(self, table: str, what: str) -> None:
        self.run(*what.split())

    def tables(self) -> set[str]:
        return {line.split()[2] for line in self.run("list", "tables").splitlines()}

    def add_others(self) -> None:
        self.run("-f", "-", text=OTHERS)

    def others(self) -> str:
        return self.run("list", "table", "inet", "firewalld")


World = FakeWorld | NftWorld


@pytest.fixture
def namespace() -> Iterator[str]:
    if shutil.which("nft") is None or shutil.which("ip") is None:
        pytest.skip("nft or ip is missing; `make test` installs both")
    name = f"gafw-{uuid.uuid4().hex[:8]}"
    done = subprocess.run(
        ["ip", "netns", "add", name], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no network namespace is to be had here: {done.stderr.strip()}")
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True, timeout=30)


@pytest.fixture(params=["fake", "nft"])
async def world(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[World]:
    if request.param == "fake":
        yield FakeWorld()
        return
    found = NftWorld(namespace)
    yield found
    found.nft.close()


def rules(bridge: str = "gafw0", deny: str = "11.0.0.0/8") -> RuleSet:
    every = (
        ip_network("0.0.0.0/0"),
        ip_network("10.0.0.0/9"),
        ip_network("10.128.0.0/9"),
        ip_network("::/0"),
    )
    dns = (ip_network("192.0.2.53").network_address, ip_network("2001:db8::53").network_address)
    return make_rules(NetworkSettings(bridge, Egress.INTERNET, every, (ip_network(deny),), dns))


class Heard:
    """How often it was told of a change."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def __call__(self) -> None:
        self.event.set()

    async def is_told(self) -> bool:
        try:
            async with asyncio.timeout(HEARD_SECONDS):
                await self.event.wait()
        except TimeoutError:
            return False
        self.event.clear()
        return True


async def test_a_host_that_can_not_run_nft_just_now_is_asked_again(tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with program.open("a"), pytest.raises(FirewallSilentError, match="busy"):  # as while it is upgraded
        await Nft(RuleNews(), [str(program)]).fingerprint("gpu_agent_gafw0")


MEANWHILE = """
harm=$1 namespace=$2; shift 2
nsenter --net=/run/netns/$namespace nft "$@"; code=$?
case $1 in -f) nsenter --net=/run/netns/$namespace nft $harm ;; esac
exit $code
"""


async def test_what_somebody_left_of_the_rules_at_the_same_moment_is_not_taken_for_them(
    namespace: str,
) -> None:
    nft = Nft(RuleNews(), ["sh", "-c", MEANWHILE, "sh", "flush table inet gpu_agent_gafw0", namespace])
    with pytest.raises(FirewallUnusableError, match="somebody"):
        await nft.put(rules())


async def test_rules_that_are_put_are_there_and_read_back_alike_until_somebody_changes_them(
    world: World,
) -> None:
    assert await world.firewall.fingerprint("gpu_agent_gafw0") is None
    placed = await world.firewall.put(rules())
    assert await world.firewall.fingerprint("gpu_agent_gafw0") == placed.fingerprint
    assert await world.firewall.fingerprint("gpu_agent_gafw0") == placed.fingerprint
    assert "gpu_agent_gafw0" in world.tables()
    assert (await world.firewall.put(rules())).fingerprint == placed.fingerprint


@pytest.mark.parametrize(
    "harm",
    [
        "flush ruleset",
        "delete table inet {}",
        "flush table inet {}",
        "flush chain inet {} job_to_host",
        "insert rule inet {} job_to_world accept",
        "add rule inet {} world_to_job accept",
        "delete chain inet {} input",
        "add chain inet {} more",
        "add table inet {} {{ flags dormant; }}",
    ],
)
async def test_whatever_somebody_does_to_the_rules_is_told_seen_and_mended(world: World, harm: str) -> None:
    placed = await world.firewall.put(rules())
    heard = Heard()
    world.firewall.listen("gpu_agent_gafw0", heard)
    world.harm("gpu_agent_gafw0", harm.format("gpu_agent_gafw0"))
    assert await heard.is_told()
    assert await world.firewall.fingerprint("gpu_agent_gafw0") != placed.fingerprint
    assert (await world.firewall.put(rules())).fingerprint == placed.fingerprint
    assert await heard.is_told()


async def test_other_rules_replace_the_old_ones_and_have_another_fingerprint(world: World) -> None:
    first = await world.firewall.put(rules())
    second = await world.firewall.put(rules(deny="12.0.0.0/8"))
    assert first.fingerprint != second.fingerprint
    assert await world.firewall.fingerprint("gpu_agent_gafw0") == second.fingerprint


async def test_two_bridges_have_tables_of_their_own_and_one_is_removed_without_the_other(
    world: World,
) -> None:
    await world.firewall.put(rules("gafw0"))
    other = await world.firewall.put(rules("gafw1"))
    await world.firewall.remove("gpu_agent_gafw0")
    assert world.tables() == {"gpu_agent_gafw1"}
    assert await world.firewall.fingerprint("gpu_agent_gafw0") is None
    assert await world.firewall.fingerprint("gpu_agent_gafw1") == other.fingerprint
    await world.firewall.remove("gpu_agent_gafw0")  # nothing is there, and nothing is wrong


async def test_what_others_have_is_neither_read_nor_changed_nor_told_of(world: World) -> None:
    world.add_others()
    before = world.others()
    placed = await world.firewall.put(rules())
    heard = Heard()
    world.firewall.listen("gpu_agent_gafw1", heard)
    await world.firewall.put(rules())
    await world.firewall.remove("gpu_agent_gafw0")
    assert world.others() == before
    await world.firewall.put(rules("gafw1"))
    assert await heard.is_told()
    assert (await world.firewall.put(rules())).fingerprint == placed.fingerprint
    assert not heard.event.is_set()


# nft alone


@pytest.fixture
async def real(namespace: str) -> AsyncIterator[NftWorld]:
    found = NftWorld(namespace)
    yield found
    found.nft.close()


async def test_every_rule_that_is_asked_for_is_there_with_its_words(real: NftWorld) -> None:
    wanted = rules()
    await real.firewall.put(wanted)
    listed = real.run("list", "table", "inet", wanted.table)
    assert listed.count('comment "') == wanted.size
    for chain in wanted.chains:
        assert f"chain {chain.name} {{" in listed
    assert listed.count("hook ") == sum(chain.hook is not None for chain in wanted.chains)


async def test_rules_that_nft_refuses_leave_the_old_ones_and_say_why(real: NftWorld) -> None:
    placed = await real.firewall.put(rules())
    both = Into((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
    bad = Chain("more", Hook.INPUT, (Rule((both,), Verdict.DROP, "of two versions"),))
    with pytest.raises(FirewallUnusableError, match="nft refused the rules"):
        await real.firewall.put(replace(rules(), chains=(*rules().chains, bad)))
    assert await real.firewall.fingerprint("gpu_agent_gafw0") == placed.fingerprint


async def test_trying_rules_out_places_none(real: NftWorld) -> None:
    kind = await real.nft.try_out(rules())
    assert real.tables() == set()
    assert (await real.firewall.put(rules())).siblings is kind
    is_bridged = "table bridge gpu_agent_gafw0" in real.run("list", "tables")
    assert (kind is Siblings.BRIDGED) == is_bridged


async def test_a_flood_of_changes_by_others_is_told_as_one_and_ends_nothing(real: NftWorld) -> None:
    heard = Heard()
    real.firewall.listen("gpu_agent_gafw0", heard)
    noise = "add table inet noise\n" + "".join(f"add chain inet noise c{n}\n" for n in range(3000))
    for _ in range(3):
        real.run("-f", "-", text=noise + "delete table inet noise\n")
    await real.firewall.put(rules())
    assert await heard.is_told()
    real.run("delete", "table", "inet", "gpu_agent_gafw0")
    assert await heard.is_told()


async def test_news_that_can_not_be_had_are_no_reason_to_fail() -> None:
    def refuse() -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    news = RuleNews(refuse)
    news.listen("gpu_agent_gafw0", lambda: None)
    news.close()


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["no-such-nft"], "there is no program no-such-nft"),
        (["/etc/passwd"], "can't be run"),
        (["false"], "refused"),
    ],
)
async def test_a_host_without_a_working_nft_says_so(command: list[str], told: str) -> None:
    with pytest.raises(FirewallUnusableError, match=told):
        await Nft(RuleNews(), command).put(rules())


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[str]:
    """A program, of which nothing must be left."""
    program, started = tmp_path / "nft", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\necho $$ > {started}\nexec sleep 600\n")
    program.chmod(0o755)
    yield str(program)
    assert not Path("/proc", started.read_text().strip()).exists()


async def test_nft_that_hangs_is_given_up_and_ended(hanging: str) -> None:
    with pytest.raises(FirewallSilentError, match=r"within 0\.5 s"):
        await Nft(RuleNews(), [hanging], seconds=0.5).fingerprint("gpu_agent_gafw0")


@pytest.fixture
def bridge(real: NftWorld) -> str:
    subprocess.run([*real.prefix, "ip", "link", "add", "gafw0", "type", "bridge"], check=True, timeout=30)
    return "gafw0"


def test_an_interface_of_another_network_namespace_is_not_seen(real: NftWorld, bridge: str) -> None:
    here, there = Nft(RuleNews()), Nft(RuleNews(), interfaces=lambda: real.net.inside(list_interfaces))
    assert (here.sees(bridge), there.sees(bridge), there.sees("gafw1")) == (False, True, False)


@pytest.mark.parametrize(
    ("switches", "told"),
    [
        ({}, "br_netfilter is not loaded"),
        ({"bridge-nf-call-iptables": "1"}, "br_netfilter is not loaded"),
        ({"bridge-nf-call-iptables": "0", "bridge-nf-call-ip6tables": "1"}, "bridge-nf-call-iptables is 0"),
        ({"bridge-nf-call-iptables": "1", "bridge-nf-call-ip6tables": "0"}, "bridge-nf-call-ip6tables is 0"),
        ({"bridge-nf-call-iptables": "1", "bridge-nf-call-ip6tables": "1"}, None),
    ],
)
def test_bridged_packets_pass_through_the_rules_only_if_both_switches_are_on(
    switches: dict[str, str], told: str | None
) -> None:
    read: Callable[[str], str | None] = switches.get
    why = Nft(RuleNews(), read=read).why_unfiltered()
    assert why == told if told is None else why is not None and told in why


def test_a_switch_that_can_not_be_read_just_now_says_nothing_of_the_host() -> None:
    def refuse(*_: str) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    nft = Nft(RuleNews(), read=refuse, interfaces=refuse)
    with pytest.raises(FirewallSilentError, match="Too many open files"):
        nft.why_unfiltered()
    with pytest.raises(FirewallSilentError):
        nft.sees("gpuagent0")
