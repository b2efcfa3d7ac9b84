"""Outputs over HTTP: list, ranges, tar; names and files of a hostile job."""

import asyncio
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.api.handlers.outputs import Span, choose_span
from agent.api.limits import ApiLimits
from agent.interfaces import (
    OutputChangedError,
    OutputFile,
    OutputLimits,
    OutputListing,
    OutputReader,
    SkippedOutput,
)
from agent.jobs.outputs import (
    READ_BYTES,
    RECORD_BYTES,
    Outputs,
    content_chunks,
    ending_bytes,
    member_chunks,
    member_header,
)
from tests.fakes.folders import FakeFolders
from tests.shell.api_world import ApiWorld, api_world
from tests.tries import tries

MOST_FILES = 1000  # of the world's Outputs
CONTENT = bytes(range(256)) * 10


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[ApiWorld]:
    async with api_world(tmp_path) as made:
        yield made


async def make_outputs(world: ApiWorld) -> tuple[str, bytes]:
    """A job's id and its output folder."""
    job_id = await world.submit()
    await world.folders.prepare(job_id)
    return job_id, os.fsencode(world.state / "jobs" / job_id / "outputs")


def put(root: bytes, name: bytes, content: bytes = CONTENT) -> None:
    path = root + b"/" + name
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 (names as bytes)
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(content)


def url(job_id: str, path: str) -> str:
    return f"/v1/jobs/{job_id}/outputs/{quote(path)}"


NAMES = [
    b"a.txt",
    b"dir/b",
    b"with space",
    "grün/ü".encode(),
    b"100%",
    b"%41",
    b"line\nend",
    b"\xff\xfe",
    b"q?x=1#f",
    b"a;b&c+d",
    b"...",
]


async def test_every_name_is_listed_with_size_and_sha256_and_can_be_fetched(world: ApiWorld) -> None:
    job_id, root = await make_outputs(world)
    for name in NAMES:
        put(root, name, CONTENT + name)
    listing = (await world.call("GET", f"/v1/jobs/{job_id}/outputs")).json
    assert (listing["next"], listing["truncated"], listing["skipped"]) == (None, None, [])
    assert len(listing["items"]) == len(NAMES)
    contents = set()
    for item in listing["items"]:
        reply = await world.call("GET", url(job_id, item["path"]))
        assert reply.status == 200, item
        assert hashlib.sha256(reply.raw).hexdigest() == item["sha256"]
        assert len(reply.raw) == item["size"]
        contents.add(reply.raw.removeprefix(CONTENT))
    assert contents == set(NAMES)


async def test_a_list_without_digests_reads_no_file(world: ApiWorld) -> None:
    job_id, root = await make_outputs(world)
    put(root, b"a")
    items = (await world.call("GET", f"/v1/jobs/{job_id}/outputs?digest=none")).json["items"]
    assert [(item["path"], item["size"], item["sha256"]) for item in items] == [("a", len(CONTENT), None)]


async def test_a_list_counts_as_a_stream_and_ends_with_its_client(tmp_path: Path) -> None:
    limits = ApiLimits(stream_seconds=5, streams_per_token=1)
    async with api_world(tmp_path, api_limits=limits) as world:
        job_id, root = await make_outputs(world)
        put(root, b"a")
        put(root, b"z")
        os.truncate(root + b"/z", 1 << 38)  # its digest would take minutes
        url, mine = f"/v1/jobs/{job_id}/outputs", {"Authorization": f"Bearer {world.token}"}
        assert world.http is not None
        async with world.http.get(world.url + url, headers=mine) as asking:
            assert (await world.call("GET", url + "?digest=none")).status == 429
            asking.close()
        async with asyncio.timeout(3):
            while (reply := await world.call("GET", url + "?digest=none")).status == 429:
                await asyncio.sleep(0.01)
        assert [item["path"] for item in reply.json["items"]] == ["a", "z"]
        assert reply.headers["Transfer-Encoding"] == "chunked"


async def test_what_is_refused_before_a_list_begins_is_a_problem(world: ApiWorld) -> None:
    job_id = await world.submit()
    shutil.rmtree(world.state / "jobs" / job_id)
    for query in ("", "?digest=none", "?format=tar"):
        reply = await world.call("GET", f"/v1/jobs/{job_id}/outputs{query}")
        assert (reply.status, reply.json["code"]) == (500, "job_folder_missing")
    assert (await world.call("HEAD", f"/v1/jobs/{job_id}/outputs")).raw == b""


