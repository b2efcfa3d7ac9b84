"""uploads_contract — what holds for every protocol and every endpoint: one suite, whose fixture `way` leads to one of them."""

import asyncio

import pytest

from agent.core.delivery import Sent
from agent.interfaces import Offered, OutputChangedError
from tests.contract.upload_values import File
from tests.contract.upload_ways import Destination, Way

MIB = 1 << 20
# As they travel: what is not UTF-8 is percent-encoded already, and so is a percent sign.
NAMES = (
    "plain.txt",
    "folder/inner/model.bin",
    "a b+c&d=e?f#g;h,i'j\"k<l>m|n\\o[p]{q}^`~!$(r)*@:.txt",
    "ünï/日本語/😀.txt",
    "100%25/caf%E9",
    "line\nbreak",
    ".hidden/..twodots",
    "manifest.json/inner",
)


class UploadsContract:
    @pytest.mark.parametrize("name", NAMES)
    async def test_a_file_arrives_under_its_name_whatever_is_in_it(
        self, way: Way[Destination], name: str
    ) -> None:
        file = File(name, name.encode() * 3)
        assert await way.send(file) == [Sent()]
        assert await way.world.files() == {name: file.data}

    @pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 7])
    async def test_a_file_arrives_whole_whatever_its_size(self, way: Way[Destination], size: int) -> None:
        file = File(
            "f.bin", bytes(number % 251 for number in range(1000)) * (size // 1000) + b"z" * (size % 1000)
        )
        assert await way.send(file) == [Sent()]
        assert await way.world.files() == {"f.bin": file.data}

    async def test_many_files_at_once_all_arrive(self, way: Way[Destination]) -> None:
        files = [File(f"part/{number:03d}", b"%d" % number * 1000) for number in range(40)]
        async with way.opened(files) as delivery:
            answers = await asyncio.gather(*(delivery.send(file) for file in files))
        assert answers == [Sent()] * 40
        assert await way.world.files() == {file.path: file.data for file in files}

    async def test_the_same_again_changes_nothing_also_after_a_restart(self, way: Way[Destination]) -> None:
        files = [File("a", b"one"), File("b/c", b"two")]
        async with way.opened(files) as delivery:
            assert await delivery.begin([Offered(file.path, file.size_bytes) for file in files]) == Sent()
            assert [await delivery.send(file) for file in (*files, *files)] == [Sent()] * 4
        assert await way.send(*files) == [Sent()] * 2
        assert await way.world.files() == {"a": b"one", "b/c": b"two"}

    async def test_the_end_is_told_and_the_manifest_arrives_where_the_protocol_has_one(
        self, way: Way[Destination]
    ) -> None:
        file, manifest = File("a", b"one"), File("manifest.json", b'{"files": []}')
        async with way.opened([file]) as delivery:
            await delivery.send(file)
            assert [await delivery.end(manifest), await delivery.end(manifest)] == [Sent(), Sent()]
        ends = {} if way.world.manifest is None else {way.world.manifest: manifest.data}
        assert await way.world.files() == {"a": b"one", **ends}

    async def test_a_file_that_changes_meanwhile_never_arrives_whole_and_its_error_comes_out(
        self, way: Way[Destination]
    ) -> None:
        file = File("a", b"x" * (2 * MIB), error=OutputChangedError("a"))
        async with way.opened([file]) as delivery:
            with pytest.raises(OutputChangedError):
                await delivery.send(file)
            assert await way.world.files() == {}
            way.places.kept.clear()  # as `Places` promises: what lies there is the beginning of another content
            calm = File("a", b"y" * (2 * MIB))
            assert await delivery.send(calm) == Sent()
        assert await way.world.files() == {"a": calm.data}
