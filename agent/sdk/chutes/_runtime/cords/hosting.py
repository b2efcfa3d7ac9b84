"""chutes/_runtime/cords/hosting — the host job of a chute's cords, from the import of the file to the one ending. Answers no call."""

from __future__ import annotations

import os

from chutes._loading import load
from chutes._runtime.cords.platform import CordPlatform
from chutes._runtime.cords.seat import Stage
from chutes._runtime.cords.serving import Serving
from chutes._runtime.cords.threads import Threads
from chutes._runtime.cords.watching import StuckError, Watching
from chutes._runtime.endings import failed
from chutes._runtime.hello import Hello
from chutes._runtime.performing import Performance
from chutes._runtime.reports import Reports
from chutes._runtime.stopping import Stopping
from chutes._runtime.telling import Telling
from chutes._runtime.wire import Wire


def host_cords(  # noqa: PLR0913, PLR0917 — what a launcher is made of
    root: str, hello: Hello, wire: Wire, reports: Reports, stopping: Stopping, telling: Telling
) -> None:
    # Made before the author's file is imported, which may put something else in the place of threads, as gevent does.
    threads = Threads(hello.concurrency)
    try:
        chute = load(os.path.join(root, "chute", hello.file), hello.attribute)
    except BaseException as error:  # noqa: BLE001 — the author's file may raise anything, SystemExit included
        telling.tell(failed("import", error))
        return
    chute.attach(CordPlatform(hello, wire, reports, stopping))
    stage = Stage(os.path.join(root, "job", "agent.sock"), chute, threads)
    serving = Serving(stage, wire, stopping, hello.concurrency)
    performance = Performance(chute, stopping, telling.tell)
    telling.ask(lambda: serving.whereabouts() if serving.has_begun else performance.whereabouts())
    wire.each_turn(Watching(serving.is_stuck, stopping, lambda: telling.give_up(StuckError())).tick)
    performance.play(serving.run, (), {})
