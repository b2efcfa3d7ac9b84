"""Published ports: twenty jobs on a range of five, strangers on ports, and a kill in the middle of a move."""

import uuid
from collections import Counter

from tests.e2e.client import Client, Json, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon

PORTS = [{"name": "web", "port": 8080, "proto": "tcp"}]
# Answers one connection with its attempt's container, then ends.
SERVE_ONE = "echo $HOSTNAME > /outputs/who; nc -l -p 8080 -e cat /outputs/who"


def narrow(daemon: Daemon, count: int) -> Daemon:
    daemon.write_config(
        {
            "ports": {"range": f"{daemon.first_port}-{daemon.first_port + count - 1}"},
            "queues.default": {"concurrency": 50},
        }
    )
    return daemon


def serve(client: Client, script: str = SERVE_ONE, **fields: object) -> str:
    return client.submit(script, network="egress", ports=PORTS, **fields)


def ask(daemon: Daemon, port: int) -> bytes:
    """Until somebody answers: the engine's proxy accepts before the program listens."""
    answers: list[bytes] = []

    def answered() -> bool:
        with daemon.net.connect(port, seconds=5) as sock:
            answers.append(sock.recv(100))
        return answers[-1] != b""

    expect(answered, f"port {port} answers")
    return answers[-1].strip()


def test_twenty_jobs_at_once_share_five_ports_and_none_gets_anothers(make_daemon: Make) -> None:
    daemon = narrow(make_daemon(), 5).start()
    ids = [serve(daemon.local) for _ in range(20)]
    reached: dict[str, bytes] = {}

    def reach_those_that_run() -> bool:
        held = daemon.held_ports()
        assert len(held) == len(set(held)) <= 5, held
        for job in daemon.local.jobs():
            if job["phase"] == "running" and job["id"] not in reached:
                reached[job["id"]] = ask_if_it_still_listens(daemon, job)
        return len(reached) == len(ids)

    expect(reach_those_that_run, "each job was reached at its own port", seconds=120)
    for job_id in ids:
        job = daemon.local.wait_finished(job_id)
        assert job["outcome"] == "succeeded", job["reason"]
        who = daemon.local.call("GET", f"/v1/jobs/{job_id}/outputs/who").body.strip()
        assert reached[job_id] == who
    assert daemon.held_ports() == []


def ask_if_it_still_listens(daemon: Daemon, job: Json) -> bytes:
    return ask(daemon, job["ports"][0]["host_port"])


def test_a_port_of_a_stranger_is_passed_over_and_named_as_bad(make_daemon: Make) -> None:
    daemon = narrow(make_daemon(), 3)
    with daemon.net.listen(daemon.first_port):
        daemon.start()
        job_id = serve(daemon.local)
        job = daemon.local.wait_phase(job_id, "running")
        assert job["ports"][0]["host_port"] != daemon.first_port
        assert ask(daemon, job["ports"][0]["host_port"])
        job = daemon.local.wait_finished(job_id)
    assert (job["outcome"], job["attempt"]) == ("succeeded", 1)
    assert daemon.local.call("GET", "/v1/host").json["ports"]["bad"] >= 1
    expect(lambda: not daemon.containers(), "the container of the first lease is gone")


def test_a_range_that_strangers_hold_whole_fails_as_the_hosts_fault(make_daemon: Make) -> None:
    daemon = narrow(make_daemon(), 4)
    strangers = [daemon.net.listen(daemon.first_port + number) for number in range(4)]
    try:
        daemon.start()
        job_id = serve(daemon.local)
        job = daemon.local.wait_finished(job_id)
    finally:
        for stranger in strangers:
            stranger.close()
    assert (job["outcome"], job["reason"]["code"], job["reason"]["blame"]) == ("failed", "port_taken", "host")
    assert daemon.containers() == []


def test_a_kill_between_the_new_lease_and_the_old_containers_end_leaves_one_container(
    make_daemon: Make,
) -> None:
    moved: list[str] = []

    def second_lease(line: Json) -> bool:
        if line.get("event") == "queue.decided" and line.get("phase") == "starting":
            moved.append("lease")
        return len(moved) == 2

    for point in (second_lease, lambda line: line.get("step") == "Remove"):
        moved.clear()
        daemon, job_id = narrow(make_daemon(), 3), str(uuid.uuid4())
        with daemon.net.listen(daemon.first_port):
            daemon.launch(point)
            daemon.wait_ready()
            body = daemon.local.spec(SERVE_ONE, network="egress", ports=PORTS)
            assert daemon.local.call("PUT", f"/v1/jobs/{job_id}", body).status == 201
            assert daemon.wait_killed()
            daemon.start()
            job = daemon.local.wait_phase(job_id, "running")
            assert Counter(container["State"] for container in daemon.containers()) == {"running": 1}
            assert daemon.held_ports() == [job["ports"][0]["host_port"]]
            ask(daemon, job["ports"][0]["host_port"])
        assert daemon.local.wait_finished(job_id)["outcome"] == "succeeded"
        assert daemon.count_starts(job_id) == 1
