"""The addresses of the jobs' bridge, and when it has IPv6."""

from dataclasses import replace
from ipaddress import IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.adapters.linux import read_ipv6
from agent.core.bridge import HostIpv6, subnet6_of, why_no_ipv6

WELL = HostIpv6(is_on=True, forwards=False, learners=())
LOCALLY_ASSIGNED = IPv6Network("fd00::/8")
AGENTS, BRIDGES = st.uuids().map(str), st.from_regex(r"[a-z][a-z0-9_-]{0,14}", fullmatch=True)


@given(agent=AGENTS, bridge=BRIDGES)
def test_a_bridge_always_gets_one_64_of_the_locally_assigned_addresses(agent: str, bridge: str) -> None:
    subnet = IPv6Network(subnet6_of(agent, bridge))
    assert subnet.prefixlen == 64
    assert subnet.subnet_of(LOCALLY_ASSIGNED)
    assert subnet6_of(agent, bridge) == str(subnet)


@given(st.sets(st.tuples(AGENTS, BRIDGES), min_size=2, max_size=20))
def test_two_bridges_never_get_one_subnet(named: set[tuple[str, str]]) -> None:
    assert len({subnet6_of(agent, bridge) for agent, bridge in named}) == len(named)


def test_a_host_without_ipv6_gives_its_jobs_none() -> None:
    assert why_no_ipv6(WELL) is None
    assert "disable_ipv6" in (why_no_ipv6(replace(WELL, is_on=False)) or "")


def test_a_host_that_would_lose_its_own_way_out_by_forwarding_gives_its_jobs_none() -> None:
    learns = replace(WELL, learners=("eth0",))
    assert "eth0" in (why_no_ipv6(learns) or "")
    # It forwards already: nothing is changed for it.
    assert why_no_ipv6(replace(learns, forwards=True)) is None


# ── what the kernel says ──

DEFAULT_LEARNED = (
    "0" * 32
    + " 00 "
    + "0" * 32
    + " 00 "
    + "fe80"
    + "0" * 27
    + "1 00000400 00000001 00000000 00450003     eth0"
)
DEFAULT_BY_HAND = DEFAULT_LEARNED.replace("00450003", "00000003")
PREFIX_LEARNED = DEFAULT_LEARNED.replace("0" * 32 + " 00 ", "20010db8" + "0" * 24 + " 40 ", 1)


def kernel(folder: Path, **changed: str) -> tuple[Path, Path]:
    values = {
        "all/disable_ipv6": "0",
        "default/disable_ipv6": "0",
        "all/forwarding": "0",
        "eth0/accept_ra": "1",
    }
    routes = changed.pop("routes", DEFAULT_LEARNED)
    for name, value in {**values, **changed}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{value}\n")
    (folder / "routes").write_text(routes)
    return folder, folder / "routes"


def test_the_interface_over_which_the_kernel_learned_its_default_route_is_told(tmp_path: Path) -> None:
    assert read_ipv6(*kernel(tmp_path)) == HostIpv6(is_on=True, forwards=False, learners=("eth0",))


@pytest.mark.parametrize("routes", [DEFAULT_BY_HAND, PREFIX_LEARNED, ""])
def test_a_route_that_stays_without_the_router_is_no_such_one(tmp_path: Path, routes: str) -> None:
    assert read_ipv6(*kernel(tmp_path, routes=routes)).learners == ()


@pytest.mark.parametrize("accept_ra", ["0", "2"])
def test_nor_is_an_interface_that_hears_the_router_all_the_same_or_has_another_listen(
    tmp_path: Path, accept_ra: str
) -> None:
    assert read_ipv6(*kernel(tmp_path, **{"eth0/accept_ra": accept_ra})).learners == ()


def test_an_interface_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    settings, routes = kernel(tmp_path)
    (settings / "eth0" / "accept_ra").unlink()
    assert read_ipv6(settings, routes).learners == ()


@pytest.mark.parametrize("scope", ["all/disable_ipv6", "default/disable_ipv6"])
def test_ipv6_that_is_switched_off_anywhere_is_off(tmp_path: Path, scope: str) -> None:
    assert not read_ipv6(*kernel(tmp_path, **{scope: "1"})).is_on


def test_forwarding_is_told(tmp_path: Path) -> None:
    assert read_ipv6(*kernel(tmp_path, **{"all/forwarding": "1"})).forwards


def test_a_kernel_without_ipv6_has_no_such_files(tmp_path: Path) -> None:
    assert read_ipv6(tmp_path / "none", tmp_path / "no-routes") == HostIpv6(
        is_on=False, forwards=False, learners=()
    )
