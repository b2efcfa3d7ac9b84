"""adapters/folders/chutes — the folders of deployed versions: received, unpacked, read, removed, swept. Knows no row.

A folder is made as `<id>.<nonce>` and renamed, and renamed back to such a name before it is emptied, as a job's is: under `<id>` there is
always the whole of a version.
"""

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress
from secrets import token_hex
from typing import IO

import structlog

from agent.adapters.folders import durable
from agent.adapters.folders.disk import Disk
from agent.adapters.folders.names import is_half_made, is_job_id, version_folder
from agent.adapters.folders.state import ASIDE
from agent.adapters.folders.tree import FolderNotRemovedError, remove_tree
from agent.adapters.folders.unpacking import FOLDER_MODE, unpack
from agent.interfaces import ChuteFilesMissingError, Receiving, Unpacked

FILES, DEPLOY, RECEIVED = "files", "deploy.json", "received."
READ_AND_WRITE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_log = structlog.get_logger()


class ReceivedArchive:
    """Implements `interfaces.Receiving`."""

    def __init__(self, disk: Disk, file: IO[bytes]) -> None:
        self._disk = disk
        self.file = file

    async def write(self, data: bytes) -> None:
        """Append it."""
        await self._disk.run(self.file.write, data)

    async def close(self) -> None:
        """Let go of it. Once more is fine."""
        await self._disk.run(self._close)

    def _close(self) -> None:
        with suppress(
            OSError
        ):  # what could not be written to a full disk any more: it has no name, and nobody wants it
            self.file.close()


class DiskChutes:
    """Implements `interfaces.ChuteFolders`; what only a repair needs is beside it. `root` is open on the state folder, `folder` on the
    one of chutes in it. `slow`: threads for what may take long.
    """

    def __init__(self, root: int, folder: int, disk: Disk, slow: Disk) -> None:
        self._root = root
        self._folder = folder
        self._disk = disk
        self._slow = slow
        # Two that remove one folder would each find the other's doing a fault.
        self._removing = asyncio.Lock()

    async def receive(self) -> Receiving:
        """A file without a name, to write an archive into."""
        return ReceivedArchive(self._disk, await self._disk.run(nameless, self._folder))

    async def unpack(self, received: Receiving, version_id: str, deploy: str) -> Unpacked:
        """The version's folder, whole or not at all. Raises DeployRefusedError."""
        assert isinstance(received, ReceivedArchive)  # noqa: S101 - there is no other that `receive` gives
        return await self._slow.run(make, self._folder, received.file, version_id, deploy)

    async def deploy(self, version_id: str) -> str:
        """What was deployed, with its secrets. Raises ChuteFilesMissingError."""
        return await self._disk.run(read_deploy, self._folder, version_id)

    async def remove(self, version_id: str) -> None:
        """Gone is fine. Raises FolderNotRemovedError."""
        async with self._removing:
            await self._slow.run(remove, self._folder, version_id)

    async def ids(self) -> set[str]:
        """The versions that have a folder."""
        return await self._disk.run(version_ids, self._folder)

    async def set_aside(self, version_id: str) -> str:
        """Move the files to `<state>/aside`, for a repair of the database; what was deployed with them is dropped, for it holds secrets."""
        return await self._disk.run(set_aside, self._root, self._folder, version_id)

    async def names(self) -> set[str]:
        """All that is there: versions, and what is half-made."""
        return set(await self._disk.run(durable.names_in, self._folder))

    async def sweep(self, names: set[str], known: set[str]) -> list[str]:
        """Of `names` remove what no row knows and what a crash left. `known` must be whole: what is not in it is lost."""
        async with self._removing:
            return await self._slow.run(sweep, self._folder, names, known)


def nameless(chutes: int) -> IO[bytes]:
    name = f"{RECEIVED}{token_hex(8)}"
    number = os.open(name, READ_AND_WRITE, durable.PRIVATE_FILE, dir_fd=chutes)
    file = os.fdopen(number, "w+b")
    durable.unlink_if_there(chutes, name)  # a sweep may have been faster
    return file


