"""jobs/chutes/judging — what a describe job brought to light, judged: a manifest, or every fault in words for its author. Stores nothing."""

from collections.abc import Iterator
from dataclasses import replace

from agent.core.chute import Described
from agent.core.job import Reason
from agent.core.policy import Policy
from agent.core.reasons import reason
from agent.errors import AgentError, Phase
from agent.interfaces import ChuteFilesMissingError
from agent.jobs.host_limits import find_host_faults
from agent.spec import (
    Deploy,
    Fault,
    JobSpec,
    Manifest,
    SpecRefusedError,
    find_cord_faults,
    find_function_faults,
    place,
    place_in_file,
    read_manifest,
    specs_of,
)


def judge(data: bytes, deploy: Deploy, policy: Policy) -> Described:
    """Raises DeployRefusedError where the data are no manifest."""
    manifest, faults = read_manifest(data)
    faults += find_function_faults(deploy, manifest)
    faults += find_cord_faults(manifest.cords)
    if not faults:
        faults += _find_host_faults(deploy, manifest, policy)
    if faults:
        return Described(None, tuple(dict.fromkeys(faults)))
    return Described(manifest)


def find_door_faults(deploy: Deploy, spec: JobSpec, policy: Policy) -> list[Fault]:
    """What this host refuses of the defaults alone, before anything is run."""
    return [place(fault, deploy) for fault in find_host_faults(spec, policy)]


def refused_by(error: AgentError) -> Described:
    """The version is refused by what was raised as its describe job was sent or read."""
    if isinstance(error, SpecRefusedError):
        return Described(None, error.faults)
    if isinstance(error, ChuteFilesMissingError):
        return Described(None, (Fault("code", error.code, str(error), error.remedy),))
    raise TypeError(error)


def place_reason(why: Reason | None, job_id: str) -> Fault:
    """Why the describe job did not succeed, as a fault of the deploy. None: it succeeded, and left no manifest."""
    why = why or reason("no_result")
    # What fails before the program runs is the image's, or the host's; then it is the code's.
    if why.phase is not Phase.RUNNING:
        return Fault("image", why.code, why.message, why.remedy)
    # No list shows that job, and what the program printed may be all that tells what is wrong with an image's Python.
    return Fault(
        "code", why.code, why.message, f"{why.remedy} `gpu-agent logs {job_id}` has all that was printed."
    )


def _find_host_faults(deploy: Deploy, manifest: Manifest, policy: Policy) -> Iterator[Fault]:
    for function, spec in specs_of(deploy, manifest):
        for fault in find_host_faults(spec, policy):
            if place(fault, deploy) == fault:
                yield place_in_file(fault, function.name)
            else:
                yield replace(fault, field=f"spec.{fault.field}")
