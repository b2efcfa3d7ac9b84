"""chaos — random jobs, cancels, SIGKILLs and engine restarts, and after each the invariants of DESIGN §7, seen from outside.

python -m tests.e2e.chaos --seconds 600 [--seed 7]     as root; prints one line, exits 1 where anything was violated
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from pathlib import Path

from tests.e2e.chaos_functions import GRACE_SECONDS, Families
from tests.e2e.chaos_ports import BIND, Stranger, invent_ports
from tests.e2e.chaos_uploads import flaky, invent_outputs, secrets_left, upload_faults
from tests.e2e.client import Json
from tests.e2e.daemon import Daemon
from tests.e2e.invariants import Invariants
from tests.e2e.python_image import make_python_image
from tests.e2e.sink import UPLOADS, Sink, sinking
from tests.private_engine import PrivateEngine, busybox_image, running
from tests.private_engine_host import wait

# I5 allows the grace and 5 s; a start may have to settle, and the host is busy.
STOP_SLACK_SECONDS = 5.0 + 20.0
END_SECONDS = 300.0
NEAR_SECONDS = 5.0
MISTAKES = ("job.task_broke", "upload.broke", "probe.crashed", "request.crashed", "daemon.failed")
# Beside what share of the submits a family of functions is started, and one is cancelled.
FAMILIES = 0.1
DISK = "48MiB"
SETTINGS = {"uploads": UPLOADS, "ports": BIND}
SCRIPT = """{trap}echo $GPU_AGENT_ATTEMPT >> /outputs/attempts
head -c 100000 /dev/urandom > /outputs/data.$GPU_AGENT_ATTEMPT
i=1; while [ $i -le {lines} ]; do echo line $i; sleep {pause}; i=$((i+1)); done
touch /outputs/done.$GPU_AGENT_ATTEMPT; exit {code}"""


@dataclass
class Sent:
    """A job that was sent, what it will do, and what was asked of it."""

    id: str
    body: Json
    code: int
    lines: int
    retries: int
    accepted: bool = False
    cancel_asked: bool = False
    cancelled_at: float | None = None


@dataclass
class Chaos:
    daemon: Daemon
    engine: PrivateEngine
    random: random.Random
    python: str | None = None  # an image that functions run in; None: there are none
    sent: dict[str, Sent] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    # When the engine was away, as (from, to), on the wall clock: what may be lost, and only then.
    away: list[tuple[float, float]] = field(default_factory=list)
    invariants: Invariants = field(init=False)
    stranger: Stranger = field(init=False)
    families: Families = field(init=False)
    sink: Sink | None = field(default=None, init=False)  # None: nothing is sent

    def __post_init__(self) -> None:
        self.invariants = Invariants(self.daemon)
        self.stranger = Stranger(self.daemon, self.random)
        self.families = Families(self.daemon, self.random)

    def run(self, seconds: float) -> list[str]:
        """The violations."""
        with sinking(self.daemon.net) as sink:
            sink.act = flaky(self.random.randrange(10**6))
            self.sink = sink
            return self.run_on(seconds)

    def run_on(self, seconds: float) -> list[str]:
        self.daemon.start()
        if self.python is not None:
            self.families.deploy(self.python)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.counts["strangers"] += self.stranger.move()
            self.make_trouble()
            self.recover()
            self.invariants.check(self.accepted())
            self.check_stops()
        self.stranger.leave()
        self.wait_for_the_end()
        self.invariants.check_end(self.accepted())
        for job in self.sent.values():
            self.check_job(job)
        self.invariants.violations += self.families.faults(was_away=bool(self.away))
        self.invariants.violations += secrets_left(self.daemon.folder)
        return self.invariants.violations

    def move_families(self) -> None:
        if self.random.random() < FAMILIES:
            self.invariants.violations += self.families.grow()
        if self.random.random() < FAMILIES:
            self.invariants.violations += self.families.cancel()

    def accepted(self) -> set[str]:
        roots = {family.root for family in self.families.grown if family.root is not None}
        return {job.id for job in self.sent.values() if job.accepted} | roots

    def summary(self) -> str:
        outcomes = Counter(row["outcome"] for row in self.daemon.query("SELECT outcome FROM jobs"))
        told = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items(), key=str))
        return (
            f"chaos: {len(self.sent)} jobs ({told}), {self.counts['cancels']} cancels,"
            f" {self.counts['kills']} kills of the daemon, {self.counts['engine']} engine restarts"
            f" ({self.counts['engine kills']} by SIGKILL),"
            f" {self.counts['strangers']} strangers on ports, {self.told_of_uploads()},"
            f" {self.families.counts['families']} families of functions ({self.families.counts['families cancelled']} cancels of all),"
            f" {len(self.invariants.violations)} violations"
        )

    def told_of_uploads(self) -> str:
        told = [
            f"{count} {name}" for name, count in sorted(self.counts.items()) if name.startswith("uploads")
        ]
        return ", ".join(told) or "no uploads"

    def make_trouble(self) -> None:
        """Jobs and cancels from here, and a fault at some moment beside them."""
        faults: list[Callable[[], None]] = [
            self.kill_daemon,
            self.kill_daemon,
            self.kill_daemon_twice,
            self.kill_engine,
            self.stop_engine,
            self.kill_both,
        ]
        fault, moment = self.random.choice(faults), self.random.uniform(0, 1.5)
        thread = threading.Thread(target=lambda: (wait(lambda: False, moment), fault()))
        thread.start()
        for _ in range(self.random.randint(3, 8)):
            self.submit()
            if self.random.random() < 0.3:
                self.cancel(self.random.choice(list(self.sent.values())))
            if self.python is not None:
                self.move_families()
            wait(lambda: False, self.random.uniform(0, 0.2))
        thread.join()

    def submit(self) -> None:
        job = self.invent()
        self.sent[job.id] = job
        self.put(job)

    def invent(self) -> Sent:
        draw = self.random
        code, lines, retries = draw.choice([0, 0, 0, 1, 7]), draw.randint(1, 20), draw.choice([0, 0, 1, 2])
        trap = draw.choice(["", "", "trap '' TERM; ", "trap 'exit 0' TERM; "])
        script = SCRIPT.format(trap=trap, lines=lines, pause=draw.choice(["0", "0.02", "0.1"]), code=code)
        body: Json = {
            "image": self.daemon.image,
            "command": ["sh", "-c", script],
            "retry": {"count": retries, "backoff": 0},
            "grace": draw.choice([0, 1]),
            "secrets": {"KEY": "value"},
        }
        body |= {"ports": invent_ports(draw)} if draw.random() < 0.5 else {"network": "none"}
        body |= {"disk": DISK} if draw.random() < 0.5 else {}
        body |= invent_outputs(draw, self.sink) if self.sink is not None and draw.random() < 0.5 else {}
        return Sent(str(uuid.UUID(int=draw.getrandbits(128), version=4)), body, code, lines, retries)

    def put(self, job: Sent) -> None:
        """Under an id of our own, so that an answer that was lost can be asked for again."""
        try:
            reply = self.daemon.local.call("PUT", f"/v1/jobs/{job.id}", job.body)
        except (OSError, HTTPException):
            return
        if reply.status in {200, 201}:
            job.accepted = True
        else:
            self.invariants.violations.append(f"a PUT was answered {reply.status}: {reply.body[:300]!r}")

    def cancel(self, job: Sent) -> None:
        job.cancel_asked = True
        try:
            reply = self.daemon.local.cancel(job.id)
        except (OSError, HTTPException):
            return
        if reply.status == 202 and job.cancelled_at is None:
            self.counts["cancels"] += 1
            job.cancelled_at = time.monotonic()
        elif reply.status not in {202, 404, 409}:
            self.invariants.violations.append(f"a cancel was answered {reply.status}: {reply.body[:300]!r}")

    def kill_daemon(self) -> None:
        self.counts["kills"] += 1
        self.daemon.kill()

    def kill_daemon_twice(self) -> None:
        """Again in the middle of its start."""
        self.kill_daemon()
        self.daemon.launch()
        wait(lambda: False, self.random.uniform(0.2, 1.2))
        self.kill_daemon()

    def kill_engine(self) -> None:
        self.counts["engine kills"] += 1
        self.take_engine_away(self.engine.kill)

    def stop_engine(self) -> None:
        self.take_engine_away(self.engine.stop)

    def kill_both(self) -> None:
        self.kill_daemon()
        self.kill_engine()

    def take_engine_away(self, end: Callable[[], None]) -> None:
        self.counts["engine"] += 1
        began = time.time()
        end()
        wait(lambda: False, self.random.uniform(0, 1.0))
        self.engine.launch(live_restore=self.random.random() < 0.5)
        self.away.append((began, time.time()))

    def recover(self) -> None:
        if self.daemon.process is None:
            self.daemon.launch()
        elif not self.daemon.is_running():
            self.invariants.violations.append(f"the daemon left by itself: {self.daemon.tail()}")
            self.daemon.launch()
        self.daemon.wait_ready()
        for job in self.sent.values():
            if not job.accepted:
                self.put(job)
        for family in self.families.grown:
            self.invariants.violations += self.families.ask_for(family)
        self.note_mistakes()

    def note_mistakes(self) -> None:
        for event in MISTAKES:
            self.invariants.violations += [f"the daemon says {line}" for line in self.daemon.said(event)]

    def check_stops(self) -> None:
        """I5: whoever was cancelled ends, while the engine answers."""
        asked = [job for job in self.sent.values() if job.cancelled_at is not None]
        graces = [GRACE_SECONDS, *(job.body["grace"] for job in asked)]
        stopping = {job.id for job in asked} | self.families.stopping()

        def unfinished() -> list[str]:
            # Outputs of a job that was cancelled leave all the same, as fast as their endpoint takes them.
            rows = self.daemon.query("SELECT id FROM jobs WHERE phase NOT IN ('uploading', 'finished')")
            return sorted(stopping & {row["id"] for row in rows})

        if not wait(lambda: not unfinished(), max(graces) + STOP_SLACK_SECONDS):
            self.invariants.violations += [
                f"I5: {job} was cancelled and does not end" for job in unfinished()
            ]

    def wait_for_the_end(self) -> None:
        def all_finished() -> bool:
            return not self.daemon.query("SELECT 1 FROM jobs WHERE phase <> 'finished'")

        if not wait(all_finished, END_SECONDS):
            rows = self.daemon.query("SELECT id, phase, attempt, rest FROM jobs WHERE phase <> 'finished'")
            self.invariants.violations += [f"I4: not finished: {tuple(row)}" for row in rows]
            self.invariants.violations += [f"{row['id']}: {self.told_of(row['id'])}" for row in rows]
        self.note_mistakes()

    def told_of(self, job_id: str) -> list[Json]:
        return [line for line in self.daemon.lines if line.get("job") == job_id][-10:]

    def check_job(self, sent: Sent) -> None:
        """I6, and the outcome: the first of DESIGN §2 that holds."""
        job = self.daemon.local.job(sent.id)
        faults: list[str] = []
        for attempt in job["attempts"]:
            faults += self.check_attempt(sent, attempt)
        if job["attempt"] > sent.retries + 1:
            faults.append(f"{job['attempt']} attempts")
        runs = self.daemon.local.call("GET", f"/v1/jobs/{sent.id}/outputs/attempts")
        seen = Counter(runs.body.decode().split()) if runs.status == 200 else Counter[str]()
        faults += [f"attempt {number} ran {count} times" for number, count in seen.items() if count > 1]
        # Each adds its number before it prints.
        printed = [str(attempt["number"]) for attempt in job["attempts"] if self.log_of(sent, attempt)]
        faults += [f"the output of attempt {number} is lost" for number in printed if number not in seen]
        if (self.daemon.folder / "run/jobs" / sent.id / "secrets").exists():
            faults.append("its secrets are still there")
        if self.sink is not None and "outputs" in sent.body:
            was_cancelled = sent.cancel_asked
            faults += upload_faults(self.daemon.local, self.sink, job, was_cancelled=was_cancelled)
            self.counts[f"uploads {job['upload']['state']}"] += 1
        self.invariants.violations += [f"{sent.id}: {fault}; {short(job)}" for fault in faults]

    def check_attempt(self, sent: Sent, attempt: Json) -> list[str]:
        outcome, code = attempt["outcome"], attempt["exit"] and attempt["exit"]["code"]
        reason = attempt["reason"] and attempt["reason"]["code"]
        log = self.log_of(sent, attempt)
        every = [f"line {number}" for number in range(1, sent.lines + 1)]
        was_away = self.was_away(attempt)
        faults: list[str] = []
        if log != [line for line in every if line in set(log)]:
            faults.append(f"its log is {log}")
        if reason == "engine_refused":
            # An engine that is told to leave within a start says that it could not.
            faults += [] if was_away else [attempt["reason"]["message"]]
        elif outcome in {"succeeded", "failed"}:
            if (
                code != sent.code
                or reason not in {None, "exit_nonzero"}
                or (code == 0) != (outcome == "succeeded")
            ):
                faults.append(f"it should have exited with {sent.code}")
            if log != every and not was_away:
                faults.append(f"of {sent.lines} lines there are {len(log)}")
        elif outcome == "cancelled":
            if not sent.cancel_asked:
                faults.append("nobody cancelled it")
        elif outcome != "lost" or reason != "engine_stopped" or not was_away:
            faults.append(f"it is {outcome}, {reason}")
        return faults

    def log_of(self, sent: Sent, attempt: Json) -> list[str]:
        return self.daemon.local.log(sent.id, f"?attempt={attempt['number']}").splitlines()

    def was_away(self, attempt: Json) -> bool:
        """Whether the engine was, during the attempt or so near to it that the attempt may have to do with it."""
        exit_facts = attempt["exit"] or {}
        began, ended = exit_facts.get("started_at"), exit_facts.get("finished_at")
        if began is None or ended is None:
            return bool(self.away)
        first, last = datetime.fromisoformat(began).timestamp(), datetime.fromisoformat(ended).timestamp()
        return any(start - NEAR_SECONDS <= last and first <= end + NEAR_SECONDS for start, end in self.away)


def short(job: Json) -> str:
    ends = [(end["number"], end["outcome"], end["reason"], end["exit"]) for end in job["attempts"]]
    return f"{job['outcome']}, {job['reason']}, attempts {ends}, {job['spec']['command']}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Chaos for gpu-agent, on a private engine.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    root = Path(tempfile.mkdtemp(prefix="gac-", dir="/tmp"))
    try:
        with running(root / "engine") as engine:
            daemon = Daemon(root / "agent", engine, busybox_image(engine), SETTINGS)
            python = make_python_image(engine, "gpu-agent-test/python:chaos", [], root)
            chaos = Chaos(daemon, engine, random.Random(seed), python)
            try:
                violations = chaos.run(asked.seconds)
                summary = chaos.summary()
            finally:
                daemon.clean_up()
    finally:
        shutil.rmtree(root, ignore_errors=True)
    sys.stdout.write("".join(f"{violation}\n" for violation in violations) + f"{summary}, seed {seed}\n")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