def make(chutes: int, archive: IO[bytes], version_id: str, deploy: str) -> Unpacked:
    """Make the folder of a version that has none. Raises DeployRefusedError, OSError; nothing is left then."""
    name = f"{version_folder(version_id)}.{token_hex(8)}"
    try:
        os.mkdir(name, durable.PRIVATE_FOLDER, dir_fd=chutes)
        with durable.open_folder(chutes, name) as version:
            durable.ensure_folder(version, FILES, FOLDER_MODE)
            with durable.open_folder(version, FILES) as files:
                unpacked = unpack(archive, files)
            durable.write_file(version, DEPLOY, deploy.encode(), durable.PRIVATE_FILE)
            os.fsync(version)
        _publish(chutes, name, version_id)
    except BaseException:
        _remove_half_made(chutes, name)
        raise
    return unpacked


def _publish(chutes: int, name: str, version_id: str) -> None:
    os.rename(name, version_id, src_dir_fd=chutes, dst_dir_fd=chutes)
    try:
        os.fsync(chutes)
    except OSError:
        os.rename(version_id, name, src_dir_fd=chutes, dst_dir_fd=chutes)
        raise


def _remove_half_made(chutes: int, name: str) -> None:
    try:
        remove_tree(chutes, name)
    except (OSError, FolderNotRemovedError) as error:
        # The caller gets what went wrong first. What is left has no version's name, and the next start removes it.
        _log.warning("folder.left", folder=name, why=str(error))


def read_deploy(chutes: int, version_id: str) -> str:
    """Raises ChuteFilesMissingError."""
    try:
        with durable.open_folder(chutes, version_folder(version_id)) as version:
            return durable.read_file(version, DEPLOY).decode()
    except FileNotFoundError as error:
        raise ChuteFilesMissingError(version_id) from error


def remove(chutes: int, version_id: str) -> None:
    """Gone is fine. Raises FolderNotRemovedError."""
    removed = f"{version_folder(version_id)}.removed"
    remove_tree(chutes, removed)
    try:
        os.rename(version_id, removed, src_dir_fd=chutes, dst_dir_fd=chutes)
    except FileNotFoundError:
        return
    os.fsync(chutes)
    remove_tree(chutes, removed)


def version_ids(chutes: int) -> set[str]:
    """The versions that have a folder."""
    return set(filter(is_job_id, durable.names_in(chutes)))


def set_aside(root: int, chutes: int, version_id: str) -> str:
    """Move the files out of the agent's sight; where they are now, below the state folder."""
    with durable.open_folder(chutes, version_folder(version_id)) as version:
        durable.unlink_if_there(version, DEPLOY)
    durable.ensure_folder(root, ASIDE, durable.PRIVATE_FOLDER)
    with durable.open_folder(root, ASIDE) as aside:
        os.rename(version_id, version_id, src_dir_fd=chutes, dst_dir_fd=aside)
        os.fsync(aside)
    os.fsync(chutes)
    return f"{ASIDE}/{version_id}"


def sweep(chutes: int, names: Iterable[str], known: set[str]) -> list[str]:
    """Remove what no row knows, and what a crash left half made or half removed. What has no version's name is none of ours, but for
    an archive that a crash left its name.
    """
    removed = []
    for name in sorted(names):
        try:
            if is_job_id(name) and name not in known:
                remove(chutes, name)
            elif is_half_made(name) and name.partition(".")[0] not in known:
                remove_tree(chutes, name)
            elif name.startswith(RECEIVED):
                durable.unlink_if_there(chutes, name)
            else:
                continue
        except (FolderNotRemovedError, OSError) as error:
            # One such folder, or a damaged one (EIO), must not keep the daemon from its jobs.
            _log.warning("folder.left", folder=name, why=str(error))
            continue
        removed.append(name)
    return removed
