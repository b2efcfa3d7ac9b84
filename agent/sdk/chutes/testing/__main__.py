"""chutes/testing/__main__ — the process in which `gpu-agent chute run --local` runs a job. Shows nothing to a person.

It is asked in JSON on stdin, and then heeds single bytes there; it tells in JSON lines on a descriptor. Its arguments are that one's
number and the size of what it is asked.
"""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import sys
import threading
from contextlib import suppress
from typing import Any, Mapping, NoReturn, Sequence

# Run by its path, so that the author's environment stays as it is: this is then where `import chutes` looks first.
if __name__ == "__main__":
    if sys.version_info < (3, 8):  # noqa: UP036 — whatever --python named runs this line
        sys.exit(1)  # the command knows what it means that nothing was told
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from chutes._loading import load
from chutes._runtime.failures import stack_of, traceback_of
from chutes.chute import Chute
from chutes.errors import LoadError, RegistrationError
from chutes.testing.results import Result, error_shown
from chutes.testing.runner import Children, LocalRunner

# As of a shell's command.
INTERRUPTED = 130


def main(words: Sequence[str]) -> None:
    out = Telling(int(words[0]))
    out.tell("begun", {})
    faulthandler.enable()
    asked: dict[str, Any] = json.loads(read_exactly(0, int(words[1])))
    # What the author's code reads is empty, as in a container.
    control = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    log_as_lines()
    try:
        chute = load(asked["file"], asked["attribute"])
        name = chosen_job(chute, asked["job"])
        runner = runner_of(chute, asked, out)
    except (LoadError, RegistrationError) as refused:
        out.tell("refused", {"message": str(refused)})
    except BaseException as raised:  # noqa: BLE001 — a file may raise anything at its import
        sys.stderr.write(traceback_of(raised))
        out.tell("refused", {"message": f"{asked['file']} raised {type(raised).__name__}: {raised}"})
    else:
        threading.Thread(target=heed, args=(control, runner, out), daemon=True).start()
        try:
            result = runner.run(name, asked["payload"])
        except KeyboardInterrupt as interrupt:
            # The author's own: Ctrl-C doesn't reach this process.
            sys.stderr.write(traceback_of(interrupt))
            leave(INTERRUPTED)
        out.tell("result", shown(result))
        for each in result.children if asked["is_kept"] else (result,):
            forget(each)
    leave(0)


class Telling:
    """Whoever is told may be gone; the job goes on to its end all the same."""

    def __init__(self, descriptor: int) -> None:
        # Programs that the author starts must not hold it open.
        os.set_inheritable(descriptor, False)  # noqa: FBT003 — the library's signature
        self._file = os.fdopen(descriptor, "wb")
        self._lock = threading.Lock()

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        line = json.dumps({"told": kind, **facts}).encode() + b"\n"
        with suppress(OSError), self._lock:
            self._file.write(line)
            self._file.flush()


def runner_of(chute: Chute, asked: Mapping[str, Any], out: Telling) -> LocalRunner:
    return LocalRunner(
        chute,
        timeout=asked["timeout"],
        grace=asked["grace"],
        backoff=asked["backoff"],
        output_dir=asked["output_dir"],
        children=Children.RUN,
        tell=out.tell,
    )


def chosen_job(chute: Chute, wanted: str | None) -> str:
    names: list[str] = sorted(chute.jobs)
    if wanted in chute.jobs:
        return str(wanted)
    if wanted is None and len(names) == 1:
        return names[0]
    there = ", ".join(names) or "none"
    what = "which job is to run is not said" if wanted is None else f"the chute has no job {wanted!r}"
    raise LoadError(f"{what}; its jobs are: {there}")


def shown(result: Result) -> dict[str, Any]:
    progress = result.progress[-1] if result.progress else None
    return {
        "name": result.name,
        "outcome": result.outcome,
        "result": result.value,
        "note": result.note,
        "error": error_shown(result.error),
        "attempts": [
            {"number": each.number, "outcome": each.outcome, "error": error_shown(each.error), "seconds": each.seconds}
            for each in result.attempts
        ],
        "progress": None if progress is None else {"percent": progress.percent, "message": progress.message},
        "metrics": [list(point) for point in result.metrics],
        "statuses": result.statuses,
        "outputs": sorted(result.outputs),
        "children": [shown(child) for child in result.children],
    }  # fmt: skip


def forget(result: Result) -> None:
    """Its folder and those of its children: this process ends too soon for that by itself, and whoever asked may be gone."""
    shutil.rmtree(result.output_dir, ignore_errors=True)
    for child in result.children:
        forget(child)


def read_exactly(descriptor: int, size: int) -> bytes:
    """Nothing behind it: its end means something else."""
    data = b""
    while len(data) < size:
        piece = os.read(descriptor, size - len(data))
        if not piece:
            break
        data += piece
    return data


def heed(control: int, runner: LocalRunner, out: Telling) -> None:
    """A question is answered with where the job is; whatever else comes, also the end, asks it to stop."""
    main_thread = threading.main_thread().ident or 0
    asked = b"?"
    while asked:
        asked = os.read(control, 1)
        if asked == b"?":
            out.tell("where", {"stack": stack_of(main_thread)})
        else:
            runner.stop()


def log_as_lines() -> None:
    import logging  # noqa: PLC0415 — for this process alone

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")


def leave(code: int) -> NoReturn:
    """At once: threads that the job left behind keep nothing from ending, as in a container."""
    for file in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it, or it is closed
            file.flush()
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
