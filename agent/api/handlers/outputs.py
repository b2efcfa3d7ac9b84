"""api/handlers/outputs — a job's output files over HTTP: list, ranges, tar. Opens no file itself."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from functools import partial
from typing import TypeVar
from urllib.parse import quote, unquote_to_bytes

from aiohttp import web

from agent.api.auth import Caller
from agent.api.endpoints import JOB_ID, Answer, Endpoint, Parameter
from agent.api.query import Query
from agent.api.streams import Streams
from agent.api.tokens import Scope
from agent.api.upload_views import show_file_upload
from agent.api.views import Json
from agent.core.browser_sessions import CookieUse
from agent.core.event_form import show_time
from agent.core.job import Job
from agent.interfaces import OutputFile, OutputListing, OutputRefusedError, SkippedOutput, Store
from agent.jobs.intake import unknown_job
from agent.jobs.outputs import Digested, Outputs, content_chunks
from agent.jobs.uploads import FilesLeft, Uploads

T = TypeVar("T")
JSON = "application/json; charset=utf-8"
# Each is some hundred bytes.
VALUES_PER_CHUNK = 256
TAR = "application/x-tar"
RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
PATH_PARTS = 6  # "", v1, jobs, id, outputs, and the rest is the path


class Form(StrEnum):
    JSON = "json"
    TAR = "tar"


class Digest(StrEnum):
    SHA256 = "sha256"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes `start` to `start + size`; `is_part` where a range was asked for and can be served."""

    start: int
    size: int
    is_part: bool


