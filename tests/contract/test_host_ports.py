"""What the kernel's sockets really say of addresses and ports. On loopback alone."""

import socket

import pytest

from agent.adapters.host_ports import meet, reachable_at, why_not_bindable
from agent.core.ports import Answer


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])
def test_an_address_of_the_host_can_be_bound(address: str) -> None:
    assert why_not_bindable(address) is None


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9"])
def test_an_address_of_nobody_can_not(address: str) -> None:
    assert why_not_bindable(address) == "this host has no such address"


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_listener_takes_a_connection_and_once_it_is_gone_it_is_refused(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        port = listener.getsockname()[1]
        assert await meet(address, port, 5.0) is Answer.TAKEN
        taken, _ = listener.accept()
        with taken:
            assert taken.recv(10) == b"", "it was hung up without a byte"
    assert await meet(address, port, 5.0) is Answer.REFUSED


async def test_a_listener_that_takes_no_more_says_nothing_and_is_called_blocked() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        # A full queue of connections drops the next one's packets, as a firewall does.
        with socket.create_connection(("127.0.0.1", port)):
            assert await meet("127.0.0.1", port, 0.2) is Answer.BLOCKED


@pytest.mark.parametrize("bind", ["0.0.0.0", "::"])
def test_all_addresses_are_met_at_one_of_this_hosts(bind: str) -> None:
    met = reachable_at(bind)
    assert (":" in met) == (":" in bind)
    assert why_not_bindable(met) is None


@pytest.mark.parametrize("bind", ["192.0.2.9", "2001:db8::9", "127.0.0.1"])
def test_one_address_is_met_at_itself(bind: str) -> None:
    assert reachable_at(bind) == bind
