"""What the API shows of a job between its steps."""

from dataclasses import replace

import pytest

from agent.api.views import Addresses, show_attempt, show_job, show_ports
from agent.core.gpu_usage import GpuUsage, GpuUse, Sum
from agent.core.job import ClosedAttempt, ExitFacts, Outcome, Run, Verdict
from agent.core.lease import Lease, PortLease
from agent.core.ports import NatMap
from agent.errors import Phase
from agent.spec import Proto
from tests.unit.core_values import make_job

ADDRESSES = Addresses(("127.0.0.1",), NatMap(""))


def test_gpu_seconds_are_counted_also_once_the_lease_is_freed() -> None:
    ended = ExitFacts(Verdict.OWN, code=0, started_at=100.0, finished_at=110.0)
    freed = replace(
        make_job({"gpus": 2}, lease=None),
        phase=Phase.UPLOADING,
        run=Run(exit=ended, held=Lease(("GPU-1", "GPU-2"))),
    )
    leased = replace(freed, lease=freed.run.held, run=Run(exit=ended))
    for job in (freed, leased):
        shown = show_job(job, (), ADDRESSES)["exit"]
        assert isinstance(shown, dict)
        assert shown["gpu_seconds"] == 20.0


def test_a_job_without_gpus_says_the_same_of_its_end_as_its_attempt_does() -> None:
    ended = ExitFacts(Verdict.OWN, code=0, started_at=100.0, finished_at=110.0)
    attempt = ClosedAttempt(1, Outcome.SUCCEEDED, None, ended, Lease(), "c1", 111.0)
    over = replace(make_job({}, lease=None), phase=Phase.FINISHED, run=Run(exit=ended))
    shown = show_job(over, (attempt,), ADDRESSES)
    assert shown["exit"] == show_attempt(attempt, ADDRESSES)["exit"]


def test_the_words_of_what_a_job_waits_for_are_shown_while_it_waits() -> None:
    words = "GPU-1, which needs a reset"
    waits = make_job({"gpus": 2}, waiting_for="gpu_repair", waiting_words=words)
    assert show_job(waits, (), ADDRESSES)["waiting_words"] == words
    assert show_job(replace(waits, waiting_for=None), (), ADDRESSES)["waiting_words"] is None


USAGE = GpuUsage((GpuUse("GPU-1", 10, Sum(5.0, 10.0), Sum(3000.0, 10.0), Sum(0, 10)), GpuUse("GPU-2")), None)
LEASED = Lease(("GPU-1", "GPU-2"))
ENDED = ExitFacts(Verdict.OWN, code=1, started_at=100.0, finished_at=110.0)


def test_figures_of_gpus_say_over_how_much_time_they_are_known_and_what_is_not_known_is_null() -> None:
    attempt = ClosedAttempt(1, Outcome.FAILED, None, ENDED, LEASED, "c1", 111.0, USAGE)
    shown = show_attempt(attempt, ADDRESSES)["gpu_usage"]
    one = {"peak_memory": 10, "utilisation": 50.0, "utilisation_seconds": 10.0, "energy": 3000.0, "energy_seconds": 10.0, "slowdown_seconds": 0}  # fmt: skip
    two = {"peak_memory": None, "utilisation": None, "utilisation_seconds": 0.0, "energy": None, "energy_seconds": 0.0, "slowdown_seconds": None}  # fmt: skip
    assert shown == {
        "gpu_seconds": 20.0,
        **one,
        "peak_memory": None,
        "gpus": [{"uuid": "GPU-1", **one}, {"uuid": "GPU-2", **two}],
    }


def test_the_figures_of_a_job_are_those_of_all_its_attempts_each_once() -> None:
    first = ClosedAttempt(1, Outcome.FAILED, None, ENDED, LEASED, "c1", 111.0, USAGE)
    closing = replace(
        make_job({"gpus": 2}),
        phase=Phase.STOPPING,
        attempt=2,
        run=Run(exit=ENDED, held=LEASED, gpu_usage=USAGE),
    )
    closed = replace(first, number=2)
    for attempts in ([first], [first, closed]):
        shown = show_job(closing, attempts, ADDRESSES)["gpu_usage"]
        assert isinstance(shown, dict)
        assert (shown["gpu_seconds"], shown["energy"], shown["energy_seconds"]) == (40.0, 6000.0, 20.0)
        assert len(shown["gpus"]) == 2


def test_a_job_without_gpus_has_no_figures_of_them_and_one_of_which_nothing_is_known_has_its_time() -> None:
    closed = ClosedAttempt(1, Outcome.SUCCEEDED, None, ENDED, Lease(), "c1", 111.0)
    assert show_job(make_job(), [closed], ADDRESSES)["gpu_usage"] is None
    assert show_job(make_job(), [], ADDRESSES)["gpu_usage"] is None
    unknown = show_job(make_job(), [replace(closed, lease=LEASED)], ADDRESSES)["gpu_usage"]
    assert isinstance(unknown, dict)
    assert (unknown["gpu_seconds"], unknown["energy"], unknown["gpus"]) == (20.0, None, [])


WEB = make_job(
    {"ports": [{"name": "web", "port": 8080, "proto": "http"}]},
    phase=Phase.RUNNING,
    lease=Lease(ports=(PortLease("web", 8080, Proto.HTTP, 20_005),)),
)


def test_a_port_behind_nat_is_shown_as_it_is_reached_from_outside() -> None:
    nat = NatMap("gpu.example.org", ((20_000, 20_009, 40_000),))
    (port,) = show_ports(WEB, Addresses(("192.0.2.9",), nat))
    assert (port["host"], port["host_port"]) == ("192.0.2.9", 20_005)
    assert (port["external_host"], port["external_port"]) == ("gpu.example.org", 40_005)
    assert port["url"] == "http://gpu.example.org:40005"


@pytest.mark.parametrize(
    ("bind", "host"),
    [
        (("0.0.0.0", "::"), "127.0.0.1"),
        (("::",), "::1"),
        (("2001:db8::1", "192.0.2.9"), "2001:db8::1"),
    ],
)
def test_the_host_of_a_port_is_the_first_address_that_it_is_published_on(
    bind: tuple[str, ...], host: str
) -> None:
    (port,) = show_ports(WEB, Addresses(bind, NatMap("")))
    assert port["host"] == host
    assert port["url"] == f"http://{f'[{host}]' if ':' in host else host}:20005"


def test_a_port_without_nat_has_no_outside() -> None:
    (port,) = show_ports(WEB, ADDRESSES)
    assert (port["external_host"], port["external_port"]) == (None, None)
    assert port["url"] == "http://127.0.0.1:20005"


def test_a_port_of_a_job_that_holds_no_lease_leads_nowhere() -> None:
    (port,) = show_ports(replace(WEB, lease=None), ADDRESSES)
    assert (port["name"], port["port"]) == ("web", 8080)
    assert {port[name] for name in ("host", "host_port", "external_host", "external_port", "url")} == {None}
