"""What a job reaches, by IPv4 and IPv6, from inside its network with all of root's power there; and what still reaches the job."""

import contextlib
import json
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e import wan as world
from tests.e2e.client import expect
from tests.e2e.daemon import Daemon
from tests.e2e.network import Net
from tests.e2e.town import Town, at, begin, gateways_of, link_local_of, make, nobody_else_refuses
from tests.e2e.wan import DNS_PORT, OUT_PORT, Wan, answered, banner, pinged, reached
from tests.private_engine import PrivateEngine

pytestmark = pytest.mark.slow

PORTS = [{"name": "web", "port": 8080, "proto": "tcp"}, {"name": "game", "port": 8081, "proto": "udp"}]
UNPUBLISHED = 8090
HOST_PORT = 9000
SETTINGS = {
    "network": {
        "egress_allow": [f"{world.ALLOWED4}/32"],
        "deny": ["11.9.0.0/16", "2a00:bad::/32"],
        "dns": [world.DNS4],
    },
    "ports": {"bind": ["0.0.0.0", "::"]},
}


@pytest.fixture(scope="module")
def town(network_host: PrivateEngine, wan: Wan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    daemon = make(network_host, tmp_path_factory.mktemp("town") / "d", SETTINGS).start()
    try:
        sibling, attacker = begin(daemon, PORTS), begin(daemon, [])
        with (
            nobody_else_refuses(network_host),
            banner(daemon.net, "host", [HOST_PORT, DNS_PORT], [HOST_PORT, DNS_PORT]),
            banner(sibling.net, "sibling", [8080, UNPUBLISHED], [8081, UNPUBLISHED]),
        ):
            yield Town(daemon, attacker, sibling, gateways_of(daemon))
    finally:
        daemon.clean_up()


# What is open


def test_the_internet_is_reached_by_both_versions_of_ip_and_what_the_config_allows_beside_it(
    town: Town,
) -> None:
    targets = at((world.PUBLIC4, world.PUBLIC6, world.ALLOWED4), OUT_PORT)
    assert set(reached(town.attacker.net, targets)) == set(targets)
    assert set(answered(town.attacker.net, targets)) == set(targets)


def test_a_dns_server_is_reached_on_port_53_alone_although_its_address_is_private(town: Town) -> None:
    assert set(answered(town.attacker.net, at((world.DNS4,), DNS_PORT, OUT_PORT))) == {(world.DNS4, DNS_PORT)}
    assert set(reached(town.attacker.net, at((world.DNS4,), DNS_PORT, OUT_PORT))) == {(world.DNS4, DNS_PORT)}


def test_published_ports_are_reached_from_outside_and_from_the_host(town: Town, wan: Wan) -> None:
    tcp, udp = town.sibling.host_ports
    outside = (world.HOST4, world.HOST6)
    assert reached(wan.net, at(outside, tcp)) == {(one, tcp): "sibling" for one in outside}
    assert answered(wan.net, at(outside, udp)) == {(one, udp): "sibling" for one in outside}
    every = ("127.0.0.1", "::1", *outside, *town.gateways)
    assert reached(town.host, at(every, tcp)) == {(one, tcp): "sibling" for one in every}


def test_the_host_itself_reaches_its_jobs(town: Town) -> None:
    targets = at(town.sibling.addresses, 8080, UNPUBLISHED)
    assert len(targets) == 4
    assert set(reached(town.host, targets)) == set(targets)
    datagrams = at(town.sibling.addresses, 8081)
    assert set(answered(town.host, datagrams)) == set(datagrams)


# What is shut


def test_no_private_network_no_metadata_and_nothing_that_is_denied_is_reached(town: Town) -> None:
    shut = (
        world.METADATA4,
        world.METADATA6,
        *world.PRIVATE4,
        *world.PRIVATE6,
        world.OTHER_PUBLIC4,  # denied
    )
    assert reached(town.attacker.net, at(shut, OUT_PORT, DNS_PORT)) == {}
    assert answered(town.attacker.net, at(shut, OUT_PORT, DNS_PORT)) == {}
    # They are there: from the host, which nobody shuts out, each is reached.
    assert set(reached(town.host, at(shut, OUT_PORT))) == set(at(shut, OUT_PORT))
    assert set(answered(town.host, at(shut, OUT_PORT))) == set(at(shut, OUT_PORT))


def test_nothing_of_the_host_is_reached_at_any_of_its_addresses(town: Town) -> None:
    api = town.daemon.config.api.listen.port
    own_link = link_local_of(town.host, town.daemon.bridge)
    every = (world.HOST4, world.HOST6, *town.gateways, own_link, "127.0.0.1", "::1")
    assert len(every) == 7
    assert reached(town.attacker.net, at(every, HOST_PORT, DNS_PORT, api)) == {}
    assert answered(town.attacker.net, at(every, HOST_PORT, DNS_PORT)) == {}


def test_no_sibling_is_reached_directly_by_either_version_of_ip(town: Town) -> None:
    every = (*town.sibling.addresses, link_local_of(town.sibling.net, "eth0"))
    assert len(every) == 3
    assert reached(town.attacker.net, at(every, 8080, UNPUBLISHED)) == {}
    assert answered(town.attacker.net, at(every, 8081, UNPUBLISHED)) == {}


def test_no_sibling_is_reached_by_a_port_that_it_publishes_at_whatever_address_of_the_host(
    town: Town,
) -> None:
    tcp, udp = town.sibling.host_ports
    every = (world.HOST4, world.HOST6, *town.gateways, link_local_of(town.host, town.daemon.bridge))
    assert reached(town.attacker.net, at(every, tcp)) == {}
    assert answered(town.attacker.net, at(every, udp)) == {}


def test_from_outside_nothing_but_published_ports_is_reached_by_a_route_to_the_bridge(
    town: Town, wan: Wan
) -> None:
    for subnet in json.loads(town.daemon.engine.request("GET", f"/networks/{town.daemon.bridge}")[1])["IPAM"][
        "Config"
    ]:
        wan.route_to(subnet["Subnet"])
    assert reached(wan.net, at(town.sibling.addresses, 8080, UNPUBLISHED)) == {}
    assert answered(wan.net, at(town.sibling.addresses, 8081, UNPUBLISHED)) == {}


def test_what_the_host_forwards_to_somebody_is_not_reached_wherever_it_leads(town: Town, wan: Wan) -> None:
    """As another engine's published ports, or a load balancer's: of an address of the host to one that a job may reach."""
    nat = "table ip gatest {{\n chain pre {{\n type nat hook prerouting priority dstnat; policy accept;\n {}\n }}\n}}\n"
    rule = f"ip daddr {world.HOST4} tcp dport 9100 dnat to {world.PUBLIC4}:{OUT_PORT}"
    subprocess.run(
        [*town.daemon.engine.prefix, "nft", "-f", "-"],
        input=nat.format(rule),
        text=True,
        check=True,
        timeout=30,
    )
    try:
        assert reached(town.attacker.net, at((world.PUBLIC4,), OUT_PORT)) != {}
        assert reached(town.attacker.net, at((world.HOST4,), 9100)) == {}
    finally:
        world.run(*town.daemon.engine.prefix, "nft", "delete", "table", "ip", "gatest")


# With more power than any job has


def send_raw(net: Net, source: str, target: str, said: bytes) -> None:
    """A datagram to port 7777, whose sender is whoever one likes."""
    datagram = struct.pack("!HHHH", 7777, 7777, 8 + len(said), 0) + said

    def act() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0)
            ends = socket.inet_aton(source) + socket.inet_aton(target)
            raw.sendto(header + ends + datagram, (target, 0))

    net.inside(act)


