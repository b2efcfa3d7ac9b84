"""jobs/uploads/places — where half-sent uploads of one job lie, read once and kept in its folder of secrets. Asks no endpoint."""

from collections.abc import Container
from dataclasses import dataclass, field

from agent.interfaces import Folders, OutputFile

# Far more than are half-sent at once. An endpoint that begins uploads and ends none must not fill the memory.
MOST_PLACES = 4_000


@dataclass(slots=True)
class KeptPlaces:
    """Implements `interfaces.Places`. A place counts for one content alone, told by the file's size and time.

    Of more than MOST_PLACES the first are forgotten; their files begin anew.
    """

    _folders: Folders
    _job_id: str
    _known: dict[str, str] = field(repr=False)
    _keys: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    async def read(cls, folders: Folders, job_id: str, paths: Container[str] | None = None) -> "KeptPlaces":
        """Of these files; None: of all."""

        def is_wanted(key: str) -> bool:
            return paths is None or key.partition("\n")[0] in paths

        return cls(folders, job_id, await folders.upload_places(job_id, is_wanted, MOST_PLACES))

    def turn_to(self, file: OutputFile) -> None:
        """What is sent now under its path is this content. Paths hold no line end (adapters/folders/names)."""
        self._keys[file.path] = f"{file.path}\n{file.size_bytes} {file.modified_ns}"

    async def find(self, path: str) -> str | None:
        return self._known.get(self._key(path))

    async def keep(self, path: str, place: str) -> None:
        await self._folders.keep_upload_place(self._job_id, self._key(path), place)
        self._known[self._key(path)] = place
        if len(self._known) > MOST_PLACES:
            del self._known[next(iter(self._known))]

    def leave(self, path: str) -> None:
        """It is all there, or what lies there is of no one content."""
        self._known.pop(self._key(path), None)
        self._keys.pop(path, None)

    def _key(self, path: str) -> str:
        return self._keys.get(path, path)
