"""The kernel's log in memory: a test writes XIDs into it, and each daemon that listens hears all of the boot from the first on."""

from collections.abc import Callable, Sequence

from agent.core.kernel_log import LoggedXid, read_address
from agent.interfaces import Clock


class FakeKernelLog:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ring: list[LoggedXid] = []
        self._tell: Callable[[Sequence[LoggedXid]], None] | None = None
        self.unreadable: str | None = None

    def write(self, pci: str, xid: int, at: float | None = None) -> None:
        """As the driver does. `at`: seconds on the boot clock, for one that came then and was written late."""
        address = read_address(pci)
        assert address is not None, pci
        moment = self._clock.boot_seconds() if at is None else at
        self._ring.append(LoggedXid(address, xid, len(self._ring), moment))
        if self._tell is not None and self.unreadable is None:
            self._tell(self._ring[-1:])

    def reboot(self) -> None:
        """A new kernel counts from zero."""
        self._ring.clear()

    def listen(self, tell: Callable[[Sequence[LoggedXid]], None]) -> None:
        self._tell = tell
        if self._ring and self.unreadable is None:
            last = {(one.address, one.xid): one for one in self._ring}
            tell(list(last.values()))

    def condition(self) -> str | None:
        return self.unreadable