def test_a_packet_with_the_source_of_somebody_else_goes_nowhere(town: Town, wan: Wan) -> None:
    own, elsewhere = town.attacker.addresses[0], "11.0.0.77"
    with banner(wan.net, "", [], [7777]) as listener, banner(town.host, "", [], [7777]) as at_host:
        for target in (world.PUBLIC4, town.gateways[0], world.HOST4):
            send_raw(town.attacker.net, elsewhere, target, b"spoofed")
        send_raw(town.attacker.net, own, world.PUBLIC4, b"honest")
        expect(lambda: listener.heard, "the honest packet arrives")
        assert [said for said, _ in listener.heard] == [b"honest"]
        assert at_host.heard == []


def test_a_frame_made_by_hand_for_a_sibling_does_not_arrive(town: Town) -> None:
    target = town.sibling.addresses[0]
    mac = json.loads(
        town.daemon.engine.request(
            "GET", f"/containers/{town.daemon.containers(town.sibling.id)[0]['Id']}/json"
        )[1]
    )["NetworkSettings"]["Networks"][town.daemon.bridge]["MacAddress"]
    said = b"by hand"
    datagram = struct.pack("!HHHH", 7777, 7777, 8 + len(said), 0) + said
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 0, 0, 64, socket.IPPROTO_UDP, 0)
    packet = bytearray(header + socket.inet_aton(town.attacker.addresses[0]) + socket.inet_aton(target))
    packet[10:12] = struct.pack("!H", checksum(bytes(packet)))

    def send(to: str) -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("eth0", 0))
            own = raw.getsockname()[4]
            raw.send(bytes.fromhex(to.replace(":", "")) + own + b"\x08\x00" + bytes(packet) + datagram)

    with banner(town.sibling.net, "", [], [7777]) as listener:
        town.attacker.net.inside(lambda: send(mac))
        town.attacker.net.inside(lambda: send("ff:ff:ff:ff:ff:ff"))
        send_raw(town.host, town.gateways[0], target, b"the host's")
        expect(lambda: listener.heard, "the host's packet arrives")
        assert [said for said, _ in listener.heard] == [b"the host's"]


