"""jobs/gpu_probes — what /health and the doctor look at of GPUs: how each is, and by what containers get them."""

from collections.abc import Callable, Sequence

from agent.core.container import EngineFacts, Injection
from agent.core.event_form import show_time
from agent.core.gpu_findings import GpuState, public_words
from agent.core.gpu_record import GpuHealth
from agent.core.injection import choose_injection, named_gpus, why_not_cdi
from agent.core.job import StartFailure
from agent.core.policy import InjectionWish
from agent.interfaces import Engine
from agent.jobs.gpu_care import GpuCare, GpusKnown
from agent.jobs.health import CheckState, Finding, Probe

WRITE_SPEC = "`nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
MAKE_RUNTIME = (
    "Run `nvidia-ctk runtime configure --runtime=docker` and restart the engine, "
    'or set injection = "auto" under [gpus].'
)
TURN_CDI_ON = (
    'Set "features": {"cdi": true} (Docker 25 and 26: "experimental": true) in /etc/docker/daemon.json, '
    f"restart the engine, and run {WRITE_SPEC}."
)


READ_LOG = (
    "Give the agent CAP_SYSLOG and the device (systemd/gpu-agent.service does; in a container: --cap-add SYSLOG "
    "--device /dev/kmsg), or set kernel_log under [gpus]; then restart it."
)


NAME_THEM = "Name GPUs as `gpu-agent gpus ls` shows them; the key is read at the start."


def gpus_probe(care: GpuCare) -> Probe:
    """Whether every GPU is well; of each that is not: what is wrong, and what it waits for. A host without any is well, unless
    the config names one.
    """

    async def probe() -> Finding:
        known = await care.known()
        count = len(known.inventory.gpus)
        healths = [known.healths.get(gpu.uuid) for gpu in known.inventory.gpus]
        unwell = [health for health in healths if health is not None and health.state is not GpuState.OK]
        if not unwell:
            told = (
                f"{count} GPUs, all well" if count else f"no GPUs: {known.condition or 'the host has none'}"
            )
            if unheard_of := _find_unheard_of(known, care.settings.use):
                told = f"[gpus] use names {', '.join(unheard_of)}, and there is no such GPU; {told}"
                return Finding(CheckState.WARN, told, NAME_THEM)
            return Finding(CheckState.OK, told)
        state = CheckState.FAIL if len(unwell) == count else CheckState.WARN
        remedy = "`gpu-agent gpus show GPU` tells more; docs/operations.md says what to do for each."
        private = "; ".join(_describe_unwell(health, health.words) for health in unwell)
        told = "; ".join(
            _describe_unwell(health, public_words(health.reason, health.words)) for health in unwell
        )
        return Finding(state, told, remedy, private)

    return probe


def _find_unheard_of(known: GpusKnown, use: Sequence[str]) -> list[str]:
    """What the config names and was never seen: one that is gone is known, and is not well."""
    there = known.inventory.gpus
    seen = {"*", *known.healths, *(gpu.uuid for gpu in there), *(gpu.whole for gpu in there)}
    return [uuid for uuid in use if uuid not in seen]


def _describe_unwell(health: GpuHealth, words: str) -> str:
    waits_for = f", waits for {', '.join(sorted(health.needs))}" if health.needs else ""
    since = f" since {show_time(health.since)}" if health.since else ""
    return f"{health.uuid} is {health.state}{since}: {words}{waits_for}"


def kernel_log_probe(condition: Callable[[], str | None], has_gpus: Callable[[], bool]) -> Probe:
    """Whether XIDs can be read out of the kernel's log. Without it those are missed that come while nobody listens to the driver."""

    async def probe() -> Finding:
        if not has_gpus():
            return Finding(CheckState.OK, "no NVIDIA GPU on this host")
        unreadable = condition()
        if unreadable is None:
            return Finding(CheckState.OK, "XIDs are read from it")
        return Finding(
            CheckState.WARN,
            f"the kernel's log can't be read ({unreadable}): XIDs that come while the agent is away are not seen",
            READ_LOG,
        )

    return probe


def gpu_injection_probe(
    engine: Engine, wish: InjectionWish, runtime: str | None, has_gpus: Callable[[], bool]
) -> Probe:
    """By what containers get their GPUs. `runtime`: the one that the operator gave to all jobs."""

    async def probe() -> Finding:
        if not has_gpus():
            return Finding(CheckState.OK, "no NVIDIA GPU on this host")
        facts = await engine.facts()
        no_cdi = why_not_cdi(facts, ())
        chosen = choose_injection(wish, facts, runtime, ())
        if isinstance(chosen, StartFailure):
            remedy = MAKE_RUNTIME if wish is InjectionWish.NVIDIA else _cdi_remedy(facts)
            return Finding(CheckState.FAIL, f"jobs can't be given GPUs: {chosen.message}", remedy)
        if chosen is Injection.NVIDIA and wish is InjectionWish.NVIDIA:
            return Finding(CheckState.OK, "by the nvidia runtime, as [gpus] injection says")
        if chosen is Injection.NVIDIA:
            return Finding(CheckState.WARN, f"by the nvidia runtime, since {no_cdi}", _cdi_remedy(facts))
        if no_cdi is not None:
            return Finding(
                CheckState.FAIL, f"by CDI, as [gpus] injection says, but {no_cdi}", _cdi_remedy(facts)
            )
        where = " and ".join(facts.cdi_dirs)
        return Finding(CheckState.OK, f"by CDI: the specs in {where} name {len(named_gpus(facts))} by UUID")

    return probe


def _cdi_remedy(facts: EngineFacts) -> str:
    if not facts.cdi_dirs:
        return TURN_CDI_ON
    if facts.cdi_gpus:  # by index only
        return f"Run {WRITE_SPEC[:-1]} --device-name-strategy=uuid`."
    return f"Run {WRITE_SPEC}, and again after each upgrade of the driver."
