"""Host ports: what a job gets, what the kernel may give away, and how a port looks from outside."""

from pathlib import Path

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.adapters.linux import read_ephemeral_ports, read_forwarding
from agent.config import Config
from agent.config.values import PortRange as Span
from agent.core.ports import EphemeralPorts, NatMap, PortRange, choose_ports
from agent.daemon.values import addresses_of
from agent.spec import Port, Proto

OURS = PortRange(20000, 20009)
WANTED = st.lists(st.sampled_from(Proto), max_size=12).map(
    lambda protos: tuple(
        Port(name=f"p{number}", port=9000 + number, proto=proto) for number, proto in enumerate(protos)
    )
)
TAKEN = st.frozensets(st.integers(19998, 20011))


@given(WANTED, TAKEN)
def test_a_lease_has_each_wanted_port_once_in_range_and_on_none_that_is_taken(
    wanted: tuple[Port, ...], taken: frozenset[int]
) -> None:
    leases = choose_ports(wanted, OURS, taken)
    free = len(OURS) - len(taken & set(range(OURS.first, OURS.last + 1)))
    if leases is None:
        assert free < len(wanted)
        return
    numbers = [lease.host_port for lease in leases]
    assert [(lease.name, lease.port, lease.proto) for lease in leases] == [
        (port.name, port.port, port.proto) for port in wanted
    ]
    assert len(set(numbers)) == len(numbers)
    assert all(number in OURS for number in numbers)
    assert not set(numbers) & taken


SPANS = st.lists(
    st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(lambda ends: PortRange(min(ends), max(ends))),
    max_size=4,
).map(tuple)


@given(whole=st.tuples(st.integers(1, 65535), st.integers(1, 65535)), reserved=SPANS)
def test_what_the_kernel_may_give_away_of_ours_is_what_nobody_reserved(
    whole: tuple[int, int], reserved: tuple[PortRange, ...]
) -> None:
    ephemeral = EphemeralPorts(PortRange(min(whole), max(whole)), reserved)
    kept = [port for span in reserved for port in range(span.first, span.last + 1)]
    given_away = set(range(min(whole), max(whole) + 1)) - set(kept)
    assert ephemeral.count_in(OURS) == len(given_away & set(range(20000, 20010)))


@pytest.mark.parametrize(
    ("written", "reserved"),
    [
        ("\n", ()),
        ("8080\n", (PortRange(8080, 8080),)),
        ("20000-29999,35000\n", (PortRange(20000, 29999), PortRange(35000, 35000))),
    ],
)
def test_what_the_kernel_says_of_ephemeral_ports_is_read(
    tmp_path: Path, written: str, reserved: tuple[PortRange, ...]
) -> None:
    (tmp_path / "ip_local_port_range").write_text("32768\t60999\n")
    (tmp_path / "ip_local_reserved_ports").write_text(written)
    assert read_ephemeral_ports(tmp_path) == EphemeralPorts(PortRange(32768, 60999), reserved)


@pytest.mark.parametrize(("written", "forwards"), [("0\n", False), ("1\n", True)])
def test_whether_the_kernel_forwards_is_read(tmp_path: Path, written: str, forwards: bool) -> None:  # noqa: FBT001 - a table
    (tmp_path / "ip_forward").write_text(written)
    assert read_forwarding(tmp_path) is forwards


@st.composite
def maps(draw: st.DrawFn) -> Config:
    """A config with a NAT map that its rules accept."""
    rows, first = {}, 20000
    for length, gap in draw(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5)), max_size=4)):
        first += gap
        outside = draw(st.integers(19980, 20120) | st.just(40000 + first))
        rows[str(Span(first, first + length - 1))] = str(Span(outside, outside + length - 1))
        first += length
    ports = {"range": "20000-20100", "external_host": "gpu.example.org", "external_ports": rows}
    try:
        return Config.model_validate({"ports": ports})
    except ValidationError:
        reject()


@given(maps())
def test_two_ports_never_look_like_one_from_outside_and_each_keeps_its_place_in_its_row(
    config: Config,
) -> None:
    nat, ours = addresses_of(config).nat, range(20000, 20101)
    assert len({nat.outside(port) for port in ours}) == len(ours)
    unmapped = set(ours)
    for inside, outside in config.ports.external_ports.items():
        for offset in range(len(inside)):
            assert nat.outside(inside.first + offset) == outside.first + offset
            unmapped.remove(inside.first + offset)
    assert all(nat.outside(port) == port for port in unmapped)
    assert nat.count_unmapped(PortRange(20000, 20100)) == (len(unmapped) if len(unmapped) < len(ours) else 0)


def test_without_a_map_every_port_keeps_its_number() -> None:
    assert NatMap("gpu.example.org").outside(20005) == 20005
    assert NatMap("gpu.example.org").count_unmapped(OURS) == 0
