"""chutes/_runtime/running — one job, from hello to the end of the process. What each step does is in the modules beside."""

from __future__ import annotations

import faulthandler
import os
import sys
from inspect import iscoroutinefunction
from io import TextIOWrapper
from typing import NoReturn

from chutes._binding import bind
from chutes._loading import load
from chutes._runtime.aside import Aside
from chutes._runtime.endings import failed, raised
from chutes._runtime.hello import Hello, read_hello
from chutes._runtime.leaving import Leaving
from chutes._runtime.lines import STANDARD_ERROR, warn
from chutes._runtime.performing import Performance
from chutes._runtime.platform import JobPlatform
from chutes._runtime.reports import Reports
from chutes._runtime.stopping import Stopping
from chutes._runtime.telling import Telling
from chutes._runtime.wire import Wire
from chutes.chute import Chute
from chutes.chute.job import Job
from chutes.errors import LoadError, PayloadError, PlatformError


def main(root: str) -> NoReturn:
    """`root`: the folder with sdk, chute and job, as the host mounts them."""
    _prepare()
    wire = Wire(os.path.join(root, "job", "agent.sock"))
    reports = Reports(wire.call, wire.poke, warn)
    stopping = Stopping(wire.poke)
    leaving = Leaving(wire, reports, stopping)
    for tick in (reports.tick, stopping.tick, leaving.tick):
        wire.each_turn(tick)
    stopping.listen()
    stopping.end_in_children()
    wire.start()
    hello = _greet(wire, stopping)
    telling = Telling(wire, reports, stopping, leaving)
    stopping.last_words_by(telling.say_still_running)
    folder = os.path.join(root, "chute")
    sys.path.insert(1, folder)
    try:
        if hello.kind == "cords":
            from chutes._runtime.cords.hosting import host_cords  # noqa: PLC0415 — no other job needs it

            host_cords(root, hello, wire, reports, stopping, telling)
        else:
            _work(folder, hello, JobPlatform(hello, wire, reports, stopping), stopping, telling)
    except BaseException as error:  # noqa: BLE001 — a signal handler of the author's may raise anywhere, here as well
        telling.tell(raised(error))
    stopping.listen()
    leaving.leave()


def _prepare() -> None:
    faulthandler.enable(STANDARD_ERROR)
    for stream in (sys.stdout, sys.stderr):
        # So that the log is live. A carriage return counts as a line's end as well, as progress bars want it.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _greet(wire: Wire, stopping: Stopping) -> Hello:
    wire.greeting.wait(-1)
    try:
        hello = read_hello(wire.greeting.value)
    except PlatformError as refused:
        warn(f"the host refused this launcher: {refused}")
        os._exit(1)

    def heed(stops: object) -> None:
        if stops:
            stopping.ask()

    stopping.grace = hello.grace
    heed(hello.stopping)
    wire.each_hello(lambda said: heed(said["stopping"]))
    return hello


def _work(folder: str, hello: Hello, platform: JobPlatform, stopping: Stopping, telling: Telling) -> None:
    file = os.path.join(folder, hello.file)
    if hello.kind == "describe":
        from chutes._runtime.describing import described  # noqa: PLC0415 — no other job needs it

        telling.tell(described(file, hello.attribute))
        return
    aside = Aside()
    try:
        chute, job = _find(file, hello)
    except BaseException as error:  # noqa: BLE001 — the author's file may raise anything, SystemExit included
        telling.tell(failed("import", error))
        return
    try:
        args, kwargs = bind(job.function, hello.payload, hello.output_dir)
    except PayloadError as error:
        telling.tell(failed("payload", error))
        return
    chute.attach(platform)
    performance = Performance(chute, stopping, telling.tell)
    telling.ask(performance.whereabouts)

    def play() -> None:
        telling.follow_this_thread()
        performance.play(job.function, args, kwargs)

    if iscoroutinefunction(job.function):
        play()
        return
    try:
        aside.run(play)
    except BaseException as error:  # noqa: BLE001 — a signal handler of the author's: it would have ended the function
        telling.tell(raised(error))
        performance.shut_down()


def _find(file: str, hello: Hello) -> tuple[Chute, Job]:
    chute = load(file, hello.attribute)
    job = chute.jobs.get(hello.function)
    if job is None:
        there = ", ".join(sorted(chute.jobs)) or "none"
        raise LoadError(f"{hello.file} has no job {hello.function!r}; its jobs are: {there}")
    return chute, job
