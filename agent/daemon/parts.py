"""daemon/parts — what the API speaks for, built of the shell and of the adapters. Starts nothing."""

from agent.adapters.folders import DiskFolders
from agent.adapters.job_ports import LocalPorts
from agent.api.app import ApiParts
from agent.api.limits import ApiLimits
from agent.config import Config
from agent.daemon.chutes import build_chutes
from agent.daemon.health import build_health
from agent.daemon.ids import new_exec_id, new_job_id
from agent.daemon.ports import port_checks
from agent.daemon.program import program_version
from agent.daemon.schedules import build_schedules
from agent.daemon.values import addresses_of, output_limits_of, page_domain_of
from agent.jobs.assembly import Outside, Settings, Shell
from agent.jobs.attempt_log import Sources
from agent.jobs.bell import Bell
from agent.jobs.capacity import HostCapacity, HostNames
from agent.jobs.cords.probe import cords_probe
from agent.jobs.execs import Execs
from agent.jobs.intake import Intake
from agent.jobs.logs import Logs
from agent.jobs.outputs import Outputs
from agent.jobs.schedules_probe import schedules_probe
from agent.jobs.stats import Stats


def build_parts(
    config: Config, outside: Outside, settings: Settings, shell: Shell, folders: DiskFolders
) -> ApiParts:
    tools = shell.tools
    chutes, deploys, cords = build_chutes(folders, _intake(outside, shell), lambda: settings.cord_times)
    schedules = build_schedules(folders, chutes, deploys.describing)
    bell = Bell()
    outside.store.on_events(bell.ring)
    checks = {
        **port_checks(config),
        "schedules": schedules_probe(schedules.timetable),
        "cords": cords_probe(cords),
    }
    addresses = addresses_of(config)
    return ApiParts(
        store=outside.store,
        folders=outside.folders,
        intake=chutes.intake,
        chutes=chutes,
        deploys=deploys,
        schedules=schedules,
        cords=cords,
        logs=Logs(Sources(outside.engine, outside.folders, outside.store, outside.clock, bell)),
        outputs=Outputs(outside.folders, output_limits_of(config)),
        uploads=tools.uploads,
        ssh=tools.ssh,
        gpu_care=tools.gpu_care,
        gpu_samples=shell.gpu_samples,
        stats=Stats(outside.engine, shell.gpu_samples, tools.gpu_accounts, outside.clock),
        execs=Execs(outside.engine, outside.store, outside.clock, new_exec_id),
        host=_capacity(outside, settings, shell),
        health=build_health(outside, shell, checks),
        disk_guard=shell.disk_guard,
        notifier=shell.notifier,
        clock=outside.clock,
        bell=bell,
        addresses=addresses,
        pull=tools.images.pull,
        version=program_version(),
        limits=ApiLimits(stream_seconds=config.api.stream_timeout),
        job_ports=LocalPorts(addresses.host),
        page_domain=page_domain_of(config),
        page_key=folders.page_key.read,
        has_dashboard=config.api.dashboard,
    )


def _intake(outside: Outside, shell: Shell) -> Intake:
    return Intake(
        outside.store,
        outside.folders,
        shell.tools.gpu_care.usable,
        outside.clock,
        shell.tools.current,
        shell.tools.hiding,
        new_job_id(outside.clock),
        shell.wake,
        outside.ssh_kits,
        outside.host_keys,
        shell.janitor.given_ids,
    )


def _capacity(outside: Outside, settings: Settings, shell: Shell) -> HostCapacity:
    def names() -> HostNames:
        policy = shell.tools.policy
        return HostNames(
            policy.agent_id, program_version(), settings.ports, policy.limits, settings.queue_limits
        )

    bad_ports = shell.tools.bad_ports
    return HostCapacity(names, outside.store, outside.engine, outside.gpus, outside.folders, bad_ports)
