"""What the API shows of a job between its steps."""

from dataclasses import replace

from agent.api.views import Addresses, show_job
from agent.core.job import ExitFacts, Lease, Run, Verdict
from agent.core.ports import NatMap
from agent.errors import Phase
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
