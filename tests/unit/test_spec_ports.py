"""The port rules of the decorator reference, as one table: body in, the faults of each port out."""

import pytest

from agent.spec import Port, Proto, SpecRefusedError, parse_spec

LEGAL = [
    [],
    [{"name": "web", "port": 8080, "proto": "http"}],
    [{"name": "a", "port": 8002, "proto": "tcp"}, {"name": "b9", "port": 65535, "proto": "udp"}],
    [{"name": "ssh", "port": 2202, "proto": "tcp"}],
]

REFUSED = [
    ([{"name": "api", "port": 8000, "proto": "http"}], {("ports.0.port", "port_out_of_range")}),
    ([{"name": "api", "port": 8001, "proto": "http"}], {("ports.0.port", "port_out_of_range")}),
    ([{"name": "api", "port": 65536, "proto": "http"}], {("ports.0.port", "port_out_of_range")}),
    ([{"name": "api", "port": 2201, "proto": "tcp"}], {("ports.0.port", "port_out_of_range")}),
    ([{"name": "api", "port": -1, "proto": "tcp"}], {("ports.0.port", "port_out_of_range")}),
    ([{"name": "ssh", "port": 2202, "proto": "http"}], {("ports.0.proto", "port_ssh_not_tcp")}),
    ([{"name": "ssh", "port": 2202, "proto": "udp"}], {("ports.0.proto", "port_ssh_not_tcp")}),
    ([{"name": "tcp_service", "port": 9000, "proto": "tcp"}], {("ports.0.name", "port_name_invalid")}),
    ([{"name": "", "port": 9000, "proto": "tcp"}], {("ports.0.name", "port_name_invalid")}),
    ([{"name": "9", "port": 9000, "proto": "tcp"}], {("ports.0.name", "port_name_invalid")}),
    ([{"name": "Web", "port": 9000, "proto": "tcp"}], {("ports.0.name", "port_name_invalid")}),
    ([{"name": "a1b", "port": 9000, "proto": "tcp"}], {("ports.0.name", "port_name_invalid")}),
    ([{"name": "web\n", "port": 9000, "proto": "tcp"}], {("ports.0.name", "port_name_invalid")}),
    ([{"name": "a" * 64, "port": 9000, "proto": "tcp"}], {("ports.0.name", "port_name_invalid")}),
    ([{"name": "web", "port": 9000, "proto": "sctp"}], {("ports.0.proto", "not_one_of")}),
    ([{"name": "web", "port": 9000}], {("ports.0.proto", "missing_field")}),
    ([{"name": "web", "port": "9000", "proto": "tcp"}], {("ports.0.port", "wrong_type")}),
    ([{"name": "web", "port": True, "proto": "tcp"}], {("ports.0.port", "wrong_type")}),
    ([{"name": "web", "port": 9000.0, "proto": "tcp"}], {("ports.0.port", "wrong_type")}),
    ([{"name": "web", "port": 10**30, "proto": "tcp"}], {("ports.0.port", "number_out_of_range")}),
    (
        [{"name": "web", "port": 9000, "proto": "tcp", "host_port": 80}],
        {("ports.0.host_port", "unknown_field")},
    ),
    (["8080:8080"], {("ports.0", "wrong_type")}),
    ({"web": 8080}, {("ports", "wrong_type")}),
    (
        [{"name": "web", "port": 9000, "proto": "tcp"}, {"name": "api", "port": 9000, "proto": "udp"}],
        {("ports.1.port", "port_duplicate")},
    ),
    (
        [{"name": "web", "port": 9000, "proto": "tcp"}, {"name": "web", "port": 9001, "proto": "tcp"}],
        {("ports.1.name", "port_name_duplicate")},
    ),
    (  # the reference's own multi_port_job: each port with what is wrong with it, all at once
        [
            {"name": "api", "port": 8000, "proto": "http"},
            {"name": "metrics", "port": 9090, "proto": "http"},
            {"name": "tcp_service", "port": 8001, "proto": "tcp"},
        ],
        {
            ("ports.0.port", "port_out_of_range"),
            ("ports.2.port", "port_out_of_range"),
            ("ports.2.name", "port_name_invalid"),
        },
    ),
    (
        [
            {"name": "A", "port": 80, "proto": "x"},
            {"name": "A", "port": 80, "proto": "tcp"},
            {"port": 80},
        ],
        {
            ("ports.0.name", "port_name_invalid"),
            ("ports.0.port", "port_out_of_range"),
            ("ports.0.proto", "not_one_of"),
            ("ports.1.name", "port_name_invalid"),
            ("ports.1.name", "port_name_duplicate"),
            ("ports.1.port", "port_out_of_range"),
            ("ports.1.port", "port_duplicate"),
            ("ports.2.name", "missing_field"),
            ("ports.2.port", "port_out_of_range"),
            ("ports.2.port", "port_duplicate"),
            ("ports.2.proto", "missing_field"),
        },
    ),
    ([{"name": "web", "port": 9000, "proto": "tcp"}] * 1025, {("ports", "too_many")}),
]


@pytest.mark.parametrize("ports", LEGAL)
def test_ports_within_the_rules_are_taken_as_written(ports: list[dict[str, object]]) -> None:
    spec = parse_spec({"image": "alpine", "ports": ports})
    assert [port.model_dump(mode="json") for port in spec.ports] == ports


@pytest.mark.parametrize(("ports", "expected"), REFUSED)
def test_every_rule_that_a_port_breaks_is_named_at_once(
    ports: object, expected: set[tuple[str, str]]
) -> None:
    with pytest.raises(SpecRefusedError) as refused:
        parse_spec({"image": "alpine", "ports": ports})
    assert {(fault.field, fault.code) for fault in refused.value.faults} == expected


def test_a_port_out_of_range_is_named_with_its_number_and_the_rule() -> None:
    with pytest.raises(SpecRefusedError, match="8000 is neither 2202 nor from 8002 to 65535"):
        parse_spec({"image": "alpine", "ports": [{"name": "api", "port": 8000, "proto": "http"}]})


def test_a_port_is_a_value() -> None:
    assert Port(name="web", port=8080, proto=Proto.HTTP) == Port(name="web", port=8080, proto=Proto.HTTP)
