"""core/exits — whose death was it? From what the engine shows and what its event stream told. Reads no clock, asks nobody."""

import re
from dataclasses import dataclass

from agent.core.container import Container
from agent.core.job import ExitFacts, FailureKind, Run, StartFailure, Verdict

# How an engine that stops ends its containers: TERM (143, or 0 where the program traps it), then KILL (137).
_ENGINE_STOP_CODES = frozenset({0, 137, 143})
# What it writes where it was away at the death and its containerd can't tell how it was (moby daemon/daemon.go, restore).
_UNKNOWN = 255
_KILLED = 137
# The container's init process starts in any case; that it can't execute the command shows in its exit code and its one line:
# https://github.com/krallin/tini/blob/v0.19.0/src/tini.c, spawn_process
# Its line, and room to see that there is more.
INIT_WORDS_BYTES = 8192
INIT_REFUSALS = {126: "command_not_executable", 127: "command_not_found"}
_INIT_WORDS = re.compile(rb"\[FATAL tini \(\d{1,10}\)\] (exec .{1,4096} failed: [^\n]{1,200})\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of one container on the event stream.

    `kills`: times of the kill events before its death. `whole`: its start event and all that followed came on one unbroken
    stream; else its death may lie in a gap. `engine_broke`: the stream broke within 30 s of the death, or
    an engine that had not started the container killed it within its own start.
    """

    kills: tuple[float, ...]
    whole: bool
    engine_broke: bool


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The boot and the engine's setting under which a death is judged."""

    boot_id: str
    live_restore: bool


NEVER_RAN = ExitFacts(Verdict.NONE)
GONE = ExitFacts(Verdict.LOST, lost_code="container_gone")
FORGOTTEN = ExitFacts(Verdict.LOST, lost_code="engine_stopped")


def judge(container: Container, run: Run, sight: Sight, now: Circumstances) -> ExitFacts:
    """The facts of an exited container. Decided once: the caller writes them and never asks again."""
    lost_code = _lost_code(container, run, sight, now)
    is_oom = container.oom and container.exit_code == _KILLED
    return ExitFacts(
        verdict=Verdict.OWN if lost_code is None else Verdict.LOST,
        code=container.exit_code,
        # The engine's flag is also set when only a child was killed and the job went on.
        oom=is_oom,
        started_at=container.started_at,
        finished_at=container.finished_at,
        lost_code=lost_code,
    )


def command_failure(code: int | None, log: bytes) -> StartFailure | None:
    """Whether the init process could not execute the command; `log`: all that the container printed, or more than fits."""
    found = _INIT_WORDS.fullmatch(log)
    if code not in INIT_REFUSALS or found is None:
        return None
    return StartFailure(FailureKind.COMMAND, INIT_REFUSALS[code], found[1].decode(errors="replace"))


def _lost_code(container: Container, run: Run, sight: Sight, now: Circumstances) -> str | None:
    if run.intent is not None and run.intent.boot_id != now.boot_id:
        return "host_rebooted"
    if any(not _is_ours(kill, run) for kill in sight.kills):
        return "engine_stopped" if sight.engine_broke else "killed_outside"
    if sight.whole or died_after_signal(container.finished_at, run):
        return None
    # Live-restore keeps an engine that stops from ending its containers, but not one that died from forgetting how they ended.
    doubtful = {_UNKNOWN} if now.live_restore else {_UNKNOWN, *_ENGINE_STOP_CODES}
    return "engine_stopped" if container.exit_code in doubtful else None


def _is_ours(kill_at: float, run: Run) -> bool:
    return run.signalled_at is not None and run.signalled_at <= kill_at


def died_after_signal(finished_at: float | None, run: Run) -> bool:
    """By the stamps, not by a signal's presence: a death before our signal is not ours."""
    return run.signalled_at is not None and finished_at is not None and finished_at >= run.signalled_at
