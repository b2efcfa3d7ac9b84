"""core/injection — how leased GPUs reach their container, and which CPUs are near them. Pure: facts in; a way, or why there is none, out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.core.container import Cpuset, EngineFacts, Injection
from agent.core.job import FailureKind, StartFailure
from agent.core.policy import InjectionWish

NVIDIA_RUNTIME = "nvidia"
UUID_PREFIXES = ("GPU-", "MIG-")


@dataclass(frozen=True, slots=True)
class Handover:
    """What the plan of a container says of its GPUs beside their names."""

    injection: Injection | None = None
    cpuset: Cpuset | None = None


NOTHING_TO_HAND_OVER = Handover()


def choose_injection(
    wish: InjectionWish, facts: EngineFacts, runtime: str | None, gpus: Sequence[str]
) -> Injection | StartFailure:
    """`runtime`: the one that the operator gave to all jobs. Where CDI was asked for, the engine is the judge of the names."""
    no_cdi, no_runtime = why_not_cdi(facts, gpus), why_not_runtime(facts, runtime)
    match wish:
        case InjectionWish.CDI if facts.cdi_dirs:
            return Injection.CDI
        case InjectionWish.AUTO if no_cdi is None:
            return Injection.CDI
        case InjectionWish.AUTO | InjectionWish.NVIDIA if no_runtime is None:
            return Injection.NVIDIA
        case InjectionWish.CDI:
            return _no_way(f"{no_cdi} ([gpus] injection is cdi)")
        case InjectionWish.NVIDIA:
            return _no_way(f"{no_runtime} ([gpus] injection is nvidia)")
    if named_gpus(facts):  # of others: those may do
        return StartFailure(FailureKind.GPU, "gpu_start_failed", f"{no_cdi}, and {no_runtime}")
    return _no_way(f"{no_cdi}, and {no_runtime}")


def named_gpus(facts: EngineFacts) -> list[str]:
    """What the specs name by UUID. An index (`0`), as older tools write it, is no name: it may be another's after a reboot."""
    return sorted(name for name in facts.cdi_gpus if name.startswith(UUID_PREFIXES))


def why_not_cdi(facts: EngineFacts, gpus: Sequence[str]) -> str | None:
    """None: the engine's specs name them all."""
    if not facts.cdi_dirs:
        return "CDI is off in the engine"
    where = f"no CDI spec in {' or '.join(facts.cdi_dirs)} names"
    if not named_gpus(facts):
        return f"{where} a GPU by its UUID"
    unnamed = [uuid for uuid in gpus if uuid not in facts.cdi_gpus]
    return f"{where} {', '.join(unnamed)}" if unnamed else None


def why_not_runtime(facts: EngineFacts, runtime: str | None) -> str | None:
    """A container has one runtime: GPUs never take it out of the one that the operator confines jobs with."""
    if runtime not in {None, NVIDIA_RUNTIME}:
        return f"all jobs run under the runtime {runtime}, so not under {NVIDIA_RUNTIME}"
    if NVIDIA_RUNTIME not in facts.runtimes:
        return f"the engine has no runtime {NVIDIA_RUNTIME}"
    return None


def blamed_gpus(leased: Sequence[str], told: str) -> list[str]:
    """Those that the engine's words name; it often says no more than that something of NVIDIA's failed: then all."""
    return [uuid for uuid in leased if uuid in told] or list(leased)


def near_cpus(nodes: Sequence[int | None], node_cpus: Mapping[int, str]) -> Cpuset | None:
    """`nodes`: the NUMA node of each GPU. None: one of them is not known, and a job is not kept from what may be its nearest."""
    known = sorted({node for node in nodes if node is not None and node in node_cpus})
    if not known or any(node not in known for node in nodes):
        return None
    return Cpuset(",".join(node_cpus[node] for node in known), ",".join(map(str, known)))


def _no_way(why: str) -> StartFailure:
    """Of the host as a whole: other GPUs would not help."""
    return StartFailure(FailureKind.ENGINE, "gpu_injection_missing", why)
