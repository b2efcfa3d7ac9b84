"""What becomes of the rules: no nft, rules that can't be put back, other programs' tables, an agent that is taken off."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import wan as world
from tests.e2e.client import expect
from tests.e2e.daemon import REPOSITORY, Daemon, Settings
from tests.e2e.town import at, begin, gateways_of, make, nobody_else_refuses
from tests.e2e.wan import DNS_PORT, OUT_PORT, Wan, answered, banner, reached
from tests.private_engine import PrivateEngine

pytestmark = pytest.mark.slow

MakeHere = Callable[[Settings], Daemon]
HOST_PORT = 9000
# As firewalld and ufw have them: chains beside ours, with drops and accepts of their own.
OTHERS = """
table inet firewalld {
    chain filter_INPUT {
        type filter hook input priority filter + 10; policy accept;
        ct state established,related accept
        tcp dport 9001 reject
    }
    chain filter_FORWARD {
        type filter hook forward priority filter + 10; policy accept;
        ip daddr 9.9.9.9 tcp dport 53 drop
        accept
    }
}
"""


@pytest.fixture
def make_here(network_host: PrivateEngine, wan: Wan, tmp_path: Path) -> Iterator[MakeHere]:
    """Daemons on the engine that has a network of its own."""
    made: list[Daemon] = []

    def make_one(settings: Settings) -> Daemon:
        daemon = make(network_host, tmp_path / f"d{len(made)}", settings)
        made.append(daemon)
        return daemon

    yield make_one
    for daemon in made:
        daemon.clean_up()


def nft(host: PrivateEngine, *words: str, text: str = "") -> str:
    command = [*host.prefix, "nft", *words]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tables(host: PrivateEngine) -> list[str]:
    return nft(host, "list", "tables").splitlines()


def tables_of(daemon: Daemon) -> list[str]:
    return [line for line in tables(daemon.engine) if line.endswith(f" gpu_agent_{daemon.bridge}")]


def others(host: PrivateEngine, ours: list[str]) -> list[str]:
    return [nft(host, "-s", "list", *line.split()) for line in tables(host) if line not in ours]


def command(daemon: Daemon, *words: str) -> "subprocess.CompletedProcess[str]":
    """Of `gpu-agent`, on the host."""
    line = [*daemon.engine.prefix, sys.executable, "-m", "agent", *words, "--config", str(daemon.config_file)]
    return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)


def path_without_nft(folder: Path) -> str:
    """Every program that there is, but that one."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*"):
            if program.name != "nft" and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return str(folder)


def test_without_nft_jobs_with_a_network_are_refused_and_told_what_is_missing(
    make_here: MakeHere, tmp_path: Path
) -> None:
    daemon = make_here({})
    daemon.environment["PATH"] = path_without_nft(tmp_path / "bin")
    daemon.start()
    expect(lambda: daemon.local.checks()["network"]["state"] == "fail", "the check has failed")
    reply = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true", network="egress"))
    assert reply.status == 422
    (fault,) = reply.json["faults"]
    assert (fault["field"], fault["code"]) == ("network", "network_unprotected")
    assert "no program nft" in fault["message"]
    assert "Install nftables" in fault["remedy"]
    job_id = daemon.local.submit("true", network="none")
    assert daemon.local.wait_finished(job_id)["outcome"] == "succeeded"
    assert daemon.local.checks()["network"]["remedy"].startswith("Install nftables")


def test_while_rules_can_not_be_put_back_new_jobs_wait_and_go_on_once_they_can(
    make_here: MakeHere, tmp_path: Path
) -> None:
    """Somebody removes the rules, and nft hangs: a stand-in that waits for as long as a file is there."""
    daemon, stuck = make_here({}), tmp_path / "stuck"
    stand_in = tmp_path / "bin" / "nft"
    stand_in.parent.mkdir()
    stand_in.write_text(f'#!/bin/sh\nwhile [ -e {stuck} ]; do sleep 0.1; done\nexec /usr/sbin/nft "$@"\n')
    stand_in.chmod(0o755)
    daemon.environment["PATH"] = f"{stand_in.parent}:{os.environ['PATH']}"
    daemon.start()
    expect(lambda: tables_of(daemon), "the rules are there")
    stuck.touch()
    nft(daemon.engine, "delete", "table", "inet", f"gpu_agent_{daemon.bridge}")
    job_id = daemon.local.submit("true", network="egress")
    expect(lambda: daemon.local.job(job_id)["waiting_for"] == "network", "the job waits for the network")
    assert "network" in daemon.local.job(job_id)["waiting_words"]
    free = daemon.local.submit("true", network="none")
    assert daemon.local.wait_finished(free)["outcome"] == "succeeded"
    stuck.unlink()
    assert daemon.local.wait_finished(job_id)["outcome"] == "succeeded"
    assert len(tables_of(daemon)) == 1


