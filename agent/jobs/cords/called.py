"""jobs/cords/called — the versions of chutes that are called, each with what answers for it. Starts and stops none."""

from collections.abc import Iterator

from agent.core.chute import Version, VersionState
from agent.jobs.cords.host import Host


class Called:
    """Iterates over a copy: hosts come and go meanwhile."""

    def __init__(self) -> None:
        self._hosts: dict[str, Host] = {}  # by version

    def __iter__(self) -> Iterator[Host]:
        return iter(list(self._hosts.values()))

    def __len__(self) -> int:
        return len(self._hosts)

    def get(self, version_id: str) -> Host | None:
        return self._hosts.get(version_id)

    def host(self, version: Version, now: float) -> Host:
        """The one of the version, from now on if there was none."""
        host = self._hosts.get(version.id)
        if host is None:
            host = self._hosts[version.id] = Host(version, now)
            host.is_superseded = version.state is not VersionState.ACTIVE
            self.note_newest(version)
        return host

    def forget(self, host: Host) -> None:
        del self._hosts[host.version]

    def of(self, owner: str, chute: str) -> list[Host]:
        return [host for host in self if (host.owner, host.chute) == (owner, chute)]

    def note_newest(self, version: Version) -> None:
        """A version of the chute is known: those before it are superseded."""
        for host in self.of(version.owner, str(version.chute)):
            host.is_superseded = host.is_superseded or host.number < (version.number or 0)

    def longest_idle(self, owner: str) -> Host | None:
        """Of those that are warm and not called, the owner's own first."""
        idle = [host for host in self if host.job_id and host.open_lines and host.is_idle]
        return min(idle, key=lambda host: (host.owner != owner, host.used_at), default=None)
