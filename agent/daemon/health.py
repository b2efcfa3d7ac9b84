"""daemon/health — which checks /health has. What each looks at is jobs/probes' and the shell's."""

from collections.abc import Mapping

from agent.jobs import gpu_probes, probes
from agent.jobs.assembly import Outside, Shell
from agent.jobs.disk_guard_probe import disk_guard_probe
from agent.jobs.health import CheckState, Finding, Health, Probe
from agent.jobs.network_probe import network_probe
from agent.jobs.notifier import Notifier
from agent.jobs.quota_probe import quota_probe
from agent.jobs.ssh_kit_probe import ssh_kit_probe
from agent.jobs.stranger_probe import gpu_strangers_probe

# Without these the host can take no job.
NEEDED = frozenset({"engine", "store", "state_disk"})
# One endpoint that is down is its owner's affair; so many at once may be this host's network.
MANY_ENDPOINTS = 5


def build_health(outside: Outside, shell: Shell, more: Mapping[str, Probe]) -> Health:
    """`more`: checks of what the shell has not."""
    checks: dict[str, Probe] = {
        "engine": probes.engine_probe(outside.engine),
        "live_restore": probes.live_restore_probe(outside.engine),
        "store": probes.store_probe(outside.store, outside.clock),
        "state_disk": probes.disk_probe(outside.folders.free_bytes),
        "disk_guard": disk_guard_probe(shell.disk_guard.view),
        "clock": probes.clock_probe(outside.clock),
        **more,
        "network": network_probe(shell.tools.network.view),
        "jobs": _jobs_probe(shell),
        "gpus": gpu_probes.gpus_probe(shell.tools.gpu_care),
        "kernel_log": gpu_probes.kernel_log_probe(outside.kernel_log.condition, lambda: _has_gpus(shell)),
        "gpu_strangers": gpu_strangers_probe(
            outside.engine, outside.gpus, lambda: shell.tools.gpu_care.settings.use
        ),
        "orphans": _orphans_probe(shell),
        "disk_quotas": quota_probe(outside.quotas.why_impossible, lambda: len(shell.quota_care.stuck)),
        "ssh_kit": ssh_kit_probe(outside.ssh_kits.look),
        "notifications": _notifications_probe(shell.notifier),
    }
    return Health(outside.clock, checks, NEEDED)


def _has_gpus(shell: Shell) -> bool:
    return bool(shell.tools.gpu_care.inventory.gpus)


def _jobs_probe(shell: Shell) -> Probe:
    """Jobs that we can't end, and jobs that we made a mistake with: how many, since they may be anybody's. The log names them."""

    async def probe() -> Finding:
        if unkillable := len(shell.supervisor.unkillable):
            return Finding(
                CheckState.FAIL,
                f"the kernel does not end the processes of {unkillable} jobs (D state); they keep their GPUs and ports",
                "Reboot the host.",
            )
        if broken := len(shell.supervisor.broken):
            return Finding(
                CheckState.FAIL,
                f"an internal error in the tasks of {broken} jobs",
                "Report it with the agent's log of that time.",
            )
        return Finding(CheckState.OK, "every job's task is well")

    return probe


def _orphans_probe(shell: Shell) -> Probe:
    async def probe() -> Finding:
        return Finding(
            CheckState.OK, f"{shell.janitor.orphans_removed} orphaned containers removed since the start"
        )

    return probe


def _notifications_probe(notifier: Notifier) -> Probe:
    async def probe() -> Finding:
        jobs, endpoints = notifier.failing
        told = f"the notifications of {jobs} jobs fail, at {endpoints} endpoints"
        if endpoints < MANY_ENDPOINTS:
            return Finding(CheckState.OK, told)
        remedy = "See whether this host reaches the internet and resolves names; the log names each endpoint."
        return Finding(CheckState.WARN, told, remedy)

    return probe
