"""The row of a container that lost its own holds what the container has, or another job would be given it."""

from agent.core.container import PublishedPort
from agent.core.function import FunctionCall
from agent.core.job import Run
from agent.core.reconcile import may_see_sdk, restore
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


CALL = FunctionCall("trainer", "v1", "train", "main.py")


def test_only_a_function_whose_container_was_planned_may_see_an_earlier_sdk() -> None:
    planned = Run(plan="digest")
    assert may_see_sdk(make_job(call=CALL, run=planned, phase=Phase.STARTING))
    assert not may_see_sdk(make_job(call=CALL))
    assert not may_see_sdk(make_job(run=planned, phase=Phase.RUNNING))
