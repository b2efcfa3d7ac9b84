"""jobs/uploads/places — where half-sent uploads of one job lie, read once and kept in its folder of secrets. Asks no endpoint."""

from dataclasses import dataclass

from agent.interfaces import Folders


@dataclass(slots=True)
class KeptPlaces:
    """Implements `interfaces.Places`."""

    _folders: Folders
    _job_id: str
    _known: dict[str, str]

    @classmethod
    async def read(cls, folders: Folders, job_id: str) -> "KeptPlaces":
        return cls(folders, job_id, await folders.upload_places(job_id))

    async def find(self, path: str) -> str | None:
        return self._known.get(path)

    async def keep(self, path: str, place: str) -> None:
        await self._folders.keep_upload_place(self._job_id, path, place)
        self._known[path] = place
