"""adapters/docker/failures — the engine's refusals, told apart by status and text. Pure; raises nothing itself.

The API has one status for most of what goes wrong at a start (500) and no codes: the texts are all there is. Those
below were seen on 26.1.5, or stand in the engine's and runc's sources for the releases up to 28.
"""

import re

from agent.core.job import FailureKind, StartFailure
from agent.interfaces import EngineRefusedError, EngineUnavailableError, PullFailedError, StartFailedError
from agent.interfaces.engine import Trouble


class Refusal(Exception):  # noqa: N818 - not an error yet: an answer that the caller has to read
    """The engine answered with a status of 400 or more."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status
        self.text = text


# `exec: "` begins runc's own words; the name in quotes is the job's, and may hold any of the texts further down.
COMMAND_FAULT = re.compile(r'exec: "|exec [^ ]+: (?:no such file|permission denied|exec format)', re.ASCII)
NOT_EXECUTABLE = re.compile(r"permission denied|exec format error|is a directory")
BAD_USER = re.compile(r"unable to find (?:user|group) |no matching entries in (?:passwd|group) file")
BAD_WORKDIR = re.compile(
    r"working directory '.*' is invalid|chdir to cwd|(?:mkdir|lstat) .*: not a directory|Cannot mkdir: "
)
# A place in the container that its image makes impossible, and the signal that the image names: these too may hold any of the texts
# further down. What the mount comes from is the host's own.
JOBS_PLACE = re.compile(
    r'error mounting "(?P<source>[^"]*)" to rootfs at "'
    r"|^cannot mount volume over existing file|^evalSymlinksInScope: |^invalid signal: "
)
PORT_TAKEN = re.compile(r"port is already allocated|address already in use")
# "Bind for 0.0.0.0:80 failed", "Bind for fd00::1:80 failed", "listen udp4 0.0.0.0:80: bind",
# "bind host port for 0.0.0.0:80:172.17.0.2:8080/tcp". An address of IPv6 stands bare, or in brackets.
HOST_PORT = re.compile(
    r"(?:Bind for|listen (?:tcp|udp)[46]?|host port(?: for)?) "
    r"(?:\[[0-9a-fA-F:.]+\]|[0-9.]*|[0-9a-fA-F:.]+?(?=:\d+ failed)):(\d+)"
)
GPU_FAULT = re.compile(r"CDI|could not select device driver|nvidia|libcuda|libnv|GPU-")
# The OCI runtime, or a hook that it was told to run, could not be executed or failed. Its path and the words of the exec
# are in the same form as those of a job's command, and the engine answers 400 to both; but nothing of the job's stands
# before these, and its command is not run before its container is there.
HOST_PROGRAM_FAULT = re.compile(
    r'^failed to create task [^"/]*?'
    r"(?:unable to retrieve OCI runtime error \(open |error running (?:[a-zA-Z]+ )?hook #\d+: )"
)
# The engine's own containerd is away: it will come back, or the engine ends. Only whole phrases, as they stand in an
# error's chain: a file may be named like one of their words.
ENGINE_BROKEN = re.compile(
    r"dial unix:?\S* ?\S*containerd\.sock|: unavailable$|\btransport is closing(?:$|: )"
    r"|(?:^|: )ttrpc: closed(?:$|: )|(?:^|: )context (?:canceled|deadline exceeded)(?:$|: )"
)

# The engine begins with these words.
VOLUME_FAULT = re.compile(r"^error while mounting volume '|^failed to mount local volume")
# Nothing but overlay on XFS with project quotas, and some rarer storage, can bound the writable layer.
NO_LAYER_BOUND = re.compile(r"^--storage-opt is supported only|^--storage-opt is not supported")

WRONG_PLATFORM = re.compile(
    r"no matching manifest|no match for platform|does not match the specified platform|cannot be used on this platform"
)
# As words of their own: an image may be named `x/denied`, and a name has no spaces within. Its host has them about it
# where it is looked up.
DENIED = re.compile(
    r'(?<![^\s"])(?<!lookup )(?:denied|unauthorized)(?=["\s,]|\.?$|: )'
    r"|authentication required|no basic auth credentials|incorrect username or password",
    re.IGNORECASE,
)
NOT_FOUND = re.compile(
    r"manifest unknown|name unknown|not found|invalid reference format|does not exist|Image Format v1|unsupported m",
    re.IGNORECASE,
)


def start_failure(refusal: Refusal) -> StartFailure:
    """Why a create or a start was refused. The first rule that holds."""
    text = refusal.text
    if HOST_PROGRAM_FAULT.search(text):
        return _gpu_or_engine(text, text)
    if VOLUME_FAULT.search(text):
        return StartFailure(FailureKind.VOLUME, "quota_volume_failed", text)
    if COMMAND_FAULT.search(text):
        code = "command_not_executable" if NOT_EXECUTABLE.search(text) else "command_not_found"
        return StartFailure(FailureKind.COMMAND, code, text)
    if "no command specified" in text:
        return StartFailure(
            FailureKind.COMMAND, "command_not_found", "neither the job nor its image names a command"
        )
    if BAD_USER.search(text):
        return StartFailure(FailureKind.COMMAND, "bad_user", text)
    if BAD_WORKDIR.search(text):
        return StartFailure(FailureKind.COMMAND, "command_not_executable", text)
    if (place := JOBS_PLACE.search(text)) is not None:
        return _gpu_or_engine(text, place["source"] or "")
    if PORT_TAKEN.search(text):
        port = HOST_PORT.search(text)
        return StartFailure(FailureKind.PORT, "port_taken", text, int(port[1]) if port else None)
    if refusal.status == 404 and "No such image" in text:
        return StartFailure(FailureKind.IMAGE, "image_gone", text)
    return _gpu_or_engine(text, text)


def _gpu_or_engine(text: str, words: str) -> StartFailure:
    """By those of its words that are no job's."""
    if GPU_FAULT.search(words):
        return StartFailure(FailureKind.GPU, "gpu_start_failed", text)
    return StartFailure(FailureKind.ENGINE, "engine_refused", text)