@pytest.mark.slow
async def test_more_files_than_the_cap_are_a_list_that_says_so_and_a_tar_that_breaks(world: ApiWorld) -> None:
    job_id, root = await make_outputs(world)
    for number in range(MOST_FILES + 1):
        put(root, b"%d" % number, b"")
    for query in ("", "?digest=none"):
        listing = (await world.call("GET", f"/v1/jobs/{job_id}/outputs{query}")).json
        assert (len(listing["items"]), listing["truncated"]) == (MOST_FILES, "stopped after 1000 entries")
    with pytest.raises(aiohttp.ClientPayloadError):
        await world.call("GET", f"/v1/jobs/{job_id}/outputs?format=tar")


class OneFile(FakeFolders):
    """A folder of one file, which the job writes into while it is read."""

    async def list_outputs(self, job_id: str, limits: OutputLimits) -> OutputListing:
        return OutputListing((OutputFile("f", 1, 0, 0o644),), (), None)

    async def open_output(self, job_id: str, path: str) -> OutputReader:
        return Reader(b"", 1)


async def test_a_file_that_changes_while_its_digest_is_made_is_told_and_ends_no_list() -> None:
    outputs = Outputs(OneFile(), OutputLimits(9, 9, 9))
    listing = await outputs.list_files("a")
    entries = [entry async for entry in outputs.digested("a", listing.files)]
    assert entries == [SkippedOutput("f", str(OutputChangedError("f")))]


async def test_links_and_ways_out_are_told_and_not_followed(world: ApiWorld) -> None:
    job_id, root = await make_outputs(world)
    os.symlink("/etc/passwd", root + b"/link")  # noqa: PTH211 (names as bytes)
    os.mkfifo(root + b"/fifo")
    listing = (await world.call("GET", f"/v1/jobs/{job_id}/outputs")).json
    assert listing["items"] == []
    assert {skipped["path"] for skipped in listing["skipped"]} == {"link", "fifo"}
    for path in (
        "link",
        "fifo",
        "..%2fspec.json",
        "%2e%2e/spec.json",
        "../spec.json",
        "/etc/passwd",
        "missing",
        "%00",
        "%ff",
        "a//b",
    ):
        reply = await world.call("GET", f"/v1/jobs/{job_id}/outputs/{path}")
        assert (reply.status, reply.json["code"]) == (404, "output_not_found"), path


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=10-", 206, 10, 2560),
        ("bytes=-5", 206, 2555, 2560),
        ("bytes=-99999", 206, 0, 2560),
        ("bytes=2550-99999", 206, 2550, 2560),
        ("bytes=5-4", 200, 0, 2560),
        ("bytes=0-1,5-6", 200, 0, 2560),
        ("lines=0-1", 200, 0, 2560),
        ("bytes=-", 200, 0, 2560),
        ("bytes=x-y", 200, 0, 2560),
    ],
)
async def test_a_range_gives_exactly_its_bytes(
    world: ApiWorld, asked: str, status: int, start: int, end: int
) -> None:
    job_id, root = await make_outputs(world)
    put(root, b"a")
    reply = await world.call("GET", url(job_id, "a"), headers={"Range": asked})
    assert (reply.status, reply.raw) == (status, CONTENT[start:end])
    if status == 206:
        assert reply.headers["Content-Range"] == f"bytes {start}-{end - 1}/2560"


@pytest.mark.parametrize("asked", ["bytes=2560-", "bytes=9999-99999", "bytes=-0"])
async def test_a_range_behind_the_end_is_a_416_with_the_size(world: ApiWorld, asked: str) -> None:
    job_id, root = await make_outputs(world)
    put(root, b"a")
    reply = await world.call("GET", url(job_id, "a"), headers={"Range": asked})
    assert (reply.status, reply.headers["Content-Range"]) == (416, "bytes */2560")


async def test_if_range_gives_the_whole_of_a_changed_file(world: ApiWorld) -> None:
    job_id, root = await make_outputs(world)
    put(root, b"a")
    head = await world.call("HEAD", url(job_id, "a"))
    assert (head.status, head.raw, head.headers["Content-Length"]) == (200, b"", "2560")
    assert head.headers["Accept-Ranges"] == "bytes"
    same = {"Range": "bytes=1-2", "If-Range": head.headers["ETag"]}
    assert (await world.call("GET", url(job_id, "a"), headers=same)).status == 206
    put(root, b"a", CONTENT + b"more")
    changed = await world.call("GET", url(job_id, "a"), headers=same)
    assert (changed.status, changed.raw) == (200, CONTENT + b"more")


async def test_an_empty_file_is_served(world: ApiWorld) -> None:
    job_id, root = await make_outputs(world)
    put(root, b"empty", b"")
    reply = await world.call("GET", url(job_id, "empty"))
    assert (reply.status, reply.raw) == (200, b"")
    assert (await world.call("GET", url(job_id, "empty"), headers={"Range": "bytes=0-"})).status == 416


