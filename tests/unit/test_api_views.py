"""What the API shows of a job between its steps."""

from dataclasses import replace

from agent.api.views import Addresses, show_job, show_ports
from agent.core.job import ExitFacts, Lease, PortLease, Run, Verdict
from agent.core.ports import NatMap
from agent.errors import Phase
from agent.spec import Proto
from tests.unit.core_values import make_job

ADDRESSES = Addresses("127.0.0.1", NatMap(""))


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


def test_the_words_of_what_a_job_waits_for_are_shown_while_it_waits() -> None:
    words = "GPU-1, which needs a reset"
    waits = make_job({"gpus": 2}, waiting_for="gpu_repair", waiting_words=words)
    assert show_job(waits, (), ADDRESSES)["waiting_words"] == words
    assert show_job(replace(waits, waiting_for=None), (), ADDRESSES)["waiting_words"] is None


WEB = make_job(
    {"ports": [{"name": "web", "port": 8080, "proto": "http"}]},
    phase=Phase.RUNNING,
    lease=Lease(ports=(PortLease("web", 8080, Proto.HTTP, 20_005),)),
)


def test_a_port_behind_nat_is_shown_as_it_is_reached_from_outside() -> None:
    nat = NatMap("gpu.example.org", ((20_000, 20_009, 40_000),))
    (port,) = show_ports(WEB, Addresses("192.0.2.9", nat))
    assert (port["host"], port["host_port"]) == ("192.0.2.9", 20_005)
    assert (port["external_host"], port["external_port"]) == ("gpu.example.org", 40_005)
    assert port["url"] == "http://gpu.example.org:40005"


def test_a_port_without_nat_has_no_outside() -> None:
    (port,) = show_ports(WEB, ADDRESSES)
    assert (port["external_host"], port["external_port"]) == (None, None)
    assert port["url"] == "http://127.0.0.1:20005"


def test_a_port_of_a_job_that_holds_no_lease_leads_nowhere() -> None:
    (port,) = show_ports(replace(WEB, lease=None), ADDRESSES)
    assert (port["name"], port["port"]) == ("web", 8080)
    assert {port[name] for name in ("host", "host_port", "external_host", "external_port", "url")} == {None}