def checksum(header: bytes) -> int:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_an_echo_comes_back_from_the_internet_alone(town: Town) -> None:
    out = {world.PUBLIC4, world.PUBLIC6, world.ALLOWED4}
    shut = {
        *town.gateways,
        *town.sibling.addresses,
        world.HOST4,
        world.HOST6,
        *world.PRIVATE4,
        *world.PRIVATE6,
    }
    assert pinged(town.attacker.net, out | shut) == out
    assert pinged(town.host, shut) == shut


# As a job itself, in its container

LOOK = """
try() {{ if "$@" >/dev/null 2>&1; then echo "open $*"; else echo "shut $*"; fi; }}
for target in {addresses}; do try nc -w 2 $target </dev/null; done
try arping -c 1 -w 1 -I eth0 {sibling}
try ping -c 1 -W 1 {sibling}
try ls /var/run/docker.sock /run/docker.sock
try ip link add link eth0 name other type dummy
try ip addr add 11.0.0.77/24 dev eth0
try ip route add 1.2.3.0/24 dev eth0
try unshare -n true
try unshare -Un true
try sh -c "echo 1 > /proc/sys/net/ipv4/ip_forward"
"""


def test_a_job_that_looks_around_finds_the_internet_and_nothing_of_the_host(town: Town) -> None:
    daemon = town.daemon
    tcp, _ = town.sibling.host_ports
    open_ones = [f"{world.PUBLIC4} {OUT_PORT}", f"{world.ALLOWED4} {OUT_PORT}"]
    shut = [
        f"{world.METADATA4} {OUT_PORT}",
        f"{town.gateways[0]} {HOST_PORT}",
        f"{world.HOST4} {tcp}",
        f"{town.sibling.addresses[0]} 8080",
    ]
    script = LOOK.format(
        addresses=" ".join(f"'{one}'" for one in (*open_ones, *shut)),
        sibling=town.sibling.addresses[0],
    )
    job_id = daemon.local.submit(script, network="egress")
    assert daemon.local.wait_finished(job_id)["outcome"] == "succeeded"
    found = [line for line in daemon.local.log(job_id).splitlines() if line.startswith("open")]
    assert found == [f"open nc -w 2 {one}" for one in open_ones]


def test_names_are_found_and_one_that_leads_into_the_hosts_network_leads_nowhere(town: Town) -> None:
    script = "for name in public rebound metadata; do nslookup $name.test; nc -w 2 $name.test 80 </dev/null && echo open $name; done; true"
    job_id = town.daemon.local.submit(script, network="egress")
    assert town.daemon.local.wait_finished(job_id)["outcome"] == "succeeded"
    log = town.daemon.local.log(job_id)
    assert all(f"Address: {address}" in log for address in world.NAMES.values()), log
    assert [line for line in log.splitlines() if "open" in line] == ["worldopen public"], log


def test_a_job_without_a_network_has_none(town: Town) -> None:
    job_id = town.daemon.local.submit("ls /sys/class/net; nc -w 2 9.9.9.9 80 || echo shut", network="none")
    assert town.daemon.local.wait_finished(job_id)["outcome"] == "succeeded"
    assert town.daemon.local.log(job_id).split() == [
        "lo",
        "nc:",
        "connect:",
        "Network",
        "is",
        "unreachable",
        "shut",
    ] or ("shut" in town.daemon.local.log(job_id))


# What somebody else does to it


def test_rules_that_somebody_flushed_are_back_and_what_began_meanwhile_ends(town: Town) -> None:
    daemon, table = town.daemon, f"gpu_agent_{town.daemon.bridge}"
    nft = [*daemon.engine.prefix, "nft"]
    assert daemon.process is not None
    with contextlib.ExitStack() as stack:
        daemon.process.send_signal(19)  # STOP: so that there is a gap at all
        try:
            subprocess.run([*nft, "delete", "table", "inet", table], check=True, timeout=30)
            connection = stack.enter_context(town.attacker.net.connect(HOST_PORT, town.gateways[0], 5))
            assert connection.recv(100) == b"host"
        finally:
            daemon.process.send_signal(18)  # CONT
        expect(lambda: has_table(daemon), "the rules are back", seconds=60)
        connection.settimeout(3)
        connection.sendall(b"still there?")
        with pytest.raises(TimeoutError):
            connection.recv(100)
    events = daemon.client(daemon.token("op", ("jobs:read", "host:admin"))).lines(
        "/v1/events?after=0&type=network.rules_put_back"
    )
    told = next(json.loads(line[6:]) for line in events if line.startswith(b"data: "))
    assert told["data"] == {"table": table, "what": "gone"}
    assert reached(town.attacker.net, at(town.gateways, HOST_PORT)) == {}
    assert daemon.local.checks()["network"]["state"] == "ok"


def has_table(daemon: Daemon) -> bool:
    command = [*daemon.engine.prefix, "nft", "list", "table", "inet", f"gpu_agent_{daemon.bridge}"]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
