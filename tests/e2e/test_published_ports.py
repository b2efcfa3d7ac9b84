"""Published ports as others meet them: tcp and udp, IPv4 and IPv6, from another machine; strangers, NAT, a second agent, the doctor."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import private_engine
from tests.e2e.client import Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import PORTS_A_DAEMON, REPOSITORY, Daemon
from tests.e2e.lan import Lan, answering_udp, cabled
from tests.e2e.network import Net
from tests.private_engine import PrivateEngine

BOTH = ["0.0.0.0", "::"]
WEB = {"name": "web", "port": 8080, "proto": "tcp"}
DNS = {"name": "dns", "port": 9053, "proto": "udp"}
SERVE = "echo page > /tmp/page; exec httpd -f -p [::]:8080 -h /tmp"


@pytest.fixture(scope="module")
def session_engine() -> Iterator[PrivateEngine]:
    """In a network namespace in any case: what is done here to the network of a host must not be done to this one."""
    root = Path(tempfile.mkdtemp(prefix="gae-", dir="/tmp"))
    try:
        with private_engine.running(root, namespace=f"gpu-agent-{uuid.uuid4().hex[:8]}") as engine:
            yield engine
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def lan(session_engine: PrivateEngine) -> Iterator[Lan]:
    assert session_engine.namespace is not None
    with cabled(session_engine.namespace) as lan:
        yield lan


def bound(make_daemon: Make, bind: str | list[str], **ports: object) -> Daemon:
    return make_daemon({"ports": {"bind": bind, **ports}})


def run_with(daemon: Daemon, *ports: Json, script: str = SERVE) -> Json:
    """A running job with those ports."""
    job_id = daemon.local.submit(script, network="egress", ports=list(ports))
    return daemon.local.wait_phase(job_id, "running")


def host_port(job: Json, name: str) -> int:
    (found,) = [port["host_port"] for port in job["ports"] if port["name"] == name]
    return int(found)


def pid_of(daemon: Daemon, job: Json) -> int:
    (container,) = daemon.containers(job["id"])
    status, body = daemon.engine.request("GET", f"/containers/{container['Id']}/json")
    assert status == 200, body
    return int(json.loads(body)["State"]["Pid"])


def fetches(net: Net, port: int, host: str) -> bool:
    """Whether the page comes, asked once."""
    try:
        with net.connect(port, host, seconds=2.0) as sock:
            sock.sendall(b"GET /page HTTP/1.0\r\n\r\n")
            return sock.makefile("rb").read().endswith(b"page\n")
    except OSError:
        return False


def answers(net: Net, port: int, host: str) -> bool:
    try:
        return net.ask_udp(port, b"you?", host) == b"job: you?"
    except OSError:
        return False


def answer_of(asker: socket.socket) -> bytes:
    """Raises OSError: none came."""
    asker.send(b"you?")
    return asker.recv(65536)


def expect_all(daemon: Daemon, job: Json, lan: Lan) -> None:
    """Both protos are reached by both families, from the host itself and from another machine."""
    web, dns = host_port(job, "web"), host_port(job, "dns")
    for net, hosts in ((daemon.net, ("127.0.0.1", "::1")), (lan.peer, (lan.host4, lan.host6))):
        for host in hosts:
            expect(lambda net=net, host=host: fetches(net, web, host), f"tcp {web} by {host}")
            expect(lambda net=net, host=host: answers(net, dns, host), f"udp {dns} by {host}")


def test_tcp_and_udp_are_reached_by_ipv4_and_ipv6_from_here_and_from_another_machine(
    make_daemon: Make, lan: Lan
) -> None:
    daemon = bound(make_daemon, BOTH).start()
    job = run_with(daemon, WEB, DNS)
    assert [port["host"] for port in job["ports"]] == ["127.0.0.1", "127.0.0.1"]
    pid = pid_of(daemon, job)
    with answering_udp(pid, 9053, "4"), answering_udp(pid, 9053, "6"):
        expect_all(daemon, job, lan)
        daemon.engine.restart()
        expect_all(daemon, job, lan)
    web = host_port(job, "web")
    daemon.local.cancel(job["id"])
    daemon.local.wait_finished(job["id"])
    assert not fetches(lan.peer, web, lan.host4)
    assert not fetches(lan.peer, web, lan.host6)


@pytest.mark.parametrize(("family", "version"), [("host4", "4"), ("host6", "6")])
def test_who_goes_on_asking_by_udp_reaches_the_next_job_on_the_port_and_never_the_last(
    make_daemon: Make, lan: Lan, family: str, version: str
) -> None:
    daemon = make_daemon()
    daemon.write_config({"ports": {"bind": BOTH, "range": f"{daemon.first_port}-{daemon.first_port}"}})
    daemon.start()
    # The kernel keeps where the datagrams of one asker go, as long as they come.
    with lan.peer.udp_to(daemon.first_port, getattr(lan, family)) as asker:
        for name in ("one: ", "two: "):
            job = run_with(daemon, DNS)
            with answering_udp(pid_of(daemon, job), 9053, version, name):
                expect(lambda name=name: answer_of(asker) == f"{name}you?".encode(), f"{name} answers")
                daemon.local.cancel(job["id"], grace=0)
                daemon.local.wait_finished(job["id"])


@pytest.mark.parametrize(("bind", "other"), [("host4", "127.0.0.1"), ("host6", "::1")])
def test_a_port_is_reached_on_the_address_that_it_is_bound_to_and_on_no_other(
    make_daemon: Make, lan: Lan, bind: str, other: str
) -> None:
    address = getattr(lan, bind)
    daemon = bound(make_daemon, address).start()
    job = run_with(daemon, WEB)
    web = host_port(job, "web")
    assert job["ports"][0]["host"] == address
    expect(lambda: fetches(lan.peer, web, address), f"{web} by {address}")
    assert fetches(daemon.net, web, address)
    assert not fetches(daemon.net, web, other)


def test_a_port_on_loopback_is_the_hosts_own(make_daemon: Make, lan: Lan) -> None:
    daemon = bound(make_daemon, ["127.0.0.1", "::1"]).start()
    web = host_port(run_with(daemon, WEB), "web")
    for host in ("127.0.0.1", "::1"):
        expect(lambda host=host: fetches(daemon.net, web, host), f"{web} by {host}")
    for host in (lan.host4, lan.host6):
        assert not fetches(lan.peer, web, host)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "::1"])
@pytest.mark.parametrize(("listen", "port"), [("listen", WEB), ("listen_udp", DNS)])
def test_a_stranger_of_either_kind_on_any_address_costs_a_move(
    make_daemon: Make, host: str, listen: str, port: Json
) -> None:
    daemon = bound(make_daemon, BOTH)
    with getattr(daemon.net, listen)(daemon.first_port, host):
        daemon.start()
        job = run_with(daemon, port)
        assert host_port(job, port["name"]) == daemon.first_port + 1
        assert job["attempt"] == 1
        assert daemon.local.call("GET", "/v1/host").json["ports"]["bad"] == 1
        # The next one is spared the move.
        assert host_port(run_with(daemon, port), port["name"]) == daemon.first_port + 2
        assert sum(line["phase"] == "starting" for line in daemon.said("queue.decided")) == 3


def test_two_agents_that_were_given_one_range_share_it(make_daemon: Make) -> None:
    one = bound(make_daemon, BOTH).start()
    last = one.first_port + PORTS_A_DAEMON - 1
    two = bound(make_daemon, BOTH, range=f"{one.first_port}-{last}").start()
    jobs = [(daemon, run_with(daemon, WEB, DNS)) for daemon in (one, two)]
    held = [port["host_port"] for _, job in jobs for port in job["ports"]]
    assert len(set(held)) == len(held) == 4
    for daemon, job in jobs:
        expect(lambda daemon=daemon, job=job: fetches(daemon.net, host_port(job, "web"), "::1"), "it answers")


def test_clients_are_told_the_address_that_a_nat_leads_here_by(make_daemon: Make) -> None:
    daemon = make_daemon()
    first = daemon.first_port
    daemon.write_config(
        {
            "ports": {"external_host": "2001:db8::7"},
            "ports.external_ports": {
                f'"{first + 1}-{first + 1}"': "443-443",
                f'"{first}-{first}"': "40000-40000",
            },
        }
    )
    job = run_with(
        daemon.start(), {**WEB, "proto": "http"}, DNS, {"name": "more", "port": 9000, "proto": "tcp"}
    )
    assert [
        (port["host_port"] - first, port["external_host"], port["external_port"]) for port in job["ports"]
    ] == [
        (0, "2001:db8::7", 40000),
        (1, "2001:db8::7", 443),
        (2, "2001:db8::7", first + 2),
    ]
    assert [port["url"] for port in job["ports"]] == ["http://[2001:db8::7]:40000", None, None]


@pytest.mark.slow
def test_a_job_may_have_sixty_four_ports_of_both_kinds_and_each_is_its_own(make_daemon: Make) -> None:
    daemon = make_daemon()
    daemon.write_config({"ports": {"bind": BOTH, "range": f"{daemon.first_port}-{daemon.first_port + 63}"}})
    daemon.start()
    wanted = [
        {"name": f"p{number}", "port": 9000 + number, "proto": ("tcp", "udp", "http")[number % 3]}
        for number in range(63)
    ]
    job = run_with(daemon, {**WEB, "name": "web"}, *wanted)
    assert sorted(port["host_port"] for port in job["ports"]) == list(
        range(daemon.first_port, daemon.first_port + 64)
    )
    expect(lambda: fetches(daemon.net, host_port(job, "web"), "::1"), "it answers")
    (container,) = daemon.containers(job["id"])
    published = {(port["PrivatePort"], port["Type"]) for port in container["Ports"]}
    assert published == {
        (port["port"], "udp" if port["proto"] == "udp" else "tcp") for port in [WEB, *wanted]
    }
    waits = daemon.local.submit("true", network="egress", ports=[WEB])
    daemon.local.wait_phase(waits, "queued")
    expect(lambda: daemon.local.job(waits)["waiting_for"] == "ports", "it waits for ports")
    daemon.local.cancel(job["id"])
    assert daemon.local.wait_finished(waits)["outcome"] == "succeeded"


def test_a_job_without_a_network_has_nothing_but_its_own_loopback(make_daemon: Make) -> None:
    daemon = bound(make_daemon, BOTH).start()
    # In one stream: of two, the engine copies each by itself, and the last line of one may come after the other's.
    look = "exec 2>&1; ls /sys/class/net; cat /proc/net/if_inet6 /proc/net/route; nslookup -timeout=1 example.org || echo no names"
    job = daemon.local.wait_finished(daemon.local.submit(look, network="none"))
    assert job["outcome"] == "succeeded"
    lines = daemon.local.call("GET", f"/v1/jobs/{job['id']}/logs").body.decode().splitlines()
    assert lines[0] == "lo"
    assert not [line for line in lines if "eth" in line]
    assert lines[-1] == "no names"
    refused = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true", network="none", ports=[WEB]))
    assert refused.status == 422
    assert [fault["code"] for fault in refused.json["faults"]] == ["ports_without_network"]


# ── the doctor ──


def ask_doctor(daemon: Daemon) -> dict[str, Json]:
    doctor = [sys.executable, "-m", "agent", "doctor", "--json", "--config", str(daemon.config_file)]
    done = subprocess.run(
        [*daemon.engine.prefix, *doctor],
        env={"PATH": os.environ["PATH"], "HOME": "/root"},
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def inside(daemon: Daemon, *command: str) -> None:
    done = subprocess.run([*daemon.engine.prefix, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_doctor_says_which_published_ports_are_met_and_which_are_not(make_daemon: Make, lan: Lan) -> None:
    daemon = bound(make_daemon, [lan.host4, lan.host6])
    before = ask_doctor(daemon)
    assert "no job" in before["published_ports"]["evidence"]
    assert (before["bridge"]["state"], before["publishing"]["state"]) == ("ok", "ok")
    daemon.start()
    job = run_with(daemon, WEB, DNS)
    web = host_port(job, "web")
    for host in (lan.host4, lan.host6):
        expect(lambda host=host: fetches(lan.peer, web, host), f"{web} by {host}")
    found = ask_doctor(daemon)
    assert found["published_ports"]["state"] == "ok"
    assert "of 2 tcp ports of running jobs 2 take" in found["published_ports"]["evidence"]
    assert (found["bridge"]["state"], "IPv6" in found["bridge"]["evidence"]) == ("ok", True)
    with ExitStack() as undo:
        for program in ("iptables", "ip6tables"):
            rule = ("OUTPUT", "-p", "tcp", "--dport", "8080", "-j", "DROP")
            inside(daemon, program, "-I", *rule)
            undo.callback(inside, daemon, program, "-D", *rule)
        blocked = ask_doctor(daemon)["published_ports"]
    assert (blocked["state"], str(web) in blocked["evidence"]) == ("warn", True)
    assert "nft list ruleset" in blocked["remedy"]


def test_doctor_and_health_say_why_no_port_can_be_published(make_daemon: Make) -> None:
    daemon = bound(make_daemon, ["127.0.0.1", "198.51.100.9"]).start()
    health = {check["name"]: check for check in daemon.local.call("GET", "/health").json["checks"]}
    for seen in (ask_doctor(daemon)["publishing"], health["publishing"]):
        assert (seen["state"], "198.51.100.9" in seen["evidence"]) == ("fail", True)
    job = daemon.local.wait_finished(daemon.local.submit("true", network="egress", ports=[WEB]))
    assert (job["reason"]["code"], job["reason"]["blame"]) == ("engine_refused", "host")
    assert daemon.local.call("GET", "/v1/host").json["ports"]["bad"] == 0, "no port is to blame"


def test_the_doctor_sees_that_somebody_turned_forwarding_off(make_daemon: Make) -> None:
    daemon = make_daemon()
    inside(daemon, "sysctl", "-w", "net.ipv4.ip_forward=0")
    try:
        seen = ask_doctor(daemon)["publishing"]
    finally:
        inside(daemon, "sysctl", "-w", "net.ipv4.ip_forward=1")
    assert (seen["state"], "ip_forward" in seen["remedy"]) == ("fail", True)


def test_the_doctor_sees_that_the_kernel_gives_ports_of_the_range_away(make_daemon: Make) -> None:
    daemon = make_daemon()
    inside(daemon, "sysctl", "-w", "net.ipv4.ip_local_port_range=20000 60999")
    try:
        seen = ask_doctor(daemon)["ports"]
        first, last = daemon.first_port, daemon.first_port + PORTS_A_DAEMON - 1
        inside(daemon, "sysctl", "-w", f"net.ipv4.ip_local_reserved_ports={first}-{last}")
        kept = ask_doctor(daemon)["ports"]
    finally:
        inside(daemon, "sysctl", "-w", "net.ipv4.ip_local_port_range=32768 60999")
        inside(daemon, "sysctl", "-w", "net.ipv4.ip_local_reserved_ports=")
    assert (seen["state"], f"overlap in {PORTS_A_DAEMON} ports" in seen["evidence"]) == ("warn", True)
    assert f"ip_local_reserved_ports = {first}-{last}" in seen["remedy"]
    assert kept["state"] == "ok"


def test_a_bridge_from_before_there_was_ipv6_goes_on_and_the_doctor_tells(
    make_daemon: Make, lan: Lan
) -> None:
    daemon = bound(make_daemon, BOTH)
    body = {
        "Name": daemon.bridge,
        "Driver": "bridge",
        "Labels": {"gpu-agent.bridge": daemon.bridge, "gpu-agent.agent": "an-earlier-one"},
        "Options": {
            "com.docker.network.bridge.name": daemon.bridge,
            "com.docker.network.bridge.enable_icc": "false",
        },
    }
    status, told = daemon.engine.request("POST", "/networks/create", body)
    assert status == 201, told
    daemon.start()
    web = host_port(run_with(daemon, WEB), "web")
    # Where the job has no IPv6, the engine's proxy on the host leads what comes by it to the job's IPv4.
    for host in (lan.host4, lan.host6):
        expect(lambda host=host: fetches(lan.peer, web, host), f"{web} by {host}")
    seen = ask_doctor(daemon)["bridge"]
    assert (seen["state"], f"docker network rm {daemon.bridge}" in seen["remedy"]) == ("warn", True)