class OutputHandlers:
    def __init__(self, store: Store, outputs: Outputs, uploads: Uploads, streams: Streams) -> None:
        self._store = store
        self._uploads = uploads
        self._outputs = outputs
        self._streams = streams

    def endpoints(self) -> tuple[Endpoint, ...]:
        forms = (
            Parameter("format", "json (default) or tar; or `Accept: application/x-tar`"),
            Parameter("digest", "sha256 (default; reads every file) or none"),
        )
        path = Parameter("path", "a file's `path` of the list, percent-encoded once more", "path")
        ranges = (
            Parameter("Range", "one range of bytes", "header"),
            Parameter("If-Range", "an ETag", "header"),
        )
        files = {200: Answer("the files, or a tar of all", "OutputPage")}
        content = {200: Answer("the content", None, "application/octet-stream"), 206: Answer("the range"), 416: Answer("no such range")}  # fmt: skip
        return (
            Endpoint("GET", "/jobs/{id}/outputs", Scope.JOBS_READ, self.list, "List outputs, or fetch all", files, (JOB_ID, *forms), cookie=CookieUse.ALONE),
            # Not `.*`, which ends at a line end: names of a hostile job have those.
            Endpoint("GET", "/jobs/{id}/outputs/{path:(?s:.+)}", Scope.JOBS_READ, self.fetch, "Fetch an output file", content, (JOB_ID, path, *ranges), cookie=CookieUse.ALONE),
        )  # fmt: skip

    async def list(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        query = Query(request)
        form, digest = query.choice("format", Form), query.choice("digest", Digest)
        query.refuse_faults()
        job = await self._find(request, caller)
        if form is Form.TAR or (form is None and TAR in request.headers.get("Accept", "")):
            return await self._send_tar(request, caller, job)
        return await self._send_list(request, caller, (job, digest or Digest.SHA256))

    async def fetch(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        job = await self._find(request, caller)
        async with self._outputs.open(job.id, read_path(request)) as reader:
            span = choose_span(request, reader.file)
            if span is None:
                headers = {"Content-Range": f"bytes */{reader.file.size_bytes}", "Accept-Ranges": "bytes"}
                return web.Response(status=416, headers=headers)
            with self._streams.open(request, caller) as stream:
                response = web.StreamResponse(
                    status=206 if span.is_part else 200, headers=describe(reader.file, span)
                )
                response.content_length = span.size
                await response.prepare(request)
                if request.method != "HEAD":
                    await stream.send_all(response, content_chunks(reader, span.start, span.size))
                return response

    async def _send_list(
        self, request: web.Request, caller: Caller, asked: tuple[Job, Digest]
    ) -> web.StreamResponse:
        job, digest = asked
        response = web.StreamResponse(headers={"Content-Type": JSON})
        with self._streams.open(request, caller) as stream:
            if request.method == "HEAD":
                await response.prepare(request)
                return response
            listing = await self._outputs.list_files(job.id)
            if digest is Digest.SHA256:
                entries = self._outputs.digested(job.id, listing.files)
            else:
                entries = in_turn(Digested(file, None) for file in listing.files)
            left = partial(self._uploads.files, job)
            await stream.send_all(response, list_chunks(listing, entries, left))
        return response

    async def _send_tar(self, request: web.Request, caller: Caller, job: Job) -> web.StreamResponse:
        name = f'attachment; filename="{job.id}.tar"'
        response = web.StreamResponse(headers={"Content-Type": TAR, "Content-Disposition": name})
        with self._streams.open(request, caller) as stream:
            if request.method == "HEAD":
                await response.prepare(request)
            else:
                await stream.send_all(response, self._outputs.tar_chunks(job.id))
        return response

    async def _find(self, request: web.Request, caller: Caller) -> Job:
        given = request.match_info["id"]
        job = await self._store.get(given.lower(), caller.viewer)
        if job is None:
            raise unknown_job(given)
        return job


def read_path(request: web.Request) -> str:
    """The path as it was sent, decoded once by hand: the router's decoding leaves `%25` and `%2F` as they are."""
    raw = request.rel_url.raw_path.split("/", PATH_PARTS - 1)[-1]
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise OutputRefusedError("the path is not UTF-8; take it from the list") from None


def choose_span(request: web.Request, file: OutputFile) -> Span | None:
    """RFC 9110, 14: what to send of the file. None: the range can't be satisfied. What is no single range is passed over."""
    whole = Span(0, file.size_bytes, is_part=False)
    found = RANGE.fullmatch(request.headers.get("Range", "").strip())
    wanted_etag = request.headers.get("If-Range")
    if found is None or not any(found.groups()) or (wanted_etag is not None and wanted_etag != etag(file)):
        return whole
    first, last = found.groups()
    if not first:
        size = min(int(last), file.size_bytes)
        return Span(file.size_bytes - size, size, is_part=True) if size else None
    start = int(first)
    end = min(int(last), file.size_bytes - 1) if last else file.size_bytes - 1
    if last and int(last) < start:
        return whole
    return Span(start, end - start + 1, is_part=True) if start < file.size_bytes else None


def describe(file: OutputFile, span: Span) -> dict[str, str]:
    headers = {
        "Content-Type": "application/octet-stream",
        # The content is a job's: no browser may take it for a page of ours.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.path.rpartition('/')[2], safe='')}",
        "Accept-Ranges": "bytes",
        "ETag": etag(file),
        "Last-Modified": http_date(file.modified_ns),
    }
    if span.is_part:
        headers["Content-Range"] = f"bytes {span.start}-{span.start + span.size - 1}/{file.size_bytes}"
    return headers


def etag(file: OutputFile) -> str:
    return f'"{file.size_bytes:x}-{file.modified_ns & (1 << 64) - 1:x}"'


def http_date(modified_ns: int) -> str:
    # A job may give its files any date, also such as no calendar has.
    try:
        return format_datetime(datetime.fromtimestamp(modified_ns // 10**9, UTC), usegmt=True)
    except (ValueError, OverflowError, OSError):
        return format_datetime(datetime.fromtimestamp(0, UTC), usegmt=True)


async def list_chunks(
    listing: OutputListing,
    entries: AsyncIterator[Digested | SkippedOutput],
    left: Callable[[Sequence[str]], Awaitable[FilesLeft]],
) -> AsyncIterator[bytes]:
    """The list as JSON, piece by piece: it may be of many thousand files. One page always, so `next` is null."""
    skipped = list(listing.skipped)

    async def items() -> AsyncIterator[Json]:
        async for group in in_groups(entries):
            skipped.extend(entry for entry in group if isinstance(entry, SkippedOutput))
            files = [entry for entry in group if not isinstance(entry, SkippedOutput)]
            known = await left([entry.file.path for entry in files])
            for entry in files:
                yield show_file(entry, known)

    yield b'{"items": '
    async for chunk in array_chunks(items()):
        yield chunk
    yield b', "skipped": '
    async for chunk in array_chunks(in_turn({"path": one.path, "why": one.why} for one in skipped)):
        yield chunk
    yield f', "truncated": {json.dumps(listing.truncated)}, "next": null}}'.encode()


async def array_chunks(values: AsyncIterator[Json]) -> AsyncIterator[bytes]:
    """A JSON array, some hundred values at a time. Between two chunks other tasks have their turn, however fast the reader."""
    before, texts = "[", list[str]()
    async for value in values:
        texts.append(json.dumps(value))
        if len(texts) == VALUES_PER_CHUNK:
            yield (before + ", ".join(texts)).encode()
            before, texts = ", ", []
            await asyncio.sleep(0)
    yield ((before + ", ".join(texts) if texts or before == "[" else "") + "]").encode()


async def in_groups(values: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    group: list[T] = []
    async for value in values:
        group.append(value)
        if len(group) == VALUES_PER_CHUNK:
            yield group
            group = []
    if group:
        yield group


async def in_turn(values: Iterable[T]) -> AsyncIterator[T]:
    for value in values:
        yield value


def show_file(digested: Digested, left: FilesLeft) -> Json:
    return {
        "path": digested.file.path,
        "size": digested.file.size_bytes,
        "sha256": digested.sha256,
        "modified_at": show_modified(digested.file.modified_ns),
        "mode": digested.file.mode & 0o7777,
        "upload": show_file_upload(digested.file, left.journal, left.moving),
    }


def show_modified(modified_ns: int) -> str | None:
    try:
        return show_time(modified_ns / 10**9)
    except (ValueError, OverflowError, OSError):
        return None
