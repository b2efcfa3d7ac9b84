"""spec/composing — the spec of a function's job: out of the deploy, the chute's machine, the decorator and the start. Pure.

Field by field, the later over the earlier: the base, NodeSelector's GPUs, the deploy's `spec`, the decorator, the start's `spec`. A field
that is given is taken whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from agent.spec.deploy import Deploy, find_start_faults
from agent.spec.faults import Fault, SpecRefusedError
from agent.spec.forms import Body
from agent.spec.job import JobSpec
from agent.spec.limits import SSH_PORT
from agent.spec.manifest import MAX_FUNCTIONS, JobFunction, Manifest, NodeSelector, field_of
from agent.spec.models import match_models
from agent.spec.parse import parse_spec
from agent.spec.ports import SSH_PORT_NAME
from agent.spec.ssh_keys import Keys
from agent.spec.upload import OF_SENDING

PROGRAM: Body = {"entrypoint": ["python3"], "command": ["/.agent/sdk/chutes_launch.py"]}
GB = 10**9
# An import that takes longer, or more, is no declaration of functions.
DESCRIBE_SECONDS, DESCRIBE_GRACE_SECONDS = 60, 5
# What the author's import may need of the deploy's spec, and costs the host nothing.
OF_DESCRIBE = ("registry", "env", "user", "workdir", "cpus", "memory", "shm", "pids")
# A cord host is stopped by its idleness alone. What nobody could reach, read or wait for in it is not asked for.
CORDS_GRACE_SECONDS = 10
NOT_OF_CORDS = ("ssh", "notify", "gpus", "not_before")
# By the name of a spec's field what its author wrote in the decorator.
DECORATED = {"retry.count": "retry_count"}
OF_MACHINE = {"gpus.count": "gpu_count", "gpus.min_memory": "min_vram_gb_per_gpu", "gpus.models": "include"}


def compose(
    deploy: Deploy, manifest: Manifest, function: JobFunction, started: Body, models: Sequence[str]
) -> Body:
    """The body of the job's spec, by which `parse_spec(…, Keys.LATER)` judges it. `models`: of the host's GPUs, where the selector names some.

    Raises SpecRefusedError for what the start may not say.
    """
    faults = find_start_faults(started)
    if faults:
        raise SpecRefusedError(faults)
    body: Body = {
        **PROGRAM,
        **_machine(manifest.chute.node_selector, models),
        **deploy.base,
        **_decorated(function, deploy),
        **started,
    }
    if not function.upload:
        body["outputs"] = _kept_here(body.get("outputs"))
    return body


def compose_describe(deploy: Deploy) -> Body:
    """The body of the spec of the job that imports the file and reports what it declares."""
    base = {name: value for name, value in deploy.base.items() if name in ("image", *OF_DESCRIBE)}
    return {
        **base,
        **PROGRAM,
        "network": "none",
        "timeout": DESCRIBE_SECONDS,
        "grace": DESCRIBE_GRACE_SECONDS,
        # The host's own mishaps are no fault of the file.
        "retry": {"count": 2, "on": ["lost"], "backoff": 1},
    }


def compose_cords(deploy: Deploy) -> Body:
    """The body of the spec of the job that answers the chute's cords."""
    base = {name: value for name, value in deploy.base.items() if name not in NOT_OF_CORDS}
    body: Body = {
        **base,
        **PROGRAM,
        "grace": CORDS_GRACE_SECONDS,
        "outputs": _kept_here(base.get("outputs")),
    }
    if deploy.cords_gpus is not None:
        body["gpus"] = deploy.cords_gpus
    return body


def specs_of(deploy: Deploy, manifest: Manifest) -> Iterator[tuple[JobFunction, JobSpec]]:
    """Each function with its spec as it would be started, where `find_function_faults` finds nothing."""
    for function in manifest.jobs:
        yield function, parse_spec(compose(deploy, manifest, function, {}, ()), Keys.LATER)


def find_function_faults(deploy: Deploy, manifest: Manifest) -> Iterator[Fault]:
    """What the spec's rules say of each function as it would be started, at the author's own words: `jobs.NAME.ports[0].port`."""
    for function in manifest.jobs[:MAX_FUNCTIONS]:
        try:
            parse_spec(compose(deploy, manifest, function, {}, ()), Keys.LATER)
        except SpecRefusedError as refused:
            yield from (place_in_file(fault, function.name) for fault in refused.faults)


def place_in_file(fault: Fault, function: str) -> Fault:
    """A fault of a composed spec as one of the decorator."""
    if fault.field.partition(".")[0] == "gpus":
        return replace(fault, field=f"chute.node_selector.{OF_MACHINE.get(fault.field, fault.field)}")
    return replace(fault, field=field_of(function, DECORATED.get(fault.field, fault.field)))


def _machine(selector: NodeSelector | None, models: Sequence[str]) -> Body:
    if selector is None:
        return {}
    gpus: Body = {"count": selector.gpu_count}
    if selector.min_vram_gb_per_gpu is not None:
        # As cards are sold: one of 80 GB has less than 80 GiB.
        gpus["min_memory"] = selector.min_vram_gb_per_gpu * GB
    if selector.names_models:
        gpus["models"] = match_models(models, selector.include or (), selector.exclude or ())
    return {"gpus": gpus}


def _decorated(function: JobFunction, deploy: Deploy) -> Body:
    ports = [port.model_dump() for port in function.ports]
    body: Body = {
        "ports": [port for port in ports if not (function.ssh and _is_ssh(port))],
        "timeout": function.timeout,
        "retry": {"count": function.retry_count, "on": ["failed", "lost", "timed_out"]},
        "queue": function.queue,
        "priority": function.priority,
    }
    if function.ssh and not isinstance(deploy.spec.get("ssh"), dict):
        # Nobody may log in yet: keys are brought while the job runs.
        body["ssh"] = {"authorized_keys": []}
    return body


def _is_ssh(port: Body) -> bool:
    """The port that comes with SSH by itself, however often it is told."""
    return (port["name"], port["port"], port["proto"]) == (SSH_PORT_NAME, SSH_PORT, "tcp")


def _kept_here(outputs: object) -> Body:
    """What is written stays on this host: the folder's path is all that is left to say."""
    if not isinstance(outputs, dict):
        return {}
    return {name: value for name, value in outputs.items() if name not in {"upload", *OF_SENDING}}
