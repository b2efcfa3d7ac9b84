"""What /health and the doctor say of ports, of what they were shown."""

from collections.abc import Sequence

import pytest

from agent.core.bridge import Bridge
from agent.core.ports import Answer, EphemeralPorts, NatMap, PortRange
from agent.interfaces import EngineRefusedError
from agent.jobs.health import CheckState, Finding
from agent.jobs.port_probes import bridge_probe, ports_probe, publishing_probe, reachable_probe
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine

OURS, NO_NAT = PortRange(20000, 29999), NatMap("")


async def look_at_range(first: int, last: int, *reserved: PortRange, nat: NatMap = NO_NAT) -> Finding:
    return await ports_probe(OURS, nat, lambda: EphemeralPorts(PortRange(first, last), reserved))()


@pytest.mark.parametrize(
    ("first", "last", "state"),
    [(32768, 60999, "ok"), (29999, 40000, "warn"), (1024, 20000, "warn"), (1024, 19999, "ok")],
)
async def test_an_overlap_with_the_ephemeral_ports_is_told(first: int, last: int, state: str) -> None:
    found = await look_at_range(first, last)
    assert found.state.value == state
    assert ("overlap in 1 ports" in found.evidence) == (state == "warn")


async def test_ports_that_the_kernel_keeps_free_are_no_overlap() -> None:
    whole = PortRange(1024, 65535)
    assert (await look_at_range(1024, 65535, OURS)).state is CheckState.OK
    most = await look_at_range(1024, 65535, PortRange(20000, 29998))
    assert (most.state, "in 1 ports" in most.evidence) == (CheckState.WARN, True)
    assert "ip_local_reserved_ports = 20000-29999" in most.remedy
    assert (await look_at_range(whole.first, whole.last, PortRange(8080, 8080))).state is CheckState.WARN


async def test_ports_that_the_nat_does_not_lead_to_are_told() -> None:
    hundred = NatMap("gpu.example.org", ((20000, 20099, 40000),))
    found = await look_at_range(32768, 60999, nat=hundred)
    assert (found.state, "9900 of ours" in found.evidence) == (CheckState.WARN, True)
    whole = NatMap("gpu.example.org", ((20000, 24999, 40000), (25000, 29999, 10000)))
    assert (await look_at_range(32768, 60999, nat=whole)).state is CheckState.OK


async def test_an_address_that_is_not_the_hosts_fails_and_is_named_alone() -> None:
    def why_not(address: str) -> str | None:
        return "this host has no such address" if address == "192.0.2.9" else None

    found = await publishing_probe(["0.0.0.0", "192.0.2.9"], why_not, lambda: True)()
    assert found.state is CheckState.FAIL
    assert found.evidence.endswith("192.0.2.9 (this host has no such address)")
    assert "[ports] bind" in found.remedy


async def test_a_kernel_that_no_longer_forwards_fails() -> None:
    found = await publishing_probe(["0.0.0.0"], lambda _: None, lambda: False)()
    assert (found.state, "ip_forward" in found.remedy) == (CheckState.FAIL, True)
    assert (await publishing_probe(["0.0.0.0"], lambda _: None, lambda: True)()).state is CheckState.OK


# ── the bridge ──


@pytest.mark.parametrize(
    ("subnet6", "why_not", "state", "words"),
    [
        ("fd00::/64", None, "ok", "fd00::/64"),
        ("fd00::/64", "the host has no IPv6", "ok", "fd00::/64"),
        (None, "the host has no IPv6", "ok", "the host has no IPv6"),
        (None, None, "warn", "IPv4 alone"),
    ],
)
async def test_a_bridge_that_has_less_than_it_could_is_told(
    subnet6: str | None, why_not: str | None, state: str, words: str
) -> None:
    engine = FakeEngine(FakeClock())
    engine.bridges["gpuagent0"] = Bridge("gpuagent0", subnet6)
    found = await bridge_probe(engine, "gpuagent0", why_not)()
    assert (found.state.value, words in found.evidence) == (state, True)
    assert ("docker network rm gpuagent0" in found.remedy) == (state == "warn")


async def test_a_bridge_that_is_not_there_yet_is_well_and_a_strangers_is_not() -> None:
    engine = FakeEngine(FakeClock())
    found = await bridge_probe(engine, "gpuagent0", None)()
    assert (found.state, "IPv4 and IPv6" in found.evidence) == (CheckState.OK, True)
    assert engine.bridges == {}, "the doctor makes nothing"
    engine.strangers_networks.add("gpuagent0")
    with pytest.raises(EngineRefusedError):
        await bridge_probe(engine, "gpuagent0", None)()


# ── who answers ──


async def look_at(*seen: tuple[int, Answer]) -> Finding:
    async def look() -> Sequence[tuple[int, Answer]]:
        return seen

    return await reachable_probe(look)()


async def test_a_port_that_nobody_answers_on_is_told_by_its_number() -> None:
    found = await look_at((20000, Answer.TAKEN), (20001, Answer.BLOCKED), (20002, Answer.REFUSED))
    assert found.state is CheckState.WARN
    assert "1 are blocked (20001)" in found.evidence


async def test_a_program_that_does_not_listen_yet_is_no_fault_of_the_host() -> None:
    found = await look_at((20000, Answer.TAKEN), (20002, Answer.REFUSED))
    assert (found.state, "1 refuse it" in found.evidence) == (CheckState.OK, True)


async def test_without_a_port_to_try_nothing_is_claimed() -> None:
    found = await look_at()
    assert (found.state, "look again" in found.evidence) == (CheckState.OK, True)
