"""adapters/nvml/child — the program that talks to NVML: JSON lines in, JSON lines out. Knows nothing of jobs or leases.

A request is {"id", "method", "params"}, its answer {"id", "result"} or {"id", "error": {"code", "message"}}. Before a GPU is
touched a line {"id", "at": index} goes out, so that who kills a child that hangs knows which GPU it was. It may be killed
anywhere. It imports little: it lives as long as the daemon does, beside other people's jobs.
"""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from agent.adapters.nvml import paths, readings
from agent.adapters.nvml.driver import Driver, Failure
from agent.adapters.nvml.xids import Xids


def main() -> None:
    child = Child(_Pipe(_take_stdout()))
    for line in sys.stdin.buffer:
        child.answer(line)
    # The daemon is gone. The thread that waits for events would hold up a normal exit.
    os._exit(0)


def _take_stdout() -> int:
    """What NVML might print goes to stderr; the answers have the pipe for themselves."""
    pipe = os.dup(1)
    os.dup2(2, 1)
    return pipe


class _Pipe:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._turn = threading.Lock()

    def send(self, message: dict[str, object]) -> None:
        left = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._turn:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BrokenPipeError:
                    os._exit(0)


class Child:
    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        self._id: object = None
        self._driver = Driver(self._mark)
        self._xids = Xids(pipe.send)

    def answer(self, line: bytes) -> None:
        self._id = None
        try:
            request = json.loads(line)
            self._id = request["id"]
            work, params = self._methods()[request["method"]], request.get("params", {})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._refuse("bad_request", f"{type(error).__name__}: {error}")
            return
        try:
            self._driver.open()
            self._driver.skip = frozenset(params.get("skip", ()))
            self._pipe.send({"id": self._id, "result": work(params)})
        except Failure as failure:
            self._refuse(failure.code, failure.message)

    def _methods(self) -> dict[str, Callable[[dict[str, Any]], object]]:
        driver = self._driver
        return {
            "inventory": lambda _: readings.inventory(driver),
            "topology": lambda _: paths.topology(driver),
            "processes": lambda params: readings.processes(driver, params["uuids"]),
            "health": lambda params: readings.health(driver, params["uuids"]),
            "sample": lambda params: readings.sample(driver, params["uuids"]),
            "events": lambda _: self._xids.watch(driver),
        }

    def _mark(self, index: int) -> None:
        self._pipe.send({"id": self._id, "at": index})

    def _refuse(self, code: str, message: str) -> None:
        self._pipe.send({"id": self._id, "error": {"code": code, "message": message}})


if __name__ == "__main__":
    main()
