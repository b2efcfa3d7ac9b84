"""core/reasons — the closed catalogue of why jobs do not succeed: one row a code. docs/errors.md is made from it."""

from dataclasses import dataclass

from agent.core.job import Reason
from agent.errors import Blame, Phase

# Whether another attempt could go better. What the author must mend first is final.
RETRYABLE, FINAL = True, False


@dataclass(frozen=True, slots=True)
class Entry:
    phase: Phase
    blame: Blame
    is_retryable: bool
    message: str
    remedy: str


_IMAGE_NAME = "Check the image's name, tag and registry."
_SEE_LOG = "Read the job's log; the program said why, if anyone did."
_HOST = "Nothing is wrong with the job: send it again, or allow a retry with `retry`."

CATALOGUE: dict[str, Entry] = {
    # the program's own end
    "exit_nonzero": Entry(
        Phase.RUNNING, Blame.USER, RETRYABLE, "the program exited with a code other than 0", _SEE_LOG
    ),
    "killed_by_signal": Entry(
        Phase.RUNNING, Blame.USER, RETRYABLE, "the program was ended by a signal", _SEE_LOG
    ),
    "out_of_memory": Entry(
        Phase.RUNNING,
        Blame.USER,
        RETRYABLE,
        "the program ran out of its memory limit",
        "Ask for more `memory`, or use less; `exit.peak_memory` says what it took.",
    ),
    # the function's own words
    "function_raised": Entry(
        Phase.RUNNING,
        Blame.USER,
        RETRYABLE,
        "the function raised an exception",
        "`error` has the traceback; the job's log has what it printed.",
    ),
    "function_refused": Entry(
        Phase.RUNNING,
        Blame.USER,
        FINAL,
        "the function says that no other attempt would go better",
        "`error` says why; change what it was called with, or the function.",
    ),
    "payload_mismatch": Entry(
        Phase.RUNNING,
        Blame.USER,
        FINAL,
        "the payload does not fit the function's parameters",
        "Start it again with a payload that has the names in the message.",
    ),
    "chute_import_failed": Entry(
        Phase.RUNNING,
        Blame.USER,
        FINAL,
        "the chute's file could not be imported, or has no such function",
        "`error` has the traceback; mend the file, or the image that it is imported in, and deploy it again.",
    ),
    "startup_failed": Entry(
        Phase.RUNNING,
        Blame.USER,
        RETRYABLE,
        "a function of the chute's on_startup raised an exception",
        "`error` has the traceback; the job's log has what it printed.",
    ),
    "result_too_large": Entry(
        Phase.RUNNING,
        Blame.USER,
        FINAL,
        "what the function returned is larger than 8 MiB",
        "Write large results to files of `output_dir`, and return their names.",
    ),
    "no_result": Entry(
        Phase.RUNNING,
        Blame.USER,
        RETRYABLE,
        "the process ended with exit code 0, and the function had not ended",
        "Look for os._exit, or for what ends the interpreter; return, or raise, at the function's end.",
    ),
    # asked for
    "cancelled": Entry(
        Phase.STOPPING, Blame.USER, FINAL, "the job was cancelled", "Submit it again if that was a mistake."
    ),
    "drained": Entry(
        Phase.STOPPING, Blame.HOST, FINAL, "the host is being drained", "Submit it to another host."
    ),
    "parent_cancelled": Entry(
        Phase.STOPPING, Blame.USER, FINAL, "the job that started it was cancelled", "Start it by itself."
    ),
    "cord_host_not_needed": Entry(
        Phase.STOPPING,
        Blame.USER,
        FINAL,
        "nobody called the chute's cords any more",
        "Nothing is wrong: the next call starts another; `[chutes] cord_idle` says how long one waits for calls.",
    ),
    "timeout": Entry(
        Phase.RUNNING,
        Blame.USER,
        RETRYABLE,
        "the attempt took longer than its timeout",
        "Raise `timeout`, or do less in one attempt; outputs written so far are kept.",
    ),
    # Final: what it wrote is kept for a next attempt, which would begin on a full disk and fill it again.
    "disk_guard": Entry(
        Phase.RUNNING,
        Blame.USER,
        FINAL,
        "the host's disk was nearly full, and the job was what filled it",
        "Ask for `disk`, so that the job has room of its own for its outputs, or write less, in fewer files; what it wrote to its outputs is kept.",
    ),
    "internal_error": Entry(
        Phase.STOPPING,
        Blame.PLATFORM,
        FINAL,
        "the agent made a mistake with this job",
        "Report it with the agent's log of that time; nothing of the job was lost.",
    ),
    # somebody else's doing
    "engine_stopped": Entry(
        Phase.RUNNING,
        Blame.HOST,
        RETRYABLE,
        "the container engine stopped, and took the job with it",
        "Send it again; the host's owner should turn on `live-restore` (see `gpu-agent doctor`).",
    ),
    "killed_outside": Entry(
        Phase.RUNNING, Blame.HOST, RETRYABLE, "somebody on the host killed the container", _HOST
    ),
    "container_gone": Entry(
        Phase.RUNNING, Blame.HOST, RETRYABLE, "somebody on the host removed the container", _HOST
    ),
    "host_rebooted": Entry(Phase.RUNNING, Blame.HOST, RETRYABLE, "the host was rebooted", _HOST),
    # the GPU's
    "gpu_fault_application": Entry(
        Phase.RUNNING,
        Blame.USER,
        FINAL,
        "the program made an error on the GPU",
        "Look for bad memory accesses in the program (compute-sanitizer finds them); the GPU itself is well.",
    ),
    "gpu_fault": Entry(Phase.RUNNING, Blame.HOST, RETRYABLE, "a GPU of the job failed", _HOST),
    "gpu_lost": Entry(Phase.RUNNING, Blame.HOST, RETRYABLE, "a GPU of the job is gone from the host", _HOST),
    # it never started
    "image_not_found": Entry(Phase.QUEUED, Blame.USER, FINAL, "the image does not exist", _IMAGE_NAME),
    "image_denied": Entry(
        Phase.QUEUED,
        Blame.USER,
        FINAL,
        "the registry refused the image",
        "Check the name, and give `registry` credentials that may pull it.",
    ),
    "image_wrong_platform": Entry(
        Phase.QUEUED,
        Blame.USER,
        FINAL,
        "the image has no build for this host's architecture",
        "Build or name one for it.",
    ),
    "image_too_large": Entry(
        Phase.QUEUED,
        Blame.USER,
        FINAL,
        "the image is larger than this host allows",
        "Use a smaller image, or another host.",
    ),
    "registry_unavailable": Entry(
        Phase.QUEUED,
        Blame.HOST,
        RETRYABLE,
        "the registry could not be reached, or failed",
        "Try again later, or use a mirror.",
    ),
    "pull_stalled": Entry(
        Phase.QUEUED,
        Blame.HOST,
        RETRYABLE,
        "the pull of the image made no progress",
        "Try again later, or use a mirror.",
    ),
    "pull_too_slow": Entry(
        Phase.QUEUED,
        Blame.HOST,
        RETRYABLE,
        "the pull of the image took too long",
        "Try again, or use a smaller image.",
    ),
    "image_gone": Entry(
        Phase.STARTING,
        Blame.HOST,
        RETRYABLE,
        "somebody removed the image between the pull and the start",
        _HOST,
    ),
    "command_not_found": Entry(
        Phase.STARTING,
        Blame.USER,
        FINAL,
        "the command is not in the image",
        "Check `command` and `entrypoint`.",
    ),
    "command_not_executable": Entry(
        Phase.STARTING,
        Blame.USER,
        FINAL,
        "the command can't be executed",
        "Make the file executable, and of the host's architecture.",
    ),
    "bad_user": Entry(
        Phase.STARTING,
        Blame.USER,
        FINAL,
        "`user` is not in the image",
        "Use a numeric id, or one that the image has.",
    ),
    "port_taken": Entry(
        Phase.STARTING, Blame.HOST, RETRYABLE, "other programs on the host kept taking the job's ports", _HOST
    ),
    "gpu_start_failed": Entry(
        Phase.STARTING, Blame.HOST, RETRYABLE, "the host could not hand the GPUs to the container", _HOST
    ),
    "gpu_injection_missing": Entry(
        Phase.STARTING,
        Blame.HOST,
        RETRYABLE,
        "the host's engine has no way to hand GPUs to a container",
        "Submit it to another host; the host's owner should see the check gpu_injection of `gpu-agent doctor`.",
    ),
    "gpu_not_clean": Entry(
        Phase.STARTING, Blame.HOST, RETRYABLE, "the GPUs are in use by something else", _HOST
    ),
    "name_taken": Entry(
        Phase.STARTING,
        Blame.HOST,
        RETRYABLE,
        "a container that is not the agent's holds the name",
        "The host's owner should remove it; a retry uses another name.",
    ),
    "engine_refused": Entry(
        Phase.STARTING,
        Blame.HOST,
        RETRYABLE,
        "the engine could not start the container",
        "The message is the engine's own.",
    ),
    "no_seccomp": Entry(
        Phase.STARTING,
        Blame.HOST,
        RETRYABLE,
        "the host's engine has no seccomp, and no job is started on one without",
        "Submit it to another host; the host's owner should use an engine with seccomp (see `gpu-agent doctor`).",
    ),
    "quota_volume_failed": Entry(
        Phase.STARTING,
        Blame.HOST,
        RETRYABLE,
        "the host could not make or mount the volume of the job's outputs",
        "Submit it to another host; the host's owner should see the check disk_quotas of `gpu-agent doctor`.",
    ),
    "quota_volume_moved": Entry(
        Phase.STARTING,
        Blame.HOST,
        RETRYABLE,
        "the volume of the job's outputs changed between the container's create and its start",
        _HOST,
    ),
    "ssh_unsupported_image": Entry(
        Phase.STARTING,
        Blame.USER,
        FINAL,
        "nobody could log in to the image by SSH",
        "Leave out `ssh`, or use an image whose user has a line in /etc/passwd and a shell that /etc/shells names.",
    ),
    "ssh_unsupported_host": Entry(
        Phase.STARTING,
        Blame.HOST,
        FINAL,
        "SSH does not work on this host",
        "Submit it to another host, or without `ssh`.",
    ),
    "ssh_kit_missing": Entry(
        Phase.STARTING,
        Blame.HOST,
        RETRYABLE,
        "the host has no SSH kit any more",
        "Submit it to another host, or without `ssh`; the host's owner should see the check ssh_kit of `gpu-agent doctor`.",
    ),
    "job_folder_missing": Entry(
        Phase.STARTING,
        Blame.HOST,
        FINAL,
        "somebody removed the job's folder from the host",
        "Submit the job again; leave the state folder to the agent.",
    ),
    "chute_files_missing": Entry(
        Phase.STARTING,
        Blame.HOST,
        FINAL,
        "somebody removed the files of the chute's version from the host",
        "Deploy the chute again; leave the state folder to the agent.",
    ),
}


def reason(code: str, message: str | None = None) -> Reason:
    """The catalogue's row as a value; `message` replaces the general text where more is known. Raises KeyError."""
    row = CATALOGUE[code]
    return Reason(code, row.phase, row.blame, row.is_retryable, message or row.message, row.remedy)
