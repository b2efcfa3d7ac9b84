"""fakes/chute_folders — the files of versions in memory. What the reader of archives refuses, the real one's own rules say here, too."""

import gzip
import hashlib
import io
import tarfile
import zlib

from agent.interfaces import ChuteFilesMissingError, Receiving, Unpacked
from agent.spec import DeployRefusedError, Fault

MOST_BYTES, MOST_FILES = 128 << 20, 10_000


class FakeReceiving:
    def __init__(self) -> None:
        self.data = bytearray()

    async def write(self, data: bytes) -> None:
        self.data += data

    async def close(self) -> None:
        pass


class FakeChuteFolders:
    """`kept`: by version the deploy's text and its files, for a test to look at."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, dict[str, bytes]]] = {}

    async def receive(self) -> Receiving:
        return FakeReceiving()

    async def unpack(self, received: Receiving, version_id: str, deploy: str) -> Unpacked:
        assert isinstance(received, FakeReceiving)
        files = _read(bytes(received.data))
        self.kept[version_id] = deploy, files
        lines = [f"{name} {hashlib.sha256(data).hexdigest()}" for name, data in sorted(files.items())]
        return Unpacked(
            hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            frozenset(files),
            sum(map(len, files.values())),
        )

    async def deploy(self, version_id: str) -> str:
        if version_id not in self.kept:
            raise ChuteFilesMissingError(version_id)
        return self.kept[version_id][0]

    async def remove(self, version_id: str) -> None:
        self.kept.pop(version_id, None)

    async def names(self) -> set[str]:
        return set(self.kept)

    async def sweep(self, names: set[str], known: set[str]) -> list[str]:
        strays = sorted(names & set(self.kept) - known)
        for version_id in strays:
            del self.kept[version_id]
        return strays


def _read(data: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    folders: set[str] = set()
    faults: list[str] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(_plain(data))) as tar:
            for info in tar.getmembers():
                name = info.name.removeprefix("./")
                trouble = _why_not(info, name, files, folders)
                if trouble is not None:
                    faults.append(f"{info.name}: {trouble}")
                elif info.isfile():
                    content = tar.extractfile(info)
                    files[name] = b"" if content is None else content.read()
                    folders.update(_above(name))
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        faults.append(str(error))
    if len(files) > MOST_FILES:
        faults.append(f"more than {MOST_FILES} files")
    if not files and not faults:
        faults.append("holds no file")
    if faults:
        raise DeployRefusedError(Fault("code", "archive_refused", told, "Leave it out.") for told in faults)
    return files


def _plain(data: bytes) -> bytes:
    plain = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    if len(plain) > MOST_BYTES:
        raise tarfile.TarError("it unpacks to more than 128 MiB")
    if not plain.endswith(bytes(1024)):
        raise tarfile.TarError("it ends before its end")
    return plain


def _why_not(info: tarfile.TarInfo, name: str, files: dict[str, bytes], folders: set[str]) -> str | None:
    if not (info.isfile() or info.isdir()):
        return "is no file"
    if name.startswith("/") or ".." in name.split("/"):
        return "leads out"
    if name in files:
        return "is there twice"
    return (
        "is in the place of a folder"
        if name in folders or not files.keys().isdisjoint(_above(name))
        else None
    )


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
