"""chutes/_port_rules — the decorator reference's rules for ports, every fault at once. The host's own copy of them is agent/spec/ports."""

from __future__ import annotations

import re
from typing import Any, Iterator

from chutes._field_rules import is_whole
from chutes.chute.job import SSH_PORT, Port
from chutes.errors import Fault

MIN_PORT, MAX_PORT = 8002, 65535
MAX_PORTS = 1024
MAX_PORT_NAME_CHARACTERS = 63
PORT_NAME = re.compile(r"[a-z]+[0-9]*")
PROTOS = ("tcp", "udp", "http")


def as_ports(ports: Any) -> tuple[Any, ...]:
    """A dict with a port's fields counts as the port. What is neither stays as it is, to be refused."""
    if not isinstance(ports, (list, tuple)):
        return ()
    return tuple(Port(**entry) if is_fields(entry) else entry for entry in ports)


def is_fields(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(key, str) for key in entry)


def find_port_faults(ports: Any) -> Iterator[Fault]:
    if not isinstance(ports, (list, tuple)):
        yield Fault("ports", f"must be a list, not {ports!r:.80}", "Write ports=[Port(…), …].")
        return
    if len(ports) > MAX_PORTS:
        yield Fault("ports", f"has more than {MAX_PORTS} entries", "Publish fewer ports.")
        return
    numbers: dict[int, int] = {}
    names: dict[str, int] = {}
    for index, port in enumerate(as_ports(ports)):
        field = f"ports[{index}]"
        if not isinstance(port, Port):
            remedy = 'Write Port(name="web", port=8080, proto="http").'
            yield Fault(field, f"must be a Port, not {port!r:.80}", remedy)
            continue
        yield from find_number_faults(field, port, index, numbers)
        yield from find_name_faults(field, port, index, names)
        yield from find_proto_faults(field, port)
        for key in port.unknown:
            yield Fault(f"{field}.{key}", "is no field of a port", "A port has name, port and proto.")


def find_number_faults(field: str, port: Port, index: int, seen: dict[int, int]) -> Iterator[Fault]:
    number = port.port
    if not is_whole(number):
        told = "is missing" if number is None else f"must be a whole number, not {number!r:.80}"
        yield Fault(f"{field}.port", told, "Write a number without quotes, as in port=8080.")
        return
    if number != SSH_PORT and not MIN_PORT <= number <= MAX_PORT:
        told = f"{number} is neither {SSH_PORT} nor from {MIN_PORT} to {MAX_PORT}"
        yield Fault(f"{field}.port", told, f"Let the program listen on a port from {MIN_PORT} to {MAX_PORT}.")
    if seen.setdefault(number, index) != index:
        told = f"{number} is the number of ports[{seen[number]}] too"
        yield Fault(f"{field}.port", told, "Give each port its own number.")


def find_name_faults(field: str, port: Port, index: int, seen: dict[str, int]) -> Iterator[Fault]:
    name = port.name
    remedy = "Use small letters, then digits, as in web or api2."
    if not isinstance(name, str):
        told = "is missing" if name is None else f"must be a text, not {name!r:.80}"
        yield Fault(f"{field}.name", told, remedy)
        return
    if len(name) > MAX_PORT_NAME_CHARACTERS or not PORT_NAME.fullmatch(name):
        told = (
            f"{name!r:.80} must match ^[a-z]+[0-9]*$ and have at most {MAX_PORT_NAME_CHARACTERS} characters"
        )
        yield Fault(f"{field}.name", told, remedy)
    if seen.setdefault(name, index) != index:
        told = f"{name!r:.80} is the name of ports[{seen[name]}] too"
        yield Fault(f"{field}.name", told, "Give each port its own name.")


def find_proto_faults(field: str, port: Port) -> Iterator[Fault]:
    if port.proto not in PROTOS:
        told = "is missing" if port.proto is None else f"{port.proto!r:.80} is none of {', '.join(PROTOS)}"
        yield Fault(f"{field}.proto", told, f"Write one of {', '.join(PROTOS)}.")
    elif port.port == SSH_PORT and port.proto != "tcp":
        told = f"{SSH_PORT} is the SSH port and takes only tcp"
        yield Fault(f"{field}.proto", told, "Write tcp, or use another port.")
