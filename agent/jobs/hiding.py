"""jobs/hiding — the secrets of jobs that are not over, hidden from log lines and from the texts of engine and registry. Keeps no file."""

from collections.abc import Iterator

from agent.interfaces import SecretFiles
from agent.log import Redactor


class Hiding:
    """A job's secrets are hidden from its acceptance (or the daemon's start) until they are dropped."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._values: dict[str, tuple[str, ...]] = {}

    def add(self, job_id: str, secrets: SecretFiles) -> None:
        """Hide the job's secrets. Twice is once."""
        if job_id not in self._values:
            self._values[job_id] = tuple(filter(None, _values_of(secrets)))
            for value in self._values[job_id]:
                self._redactor.add(value)

    def drop(self, job_id: str) -> None:
        """They are gone from this host. A job that has none is fine."""
        for value in self._values.pop(job_id, ()):
            self._redactor.remove(value)

    def hide(self, text: str) -> str:
        """A text of somebody else's, fit for a reason or a log line."""
        return self._redactor.hide(text)


def _values_of(secrets: SecretFiles) -> Iterator[str]:
    yield from secrets.values.values()
    if secrets.registry is not None:
        yield secrets.registry.password
    if secrets.notify is not None:
        yield secrets.notify.secret
        yield secrets.notify.url.partition("?")[2]
    if secrets.upload is not None:
        yield from secrets.upload.headers.values()
        for url in secrets.upload.urls.values():
            yield url.partition("?")[2]