def refused_start(refusal: Refusal) -> StartFailedError | EngineUnavailableError:
    if is_engine_away(refusal):
        return unavailable(refusal)
    return StartFailedError(start_failure(refusal))


def refused(refusal: Refusal) -> EngineRefusedError | EngineUnavailableError:
    """A no to anything but a create, a start or a pull."""
    if is_engine_away(refusal):
        return unavailable(refusal)
    return EngineRefusedError(f"the engine answered {refusal.status}: {refusal.text}")


def is_engine_away(refusal: Refusal) -> bool:
    """An answer that says only "not now"."""
    if refusal.status == 503:
        return True
    return (
        refusal.status >= 500
        and not _is_of_the_job(refusal.text)
        and ENGINE_BROKEN.search(refusal.text) is not None
    )


def _is_of_the_job(text: str) -> bool:
    """Whether it repeats what a job chose, which may hold anything: before all rules that look for the engine's words."""
    return any(rule.search(text) for rule in (COMMAND_FAULT, BAD_USER, BAD_WORKDIR, JOBS_PLACE))


def is_layer_unbounded(refusal: Refusal) -> bool:
    """A create that asks for a bound of the writable layer, of an engine whose storage has none."""
    return NO_LAYER_BOUND.search(refusal.text) is not None


def is_container_gone(refusal: Refusal) -> bool:
    """At a start or a look at its log. A 404 can also be a network that is missing."""
    if refusal.status == 404:
        return "No such container" in refusal.text
    return refusal.status == 409 and "marked for removal" in refusal.text


def is_removal_under_way(refusal: Refusal) -> bool:
    return refusal.status == 409 and "already in progress" in refusal.text


def unavailable(refusal: Refusal) -> EngineUnavailableError:
    return EngineUnavailableError(f"the engine can't work now: {refusal.text}", Trouble.BROKEN)


def refused_pull(text: str) -> PullFailedError:
    """Why an image can't be had. A denial comes before "does not exist": Docker Hub says both of what it hides."""
    if WRONG_PLATFORM.search(text):
        return PullFailedError("image_wrong_platform", text)
    if DENIED.search(text):
        return PullFailedError("image_denied", text)
    if NOT_FOUND.search(text):
        return PullFailedError("image_not_found", text)
    return PullFailedError("registry_unavailable", text)
