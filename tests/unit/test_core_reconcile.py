"""The row of a container that lost its own holds what the container has, or another job would be given it."""

from agent.core.container import PublishedPort
from agent.core.reconcile import restore
from agent.errors import Phase
from tests.unit.core_values import make_container, make_job

WEB = {"name": "web", "port": 8080, "proto": "tcp"}


def test_a_restored_row_holds_the_gpus_and_ports_of_its_container() -> None:
    container = make_container(
        attempt=3, gpus=("GPU-1", "MIG-2"), ports=(PublishedPort(8080, "tcp", "", 20007),)
    )
    job = restore(make_job({"gpus": 2, "ports": [WEB]}), container, "boot-1")
    assert (job.phase, job.attempt) == (Phase.STARTING, 3)
    assert job.lease is not None
    assert job.lease.gpus == ("GPU-1", "MIG-2")
    assert [(port.name, port.host_port) for port in job.lease.ports] == [("web", 20007)]
