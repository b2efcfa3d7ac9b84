"""spec/ports — the ports a job may publish, and the rules of the decorator reference for them. Leases none."""

import re
from collections.abc import Hashable, Iterator
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from agent.spec.faults import Fault, join_path
from agent.spec.limits import MAX_PORT, MAX_PORT_NAME_CHARACTERS, MAX_PORTS, MIN_PORT, SSH_PORT

# What SSH's own port is called where the job names none.
SSH_PORT_NAME = "ssh"
PORT_NAME = re.compile(r"[a-z]+[0-9]*")


class Proto(StrEnum):
    """How a port is published: http is tcp that the proxy may speak to."""

    TCP = "tcp"
    UDP = "udp"
    HTTP = "http"


class Port(BaseModel):
    """A port inside the container. The host's port is a lease, and not the job's to choose."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str = Field(json_schema_extra={"pattern": "^[a-z]+[0-9]*$", "maxLength": MAX_PORT_NAME_CHARACTERS})
    port: int = Field(
        json_schema_extra={"anyOf": [{"const": SSH_PORT}, {"minimum": MIN_PORT, "maximum": MAX_PORT}]},
        description=f"{SSH_PORT} (SSH, tcp only) or {MIN_PORT} to {MAX_PORT}; unique in the job",
    )
    proto: Proto


def find_port_faults(ports: object) -> Iterator[Fault]:
    """Find every rule that each port breaks. `ports` is decoded JSON of any type: what has a wrong type is another's to report."""
    if not isinstance(ports, list):
        return
    if len(ports) > MAX_PORTS:
        yield Fault("ports", "too_many", f"has more than {MAX_PORTS} entries", "Publish fewer ports.")
        return
    numbers: dict[Hashable, int] = {}
    names: dict[Hashable, int] = {}
    for index, entry in enumerate(ports):
        if not isinstance(entry, dict):
            continue
        name, number = entry.get("name"), entry.get("port")
        if isinstance(number, int) and not isinstance(number, bool):
            yield from find_number_faults(
                join_path("ports", index, "port"), number, numbers.setdefault(number, index)
            )
            yield from find_ssh_fault(join_path("ports", index, "proto"), number, entry.get("proto"))
        if isinstance(name, str):
            yield from find_name_faults(
                join_path("ports", index, "name"), name, names.setdefault(name, index)
            )


def find_number_faults(field: str, number: int, first: int) -> Iterator[Fault]:
    if number != SSH_PORT and not MIN_PORT <= number <= MAX_PORT:
        yield Fault(
            field,
            "port_out_of_range",
            f"{number} is neither {SSH_PORT} nor from {MIN_PORT} to {MAX_PORT}",
            f"Let the program listen on a port from {MIN_PORT} to {MAX_PORT}.",
        )
    if field != join_path("ports", first, "port"):
        yield Fault(
            field,
            "port_duplicate",
            f"{number} is the number of ports.{first} too",
            "Give each port its own number.",
        )


def find_ssh_fault(field: str, number: int, proto: object) -> Iterator[Fault]:
    if number == SSH_PORT and proto in {Proto.UDP.value, Proto.HTTP.value}:
        yield Fault(
            field,
            "port_ssh_not_tcp",
            f"{SSH_PORT} is the SSH port and takes only tcp",
            "Write tcp, or use another port.",
        )


def find_name_faults(field: str, name: str, first: int) -> Iterator[Fault]:
    if len(name) > MAX_PORT_NAME_CHARACTERS or not PORT_NAME.fullmatch(name):
        yield Fault(
            field,
            "port_name_invalid",
            f"must match ^[a-z]+[0-9]*$ and have at most {MAX_PORT_NAME_CHARACTERS} characters",
            "Use small letters, then digits, as in web or api2.",
        )
    if field != join_path("ports", first, "name"):
        yield Fault(
            field, "port_name_duplicate", f"is the name of ports.{first} too", "Give each port its own name."
        )
