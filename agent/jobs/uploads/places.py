"""jobs/uploads/places — where half-sent uploads of one job lie, read once and kept in its folder of secrets. Asks no endpoint."""

from dataclasses import dataclass, field

from agent.interfaces import Folders, OutputFile


@dataclass(slots=True)
class KeptPlaces:
    """Implements `interfaces.Places`. A place counts for one content alone, told by the file's size and time."""

    _folders: Folders
    _job_id: str
    _known: dict[str, str]
    _keys: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def read(cls, folders: Folders, job_id: str) -> "KeptPlaces":
        return cls(folders, job_id, await folders.upload_places(job_id))

    def turn_to(self, file: OutputFile) -> None:
        """What is sent now under its path is this content. Paths hold no line end (adapters/folders/names)."""
        self._keys[file.path] = f"{file.path}\n{file.size_bytes} {file.modified_ns}"

    async def find(self, path: str) -> str | None:
        return self._known.get(self._key(path))

    async def keep(self, path: str, place: str) -> None:
        await self._folders.keep_upload_place(self._job_id, self._key(path), place)
        self._known[self._key(path)] = place

    def leave(self, path: str) -> None:
        """What lies there is of no one content."""
        self._known.pop(self._key(path), None)

    def _key(self, path: str) -> str:
        return self._keys.get(path, path)
