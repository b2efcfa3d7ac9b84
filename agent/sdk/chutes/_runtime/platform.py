"""chutes/_runtime/platform — the members of `self` in a job on a host, over the wire. Checks nothing: chutes/platform does."""

from __future__ import annotations

from json import dumps, loads
from typing import Any, Mapping, Sequence

from chutes._calls import Progress
from chutes._runtime.hello import Hello
from chutes._runtime.reports import Reports
from chutes._runtime.stopping import Stopping
from chutes._runtime.wire import Wire
from chutes.errors import PlatformError
from chutes.platform import Platform, refuse_pickle


class JobPlatform(Platform):
    def __init__(self, hello: Hello, wire: Wire, reports: Reports, stopping: Stopping) -> None:
        self._hello = hello
        self._wire = wire
        self._reports = reports
        self._stopping = stopping
        self._counts = Counts()

    @property
    def logger(self) -> Any:
        from chutes._runtime.logger import job_logger  # noqa: PLC0415 — who never logs starts without logging

        return job_logger()

    @property
    def current_job_id(self) -> str:
        return self._hello.job_id

    @property
    def attempt(self) -> int:
        return self._hello.attempt

    @property
    def output_dir(self) -> str:
        return self._hello.output_dir

    @property
    def job_ports(self) -> Sequence[Mapping[str, Any]]:
        return self._hello.ports

    @property
    def should_shutdown(self) -> bool:
        return self._stopping.is_asked

    def __reduce__(self) -> Any:
        refuse_pickle()

    async def get_job_status(self, job_id: str) -> dict[str, Any] | None:
        status: dict[str, Any] | None = await self._wire.call("get_job_status", {"job_id": str(job_id)})
        return status

    async def cancel_job(self, job_id: str) -> bool:
        return bool(await self._wire.call("cancel_job", {"job_id": str(job_id)}))

    async def _start(self, name: str, payload: Any, key: str | None) -> str:
        return await self._start_counted(name, payload, key, self._counts, {})

    async def _start_counted(
        self, name: str, payload: Any, key: str | None, counts: Counts, origin: Mapping[str, str]
    ) -> str:
        """`origin`: what of the call says where it comes from, if it is not the job itself."""
        # A payload is a JSON object to the host.
        payload = {} if payload is None else payload
        call = identity(name, payload, key)
        k = counts.take(call)
        try:
            started = await self._wire.call(
                "start_job", {"name": name, "payload": payload, "key": key, "k": k, **origin}
            )
        except PlatformError:
            # There is no such child: the next call like this one is the one that makes it.
            counts.give_back(call, k)
            raise
        return str(started["job_id"])

    def _keep_progress(self, progress: Progress) -> None:
        self._wire.refuse_children("update_job_progress")
        self._reports.keep_progress(progress.percent, progress.message)

    def _keep_metric(self, name: str, value: float | str) -> None:
        self._wire.refuse_children("record_metric")
        self._reports.keep_metric(name, value)

    def _keep_status(self, task: str, status: str) -> None:
        self._wire.refuse_children("update_job_status")
        self._reports.keep_status(task, status)


class Counts:
    """Which of the identical calls of this attempt is this one? The same in each attempt, so that a child is found again."""

    def __init__(self) -> None:
        self._taken: dict[bytes, set[int]] = {}

    def take(self, call: bytes) -> int:
        taken = self._taken.setdefault(call, set())
        k = next(number for number in range(len(taken) + 1) if number not in taken)
        taken.add(k)
        return k

    def give_back(self, call: bytes, k: int) -> None:
        self._taken[call].discard(k)


def identity(name: str, payload: Any, key: str | None) -> bytes:
    """What makes two calls the same, as the host sees it: a tuple is a list to it, and a number as a key is a text."""
    from hashlib import sha256  # noqa: PLC0415 — only jobs that start others need it

    seen: tuple[Any, ...] = (name, loads(dumps(payload)), key)
    try:
        return sha256(dumps(seen, sort_keys=True, ensure_ascii=False).encode()).digest()
    except UnicodeEncodeError as no_text:
        raise PlatformError(
            "payload_invalid",
            f"the call of {name!r} has half a surrogate pair in a text, which is no character: {no_text}",
        ) from no_text
