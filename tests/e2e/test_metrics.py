"""/metrics of a real daemon: what it tells before, during and after a job, and that no SIGKILL makes a counter of ends a wrong one."""

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.client import Client, expect
from tests.e2e.daemon import Daemon

WAITS = "echo up; while [ ! -e /outputs/go ]; do sleep 0.05; done; exit 3"
Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(client: Client) -> Read:
    reply = client.call("GET", "/metrics")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    return {
        (sample.name.removeprefix("gpu_agent_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }


def value(client: Client, name: str, **labels: str) -> float | None:
    return scrape(client).get((name, tuple(sorted(labels.items()))))


def failed(client: Client) -> float | None:
    return value(client, "jobs_finished_total", outcome="failed", reason="exit_nonzero")


def running(client: Client) -> float | None:
    return value(client, "jobs", phase="running", queue="default")


def test_a_job_is_told_while_it_runs_and_its_end_is_counted_once_across_kills(daemon: Daemon) -> None:
    scraper = daemon.client(daemon.token("prometheus", ["jobs:all"]))
    before = scrape(scraper)
    assert (failed(scraper), running(scraper)) == (None, 0)
    job_id = daemon.local.submit(
        WAITS,
        ports=[{"name": "web", "port": 8080, "proto": "http"}],
        retry={"count": 1, "backoff": 0},
        network="egress",
    )
    expect(lambda: running(scraper) == 1, "the job is told to run")
    assert value(scraper, "ports", state="leased") == 1

    daemon.kill()
    daemon.start()
    assert running(scraper) == 1
    (daemon.state / "jobs" / job_id / "outputs" / "go").touch()
    daemon.local.wait_finished(job_id)
    after = scrape(scraper)
    assert (failed(scraper), value(scraper, "job_retries_total")) == (1, 1)
    assert (running(scraper), value(scraper, "ports", state="leased")) == (0, 0)

    daemon.kill()
    daemon.start()
    assert daemon.local.call("DELETE", f"/v1/jobs/{job_id}").status == 204
    assert (failed(scraper), value(scraper, "job_retries_total"), value(scraper, "jobs_kept")) == (1, 1, 0)
    # Each start is a life of its own to what counts from it.
    began = ("start_time_seconds", ())
    assert before[began] < after[began] < scrape(scraper)[began]


def test_every_check_of_health_is_told(daemon: Daemon) -> None:
    checks = {check["name"]: check["state"] for check in daemon.local.call("GET", "/health").json["checks"]}
    told = {
        dict(labels)["check"]: dict(labels)["state"]
        for (name, labels), one in scrape(daemon.local).items()
        if name == "health_check" and one == 1
    }
    assert told.keys() == checks.keys()
    assert told["engine"] == checks["engine"] == "ok"
