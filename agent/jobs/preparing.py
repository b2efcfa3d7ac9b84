"""jobs/preparing — all that one container is made of: what of the host it sees, and the plan. Makes no container, writes no row."""

from agent.core.container import ContainerPlan
from agent.core.function import FunctionCall
from agent.core.injection import Handover
from agent.core.job import Job
from agent.core.plan import FunctionMounts, Mounted, SshMounts, plan
from agent.core.ssh_kit import KitTrouble
from agent.interfaces import JobFolderMissingError, Prepared
from agent.jobs import quota
from agent.jobs.ssh_kit_missing import SshKitMissingError
from agent.jobs.tools import Tools


async def prepare(tools: Tools, job: Job, handover: Handover) -> tuple[ContainerPlan, dict[str, str]]:
    """The plan, and the values of its secret environment.

    Raises JobFolderMissingError, ChuteFilesMissingError, SshKitMissingError, QuotaUnavailableError, NameTakenError,
    EngineRefusedError, EngineUnavailableError.
    """
    prepared = await tools.folders.prepare(job.id)
    outputs = prepared.outputs if job.spec.disk is None else await quota.volume_for(tools, job)
    ssh = None if job.spec.ssh is None else await _find_ssh(tools, job, prepared)
    function = None if job.call is None else await _find_function(tools, job.call, prepared, job.id)
    mounted = Mounted(outputs, prepared.secrets, ssh, function)
    planned = plan(job, tools.policy, mounted, handover)
    values = (await tools.folders.secrets(job.id)).values if planned.secret_environment else {}
    return planned, {name: values[name] for name in planned.secret_environment}


async def _find_ssh(tools: Tools, job: Job, prepared: Prepared) -> SshMounts:
    kit = await tools.ssh_kits.look()
    if isinstance(kit, KitTrouble):
        raise SshKitMissingError(kit)
    if prepared.ssh is None:
        raise JobFolderMissingError(job.id, "folder of SSH")
    return SshMounts(kit, prepared.ssh)


async def _find_function(tools: Tools, call: FunctionCall, prepared: Prepared, job_id: str) -> FunctionMounts:
    sdk = tools.policy.sdk
    if sdk is None:
        raise RuntimeError("a function is run only by a daemon that has laid out its SDK")
    if prepared.socket is None:
        raise JobFolderMissingError(job_id, "folder of the socket")
    return FunctionMounts(sdk, await tools.folders.chute_files(call.version), prepared.socket)