def test_rules_are_put_back_although_the_kernel_told_nobody_and_after_a_flush_of_everything(
    make_here: MakeHere,
) -> None:
    daemon = make_here({}).start()
    table = f"gpu_agent_{daemon.bridge}"
    expect(lambda: tables_of(daemon), "the rules are there")
    as_placed = nft(daemon.engine, "--stateless", "list", "table", "inet", table)

    def is_mended() -> bool:
        return (
            tables_of(daemon) != []
            and nft(daemon.engine, "--stateless", "list", "table", "inet", table) == as_placed
        )

    for harm in (
        ("flush", "chain", "inet", table, "job_to_world"),
        ("insert", "rule", "inet", table, "job_to_host", "accept"),
        ("delete", "chain", "inet", table, "input"),
        ("flush", "table", "inet", table),
    ):
        nft(daemon.engine, *harm)
        expect(is_mended, f"the rules are as they were, after {harm}", seconds=60)
    expect(lambda: "put back" in daemon.local.checks()["network"]["evidence"], "the check tells of it")
    assert len(daemon.said("network.rules_put_back")) >= 4


def test_what_others_have_in_the_packet_filter_stays_to_the_letter_and_still_counts(
    make_here: MakeHere, network_host: PrivateEngine
) -> None:
    nft(network_host, "-f", "-", text=OTHERS)
    try:
        firewalld = nft(network_host, "-s", "list", "table", "inet", "firewalld")
        daemon = make_here({"network": {"dns": [world.DNS4]}}).start()
        # By then the engine has made the bridge, for which it has rules of its own.
        expect(lambda: daemon.local.checks()["network"]["state"] == "ok", "the rules are there")
        ours = tables_of(daemon)
        before = others(network_host, ours)
        nft(network_host, "delete", *ours[0].split())
        expect(lambda: tables_of(daemon) == ours, "the rules are back")
        assert others(network_host, ours) == before
        assert firewalld in before
        job = begin(daemon, [])
        # What we accept, another may refuse; what another accepts, we have refused before.
        with banner(daemon.net, "host", [HOST_PORT]):
            targets = [*at((world.PUBLIC4,), OUT_PORT, DNS_PORT), *at(gateways_of(daemon), HOST_PORT)]
            assert set(reached(job.net, targets)) == {(world.PUBLIC4, OUT_PORT)}
    finally:
        nft(network_host, "delete", "table", "inet", "firewalld")


def test_an_operator_who_allows_everything_opens_neither_the_host_nor_siblings_nor_metadata(
    make_here: MakeHere,
) -> None:
    """So each of these is shut by a rule of its own, and not by being private."""
    everything = {"egress_allow": ["0.0.0.0/0", "::/0"], "dns": [world.DNS4]}
    daemon = make_here({"network": everything, "ports": {"bind": ["0.0.0.0", "::"]}}).start()
    job, sibling = begin(daemon, []), begin(daemon, [{"name": "web", "port": 8080, "proto": "tcp"}])
    host = (world.HOST4, world.HOST6, *gateways_of(daemon))
    with (
        nobody_else_refuses(daemon.engine),
        banner(daemon.net, "host", [HOST_PORT], [HOST_PORT]),
        banner(sibling.net, "sibling", [8080], [8080]),
    ):
        assert len(sibling.addresses) == 2
        assert reached(daemon.net, at(sibling.addresses, 8080)) != {}
        for ask in (reached, answered):
            assert ask(job.net, at(sibling.addresses, 8080)) == {}
            assert ask(job.net, at(host, HOST_PORT, *sibling.host_ports)) == {}
            assert ask(job.net, at((world.METADATA4,), OUT_PORT)) == {}
            opened = at((*world.PRIVATE4, *world.PRIVATE6, world.PUBLIC6), OUT_PORT)
            assert set(ask(job.net, opened)) == set(opened)


def test_with_egress_none_nothing_is_reached_but_what_is_allowed_and_ports_are_still_served(
    make_here: MakeHere, wan: Wan
) -> None:
    network = {"egress": "none", "egress_allow": [world.ALLOWED4], "dns": [world.DNS4]}
    daemon = make_here({"network": network, "ports": {"bind": ["0.0.0.0", "::"]}}).start()
    job = begin(daemon, [{"name": "web", "port": 8080, "proto": "tcp"}])
    everything = (world.PUBLIC4, world.PUBLIC6, world.ALLOWED4, world.METADATA4, *world.PRIVATE4)
    assert set(reached(job.net, at(everything, OUT_PORT))) == {(world.ALLOWED4, OUT_PORT)}
    assert set(answered(job.net, at((world.DNS4,), DNS_PORT))) == {(world.DNS4, DNS_PORT)}
    with banner(job.net, "job", [8080]):
        assert set(reached(wan.net, at((world.HOST4, world.HOST6), *job.host_ports)).values()) == {"job"}


