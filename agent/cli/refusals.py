"""cli/refusals — what can go wrong between this program and the API, and each error as one document. Prints nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.errors import AgentError, Blame

Json = Mapping[str, Any]


class ApiRefusedError(Exception):
    """The API answered with a problem document (RFC 9457); `document` is that, `status` the HTTP status."""

    def __init__(self, status: int, document: Json) -> None:
        super().__init__(str(document.get("detail") or document.get("title") or f"HTTP {status}"))
        self.status = status
        self.document = document

    @property
    def code(self) -> str:
        return str(self.document.get("code", ""))

    @property
    def is_passing(self) -> bool:
        """Whether the same request may be answered a little later, by the agent alone."""
        return self.status in {502, 503, 504}


class CertificateNotTrustedError(AgentError):
    """Whoever answers at the address shows a certificate of nobody's whom this machine trusts."""

    code, blame = "certificate_not_trusted", Blame.USER
    remedy = "Name its authority's file in SSL_CERT_FILE, or have the system trust it; the URL's host has to stand in the certificate."


class NotReachableError(AgentError):
    """Nobody listens there."""

    code, blame = "agent_not_reachable", Blame.HOST
    remedy = "Is it running? `systemctl status gpu-agent` tells; --config or --url names another one."


class SocketForbiddenError(AgentError):
    """The socket is there, and is not for this user."""

    code, blame = "socket_forbidden", Blame.USER
    remedy = "Have yourself added to the group gpu-agent and log in again, or use --url with a token."


class ConnectionLostError(AgentError):
    """The connection ended before the answer did: the agent was stopped, or hangs, or the network broke."""

    code, blame = "connection_lost", Blame.HOST
    remedy = "Try again; `gpu-agent doctor` on the host tells whether the agent is well."


class NotAnAgentError(AgentError):
    """Something answers there that does not speak our API."""

    code, blame = "not_an_agent", Blame.USER
    remedy = "Check --url or GPU_AGENT_URL: it is the agent's own address, without /v1."


class BadTargetError(AgentError):
    """Where the agent is to be found can't be read out of the options, the environment or the config."""

    code, blame = "bad_target", Blame.USER
    remedy = (
        "Write --url http(s)://HOST:PORT, or --config with a file that `gpu-agent config check` finds good."
    )


class NoSuchJobError(AgentError):
    """No job of this user's has an id that begins like that."""

    code, blame = "job_prefix_unknown", Blame.USER
    remedy = "`gpu-agent ps -a` lists your jobs."


class AmbiguousJobError(AgentError):
    """Several ids begin like that. `candidates`: a line each."""

    code, blame = "job_ambiguous", Blame.USER
    remedy = "Write more of the id."

    def __init__(self, prefix: str, candidates: Sequence[str]) -> None:
        super().__init__("\n".join([f"several jobs begin with {prefix}:", *candidates]))


class NoSuchScheduleHereError(AgentError):
    """No schedule of this user's has that name, or an id that begins like that."""

    code, blame = "schedule_unknown", Blame.USER
    remedy = "`gpu-agent schedule ls` lists your schedules."


class AmbiguousScheduleError(AgentError):
    """Several schedules that one may see have that name, or an id that begins like that. `candidates`: a line each."""

    code, blame = "schedule_ambiguous", Blame.USER
    remedy = "Write more of the id, or the whole name; where others' have that name too, the whole id."

    def __init__(self, how: str, candidates: Sequence[str]) -> None:
        super().__init__("\n".join([f"several schedules {how}:", *candidates]))


class NoSuchOutputError(AgentError):
    """No output file of the job has that path, or lies below it."""

    code, blame = "output_not_listed", Blame.USER
    remedy = "`gpu-agent outputs ls JOB` lists them."


class NotPermittedError(AgentError):
    """A file of the agent's that this user may not read or write."""

    code, blame = "not_permitted", Blame.USER
    remedy = "Run it as root, or as the user that the agent runs as."


class BadArgumentError(AgentError):
    """An option whose value can't be read, found before anything was asked."""

    code, blame = "bad_argument", Blame.USER
    remedy = "`--help` after the command shows how it is written."


class ProgramMissingError(AgentError):
    """A program of this machine that the command needs."""

    code, blame = "program_missing", Blame.USER
    remedy = "Install OpenSSH's client: `apt install openssh-client`, or your system's package of it."


class SshNotReadyError(AgentError):
    """Nobody answers to ssh in the job, or not yet."""

    code, blame = "ssh_not_ready", Blame.HOST
    remedy = "`gpu-agent show JOB` tells the state of its ssh; `gpu-agent exec JOB` needs none."


AWAY = (NotReachableError, ConnectionLostError)
Refusal = AgentError | ApiRefusedError


def document_of(error: Refusal) -> Json:
    """The error as a problem document: the API's own as it came, ours with the same names."""
    if isinstance(error, ApiRefusedError):
        return error.document
    return {
        "code": error.code,
        "detail": str(error),
        "blame": error.blame.value,
        "phase": None if error.phase is None else error.phase.value,
        "remedy": error.remedy,
        "faults": [],
    }
