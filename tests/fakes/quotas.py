"""Quota volumes in memory: a disk of so many bytes, images on it, loop devices whose numbers a reboot changes."""

from dataclasses import dataclass

from agent.interfaces import JobFolderMissingError, QuotaUnavailableError, Shortage


@dataclass(slots=True)
class _Image:
    size_bytes: int
    taken_bytes: int
    is_released: bool = False


class FakeQuotas:
    """`written`: what each job has on its volume when it is released. `broken`: the calls say so. `damaged`: can't be mounted."""

    def __init__(self, disk_bytes: int = 2**40) -> None:
        self.disk_bytes = disk_bytes
        self.images: dict[str, _Image] = {}
        self.devices: dict[str, str] = {}
        self.written: dict[str, int] = {}
        self.broken: str | None = None
        self.damaged: set[str] = set()
        self.releases: list[str] = []
        self._free_bytes = 0
        self._count = 0

    @property
    def free_bytes(self) -> int:
        return self._free_bytes

    async def reserve(self, job_id: str, size_bytes: int) -> Shortage | None:
        self._raise_if_broken()
        free = self._free()
        if job_id not in self.images:
            if size_bytes > free:
                self._free_bytes = free
                return Shortage(size_bytes, free)
            self.images[job_id] = _Image(size_bytes, size_bytes)
        self._free_bytes = self._free()
        return None

    async def attach(self, job_id: str) -> str:
        self._raise_if_broken()
        if job_id not in self.images:
            raise JobFolderMissingError(job_id, "quota volume")
        if job_id not in self.devices:
            self._count += 1
            self.devices[job_id] = f"/dev/loop{self._count}"
        return self.devices[job_id]

    async def refill(self, job_id: str) -> bool:
        image = self.images.get(job_id)
        if image is not None:
            image.taken_bytes = image.size_bytes
        return True

    async def held(self) -> set[str]:
        unreleased = {job_id for job_id, image in self.images.items() if not image.is_released}
        return unreleased | set(self.devices)

    async def release(self, job_id: str) -> None:
        self._raise_if_broken()
        self.releases.append(job_id)
        self.devices.pop(job_id, None)
        if job_id in self.damaged:
            raise QuotaUnavailableError("it can't be mounted")
        image = self.images.get(job_id)
        if image is not None:
            image.is_released = True
            image.taken_bytes = self.written.get(job_id, 0)

    async def why_impossible(self) -> str | None:
        return self.broken

    async def rest(self) -> None:
        """Nothing is ever mounted here."""

    # ── what a test does to it ──

    def forget(self, job_id: str) -> None:
        """The job's folder is removed, with its image."""
        self.images.pop(job_id, None)
        self.devices.pop(job_id, None)

    def reboot(self) -> None:
        """No device is left, and none will have its number."""
        self.devices.clear()

    def _free(self) -> int:
        return self.disk_bytes - sum(image.taken_bytes for image in self.images.values())

    def _raise_if_broken(self) -> None:
        if self.broken is not None:
            raise QuotaUnavailableError(self.broken)
