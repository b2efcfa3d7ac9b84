"""api/deploy_form — the multipart body of a deploy: `deploy` as JSON, `code` as an archive that goes where it is told. Unpacks nothing."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from agent.api.body import MAX_BODY_BYTES, BodyTooLargeError, BodyTooSlowError, parse_json
from agent.api.limits import LIMITS
from agent.api.problems import BadRequestError
from agent.errors import AgentError, Blame
from agent.spec import Fault

MIB = 1 << 20
MAX_CODE_BYTES = 32 * MIB
READ_BYTES = 1 << 18
# Around the two parts: boundaries and headers.
MAX_FORM_BYTES = MAX_CODE_BYTES + MAX_BODY_BYTES + MIB
PARTS = ("deploy", "code")
FORM_WORDS = "Send multipart/form-data with `deploy`, a JSON object, and `code`, a tar archive."

# What the library says of bodies that it can't read: among others of a part `_charset_` and of too many headers of a part.
UNREADABLE = (ValueError, AssertionError, RuntimeError, HttpProcessingError, web.HTTPRequestEntityTooLarge)

Write = Callable[[bytes], Awaitable[None]]


class CodeTooLargeError(AgentError):
    """The archive of a deploy is larger than an agent takes."""

    code, blame = "code_too_large", Blame.USER
    remedy = "Leave out what is no code: data, weights and environments belong into the image, or are fetched by the job."

    def __init__(self) -> None:
        super().__init__(f"the archive has more than {MAX_CODE_BYTES // MIB} MiB")


async def read_deploy_form(request: web.Request, write: Write) -> object:
    """`deploy` as decoded JSON; each piece of `code` is given to `write`, in order.

    Raises BadRequestError, BadJsonError, BodyTooLargeError, BodyTooSlowError, CodeTooLargeError, and what `write` raises.
    """
    if not request.content_type.startswith("multipart/"):
        raise _refusal("Content-Type", "is no multipart/form-data")
    if (request.content_length or 0) > MAX_FORM_BYTES:
        raise CodeTooLargeError
    seconds = request.app[LIMITS].form_seconds
    try:
        async with asyncio.timeout(seconds):
            return await _read_parts(await request.multipart(), write)
    except TimeoutError:
        raise BodyTooSlowError(f"the body did not arrive within {seconds:g} s") from None
    except UNREADABLE as unread:
        # The library's own words may quote the body.
        raise _refusal("body", "is no well-formed multipart/form-data") from unread


async def _read_parts(reader: MultipartReader, write: Write) -> object:
    found: dict[str, object] = {}
    while (part := await reader.next()) is not None:
        name = None if isinstance(part, MultipartReader) else part.name
        if name not in PARTS or name in found or isinstance(part, MultipartReader):
            shown = "a part without a name" if name is None else f"the part {name[:64]!a}"
            raise _refusal("body", f"{shown} is unknown, or there twice")
        _refuse_encoding(part)
        found[name] = await _read_json(part) if name == "deploy" else await _pass_on(part, write)
    missing = [name for name in PARTS if name not in found]
    if missing:
        raise BadRequestError([Fault(name, "missing_part", "is not there", FORM_WORDS) for name in missing])
    return found["deploy"]


def _refuse_encoding(part: BodyPartReader) -> None:
    for header in ("Content-Encoding", "Content-Transfer-Encoding"):
        if part.headers.get(header, "identity").lower() not in {"identity", "binary", "8bit", "7bit"}:
            raise _refusal("body", f"a part has a {header}, which is not undone here")


async def _read_json(part: BodyPartReader) -> object:
    data = bytearray()
    while chunk := await part.read_chunk(READ_BYTES):
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            raise BodyTooLargeError(f"the part `deploy` has more than {MAX_BODY_BYTES} bytes")
    return parse_json(bytes(data))


async def _pass_on(part: BodyPartReader, write: Write) -> int:
    size = 0
    while chunk := await part.read_chunk(READ_BYTES):
        size += len(chunk)
        if size > MAX_CODE_BYTES:
            raise CodeTooLargeError
        await write(chunk)
    return size


def _refusal(field: str, message: str) -> BadRequestError:
    return BadRequestError([Fault(field, "bad_form", message, FORM_WORDS)])