async def test_a_page_of_a_job_is_no_page_of_ours(world: ApiWorld) -> None:
    job_id, root = await make_outputs(world)
    put(root, b'x"\r\nSet-Cookie: a=b.html', b"<script>")
    (item,) = (await world.call("GET", f"/v1/jobs/{job_id}/outputs")).json["items"]
    reply = await world.call("GET", url(job_id, item["path"]))
    assert reply.status == 200
    assert "Set-Cookie" not in reply.headers
    assert reply.headers["Content-Disposition"].startswith("attachment")
    assert (reply.headers["X-Content-Type-Options"], reply.headers["Content-Security-Policy"]) == (
        "nosniff",
        "sandbox",
    )


@pytest.mark.parametrize("way", [{"Accept": "application/x-tar"}, None])
async def test_a_tar_has_every_file_under_its_own_name(world: ApiWorld, way: dict[str, str] | None) -> None:
    job_id, root = await make_outputs(world)
    long = b"/".join([b"x" * 100] * 5)
    for name in [*NAMES, long, b"empty"]:
        put(root, name, b"" if name == b"empty" else CONTENT + name)
    os.chmod(root + b"/a.txt", 0o4755)  # noqa: PTH101 (names as bytes)
    query = "" if way else "?format=tar"
    reply = await world.call("GET", f"/v1/jobs/{job_id}/outputs{query}", headers=way)
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/x-tar")
    assert len(reply.raw) % RECORD_BYTES == 0
    with tarfile.open(fileobj=io.BytesIO(reply.raw)) as archive:
        found = {member.name.encode("utf-8", "surrogateescape"): member for member in archive.getmembers()}
        assert set(found) == {*NAMES, long, b"empty"}
        assert found[b"a.txt"].mode == 0o755
        for name in NAMES:
            file = archive.extractfile(found[name])
            assert file is not None
            assert file.read() == CONTENT + name


async def test_gnu_tar_reads_it(world: ApiWorld, tmp_path: Path) -> None:
    job_id, root = await make_outputs(world)
    for name in (b"a", b"y" * 200, b"dir/c"):
        put(root, name)
    reply = await world.call("GET", f"/v1/jobs/{job_id}/outputs?format=tar")
    process = await asyncio.create_subprocess_exec("tar", "-tf", "-", stdin=-1, stdout=-1, stderr=-1)
    out, errors = await process.communicate(reply.raw)
    assert (process.returncode, errors) == (0, b"")
    assert out.split() == [b"a", b"dir/c", b"y" * 200]


class Reader:
    """A file that shrank to `content` after it was opened with `size`."""

    def __init__(self, content: bytes, size: int) -> None:
        self.file = OutputFile("f", size, 0, 0o644)
        self._content = content

    async def read(self, offset: int, size: int) -> bytes:
        return self._content[offset : offset + size]

    async def sha256(self) -> str:
        raise OutputChangedError(self.file.path)

    async def close(self) -> None:
        return


@settings(max_examples=tries(50))
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_a_member_is_as_long_as_its_header_says_whatever_the_file_does(there: int, told: int) -> None:
    async def read() -> bytes:
        chunks = [chunk async for chunk in member_chunks(Reader(b"x" * there, told))]
        return b"".join(chunks)

    data = asyncio.run(read())
    data += b"\0" * ending_bytes(len(data))
    assert len(data) % RECORD_BYTES == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        (member,) = archive.getmembers()
        assert member.size == told
        file = archive.extractfile(member)
        assert file is not None
        assert file.read() == (b"x" * there)[:told].ljust(told, b"\0")


async def test_a_large_file_is_read_in_bounded_pieces() -> None:
    size = 3 * READ_BYTES + 1
    sizes = [len(chunk) async for chunk in content_chunks(Reader(b"x" * size, size), 0, size)]
    assert sum(sizes) == size
    assert max(sizes) <= READ_BYTES


@given(
    st.text(
        alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="%\0"), min_size=1, max_size=300
    ),
    st.integers(0, 2**40),
)
def test_any_name_and_size_makes_a_header_of_whole_blocks(name: str, size: int) -> None:
    assert len(member_header(OutputFile(name, size, 0, 0o7777))) % 512 == 0


class Asked:
    def __init__(self, text: str) -> None:
        self.headers = {"Range": text}


@given(st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}", fullmatch=True), st.integers(0, 10**6))
def test_a_span_never_leaves_the_file(text: str, size: int) -> None:
    span = choose_span(Asked(text), OutputFile("f", size, 0, 0))  # type: ignore[arg-type]
    assert span is None or (span.start >= 0 and span.size >= 0 and span.start + span.size <= size)
    if isinstance(span, Span) and span.is_part:
        assert span.size > 0