def test_with_egress_none_and_nothing_allowed_not_even_names_are_asked_for(make_here: MakeHere) -> None:
    daemon = make_here({"network": {"egress": "none", "dns": [world.DNS4]}}).start()
    job = begin(daemon, [])
    everything = at((world.PUBLIC4, world.PUBLIC6, world.DNS4), OUT_PORT, DNS_PORT)
    assert reached(job.net, everything) == {}
    assert answered(job.net, everything) == {}


def test_a_restart_with_other_settings_holds_running_jobs_to_them_and_leaves_no_gap(
    make_here: MakeHere,
) -> None:
    daemon = make_here({"network": {"dns": [world.DNS4]}}).start()
    job = begin(daemon, [])
    connection = job.net.connect(OUT_PORT, world.PUBLIC4, 5)
    assert connection.recv(100) == b"world"
    daemon.kill()
    assert len(tables_of(daemon)) == 1  # they outlive the agent
    daemon.write_config({"network": {"dns": [world.DNS4], "deny": [world.PUBLIC4]}})
    daemon.start()
    expect(lambda: daemon.local.checks()["network"]["state"] == "ok", "the rules are in place")
    connection.settimeout(3)
    connection.sendall(b"still there?")
    with connection, pytest.raises(TimeoutError):
        connection.recv(100)


def test_taking_the_agent_off_removes_the_bridge_and_then_the_rules_and_nothing_else(
    make_here: MakeHere, network_host: PrivateEngine
) -> None:
    before = tables(network_host)
    daemon = make_here({}).start()
    job = begin(daemon, [])
    refused = command(daemon, "network", "remove")
    assert (refused.returncode, "in use" in refused.stderr or "another" in refused.stderr) == (1, True), (
        refused.stderr
    )
    assert len(tables_of(daemon)) == 1
    assert daemon.stop() == 0
    refused = command(daemon, "network", "remove")
    assert refused.returncode == 1, refused.stdout
    assert "containers are on the network" in refused.stderr
    assert len(tables_of(daemon)) == 1
    daemon.start()
    daemon.local.cancel(job.id, grace=0)
    daemon.local.wait_finished(job.id)
    assert daemon.stop() == 0
    done = command(daemon, "network", "remove", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["removed"]) == 2
    assert tables(network_host) == before
    assert network_host.request("GET", f"/networks/{daemon.bridge}")[0] == 404
    again = command(daemon, "network", "remove", "--json")
    assert (again.returncode, json.loads(again.stdout)) == (0, {"removed": []})


def test_the_doctor_tries_the_rules_and_places_none(make_here: MakeHere) -> None:
    daemon = make_here({})
    done = command(daemon, "doctor", "--json")
    (check,) = [one for one in json.loads(done.stdout)["checks"] if one["name"] == "network"]
    assert (check["state"], "takes the rules" in check["evidence"]) == ("ok", True), check
    assert tables_of(daemon) == []


def test_a_filter_of_bridged_packets_that_somebody_turned_off_stops_new_jobs(
    make_here: MakeHere, network_host: PrivateEngine
) -> None:
    daemon = make_here({}).start()
    begin(daemon, [])  # the bridge is there: the engine does not turn it on again
    switch = [*network_host.prefix, "sysctl", "-qw"]
    subprocess.run([*switch, "net.bridge.bridge-nf-call-ip6tables=0"], check=True, timeout=30)
    try:
        waits = daemon.local.submit("true", network="egress")
        expect(lambda: daemon.local.job(waits)["waiting_for"] == "network", "the job waits")
        expect(lambda: daemon.local.checks()["network"]["state"] == "fail", "it was noticed")
        reply = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true", network="egress"))
        assert reply.status == 422
        assert "bridge-nf-call-ip6tables is 0" in reply.json["faults"][0]["message"]
    finally:
        subprocess.run([*switch, "net.bridge.bridge-nf-call-ip6tables=1"], check=True, timeout=30)
    assert daemon.local.wait_finished(waits)["outcome"] == "succeeded"


def test_an_agent_in_another_network_namespace_than_the_engines_starts_no_job_with_a_network(
    make_here: MakeHere,
) -> None:
    daemon = make_here({})
    daemon.wrapper = ["unshare", "--net"]
    daemon.start()
    expect(lambda: daemon.local.checks()["network"]["state"] == "fail", "the check has failed")
    reply = daemon.local.call("POST", "/v1/jobs", daemon.local.spec("true", network="egress"))
    assert reply.status == 422
    assert "not in the agent's network namespace" in reply.json["faults"][0]["message"]


def test_a_daemon_that_is_killed_as_it_puts_rules_leaves_none_or_all(make_here: MakeHere) -> None:
    daemon = make_here({})
    daemon.launch(lambda line: line.get("event") == "daemon.started")
    assert daemon.wait_killed()
    daemon.start()
    expect(lambda: daemon.local.checks()["network"]["state"] == "ok", "the rules are in place")
    assert len(tables_of(daemon)) == 1
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
