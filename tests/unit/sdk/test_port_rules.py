"""The port rules exist twice, since the SDK may import nothing of the agent: the host's table holds for both."""

from typing import Any

import pytest

from chutes import Chute, Port
from chutes.errors import RegistrationError
from tests.unit.test_spec_ports import LEGAL, REFUSED


def register(ports: Any) -> Chute:
    chute = Chute(username="me", name="ports")

    @chute.job(ports=ports)
    async def serve(self: Chute) -> None: ...

    return chute


def as_host_says(field: str) -> str:
    return field.replace("[", ".").replace("]", "")


@pytest.mark.parametrize("ports", LEGAL)
def test_what_the_host_takes_the_decorator_takes(ports: list[dict[str, Any]]) -> None:
    taken = register([Port(**port) for port in ports]).jobs["serve"].ports
    assert [{"name": port.name, "port": port.port, "proto": port.proto} for port in taken] == ports


@pytest.mark.parametrize(("ports", "expected"), REFUSED)
def test_what_the_host_refuses_the_decorator_refuses_at_the_same_fields(
    ports: object, expected: set[tuple[str, str]]
) -> None:
    with pytest.raises(RegistrationError) as refused:
        register(ports)
    told = [as_host_says(fault.field) for fault in refused.value.faults]
    assert sorted(set(told)) == sorted({field for field, _ in expected})
    # Where the host has two codes for one field, there are two faults here.
    assert len(told) == len(expected)


@pytest.mark.parametrize("ports", [ports for ports, _ in REFUSED if isinstance(ports, list)])
def test_ports_written_as_objects_are_refused_like_those_written_as_dicts(ports: list[Any]) -> None:
    with pytest.raises(RegistrationError, match="ports"):
        register([Port(**port) if isinstance(port, dict) else port for port in ports])


def test_a_port_only_holds_its_values() -> None:
    assert Port(name="web", port=8080, proto="http") == Port("web", 8080, "http")
    assert Port(name="Not A Name", port="80", proto="quic").name == "Not A Name"


def test_ssh_shows_its_own_port_and_an_explicit_2202_is_that_port() -> None:
    chute = Chute(username="me", name="ssh")

    @chute.job(ssh=True, ports=[Port(name="web", port=8080, proto="http")])
    async def added(self: Chute) -> None: ...

    @chute.job(ssh=True, ports=[Port(name="door", port=2202, proto="tcp")])
    async def explicit(self: Chute) -> None: ...

    shown = {name: [(port.name, port.port) for port in job.shown_ports] for name, job in chute.jobs.items()}
    assert shown == {"added": [("web", 8080), ("ssh", 2202)], "explicit": [("door", 2202)]}


def test_with_ssh_no_other_port_has_its_name() -> None:
    chute = Chute(username="me", name="ssh")
    with pytest.raises(ValueError, match=r"ports\[0\].name: 'ssh' is the name of the SSH port"):

        @chute.job(ssh=True, ports=[Port(name="ssh", port=9000, proto="tcp")])
        async def serve(self: Chute) -> None: ...


def test_without_ssh_any_port_may_have_that_name() -> None:
    chute = register([Port(name="ssh", port=9000, proto="tcp")])
    assert [port.port for port in chute.jobs["serve"].shown_ports] == [9000]


def test_an_authors_list_of_ports_is_neither_kept_nor_changed() -> None:
    mine = [Port(name="web", port=8080, proto="http")]
    chute = register(mine)
    mine.append(Port(name="web", port=1, proto="no"))
    assert len(chute.jobs["serve"].ports) == 1
    assert Chute.job.__kwdefaults__ is not None
    assert Chute.job.__defaults__ == ((),)
