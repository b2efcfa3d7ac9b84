"""spec/upload — where and when outputs are sent, as a user writes it. Whether this host may reach the endpoint is not decided here.

Works on decoded JSON, like `rules`. No fault repeats a URL or the value of a header.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from agent.spec import limits
from agent.spec.faults import Fault, join_path
from agent.spec.headers import frames_request
from agent.spec.text import UNPRINTABLE
from agent.spec.urls import read_url

# By `to`: what it takes beside `headers`. Of a list of two or more in one tuple exactly one must be there.
FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "local": (),
    "put": (("url", "presign"),),
    "chutes": (("status_url",),),
    "tus": (("url",),),
}
OPTIONAL = {"put": ("headers",), "chutes": ("headers",), "tus": ("headers", "metadata"), "local": ()}
NOTHING: tuple[object, ...] = (None, {})
# What says of outputs when and which of them are sent, with the value that asks for nothing.
OF_SENDING: dict[str, object] = {
    "include": ["**"],
    "exclude": [],
    "on": "always",
    "live": False,
    "quiet": 5,
    "deadline": 86_400,
    "logs": False,
}
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS = ("job", "attempt", "path")
# RFC 9110, section 5.6.2.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
# What aiohttp and most servers take without a second thought.
HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
# tus 1.0.0, Upload-Metadata: ASCII without spaces and commas. `filename` is the agent's to set.
METADATA_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,128}")
OWN_METADATA = frozenset({"filename"})


def find_upload_faults(outputs: object) -> Iterator[Fault]:
    """Of `outputs` as decoded JSON."""
    if not isinstance(outputs, dict):
        return
    upload = outputs.get("upload", {})
    if not isinstance(upload, dict):
        return
    to = upload.get("to", "local")
    if not isinstance(to, str) or to not in FIELDS:
        return
    yield from find_field_faults(upload, to)
    yield from find_url_faults(upload, to)
    yield from find_header_faults(upload.get("headers"))
    yield from find_metadata_faults(upload.get("metadata"))
    yield from find_sending_faults(outputs, to)


def find_field_faults(upload: Mapping[str, object], to: str) -> Iterator[Fault]:
    for choice in FIELDS[to]:
        given = [name for name in choice if upload.get(name) is not None]
        if len(given) != 1:
            names = " or ".join(choice)
            code = "missing_field" if not given else "too_many"
            field = join_path("outputs", "upload", choice[0] if not given else given[-1])
            yield Fault(field, code, f"`to: {to}` needs {names}", f"Write one of: {names}.")
    known = {"to", *OPTIONAL[to], *(name for choice in FIELDS[to] for name in choice)}
    for name in ("url", "presign", "status_url", "metadata", "headers"):
        if name not in known and not any(upload.get(name) == nothing for nothing in NOTHING):
            remedy = f"Leave it out, or choose another `to` than {to}."
            yield Fault(join_path("outputs", "upload", name), "field_not_of_kind", f"means nothing to `to: {to}`", remedy)  # fmt: skip


def find_url_faults(upload: Mapping[str, object], to: str) -> Iterator[Fault]:
    for name in (name for choice in FIELDS[to] for name in choice):
        url = upload.get(name)
        if not isinstance(url, str) or not url:
            continue
        try:
            if to == "put" and name == "url":
                check_template(url)
            else:
                read_url(url)
        except ValueError as unread:
            form = "https://HOST[:PORT]/PATH" + ("/{path}" if to == "put" and name == "url" else "")
            yield Fault(join_path("outputs", "upload", name), "url_invalid", str(unread), f"Write {form}.")


def check_template(url: str) -> None:
    """Raises ValueError where it is no URL in which `{path}` and its like can be filled in."""
    for name in PLACEHOLDER.findall(url):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            raise ValueError(f"holds a placeholder that is none of {known}")
    if "{path}" not in url:
        raise ValueError("has no {path}, so that all files would have one name")
    # Two fillings: where they lead elsewhere, a placeholder is in the host, and a file's name would choose it.
    if read_url(PLACEHOLDER.sub("a", url)).origin != read_url(PLACEHOLDER.sub("b", url)).origin:
        raise ValueError("has a placeholder in its host")


def fill_template(url: str, *, job: str, attempt: int, path: str) -> str:
    """The URL of one file. `path` as it travels; in the query its `/` are encoded too (RFC 3986, section 3.4, allows them, and
    many readers of forms do not).
    """
    before, mark, query = url.partition("?")
    values = {"job": job, "attempt": str(attempt)}
    return (
        _fill(before, {**values, "path": quote(path, safe="/")})
        + mark
        + _fill(query, {**values, "path": quote(path, safe="")})
    )


def _fill(text: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: values[found[1]], text)


def find_header_faults(headers: object) -> Iterator[Fault]:
    if not isinstance(headers, dict):
        return
    yield from find_count_fault("headers", headers, limits.MAX_UPLOAD_HEADERS)
    seen = set[str]()
    for name, value in headers.items():
        field = join_path("outputs", "upload", "headers", name)
        if not TOKEN.fullmatch(name):
            yield Fault(field, "header_name_invalid", "is no name of a header", "Use letters, digits and -.")
        elif frames_request(name):
            yield Fault(field, "header_reserved", "is the agent's to set", "Leave it out.")
        elif name.lower() in seen:
            yield Fault(field, "header_twice", "is there twice", "Write it once.")
        seen.add(name.lower())
        if isinstance(value, str) and not HEADER_VALUE.fullmatch(value):
            words = "must be printable ASCII without spaces at its ends"
            yield Fault(field, "header_value_invalid", words, "Encode what is not, as the endpoint expects it.")  # fmt: skip
        if isinstance(value, str) and len(value) > limits.MAX_UPLOAD_HEADER_CHARACTERS:
            yield Fault(field, "too_long", f"has more than {limits.MAX_UPLOAD_HEADER_CHARACTERS} characters", "Shorten it.")  # fmt: skip


def find_metadata_faults(metadata: object) -> Iterator[Fault]:
    if not isinstance(metadata, dict):
        return
    yield from find_count_fault("metadata", metadata, limits.MAX_UPLOAD_METADATA)
    for key, value in metadata.items():
        field = join_path("outputs", "upload", "metadata", key)
        if not METADATA_KEY.fullmatch(key):
            yield Fault(field, "metadata_key_invalid", "must be ASCII without spaces and commas", "Rename it.")  # fmt: skip
        elif key in OWN_METADATA:
            yield Fault(field, "metadata_reserved", "is the agent's to set", "Use another key.")
        if isinstance(value, str) and UNPRINTABLE.search(value):
            yield Fault(field, "unprintable", "holds a control character", "Write it on one line.")
        if isinstance(value, str) and len(value) > limits.MAX_UPLOAD_METADATA_CHARACTERS:
            yield Fault(field, "too_long", f"has more than {limits.MAX_UPLOAD_METADATA_CHARACTERS} characters", "Shorten it.")  # fmt: skip


def find_count_fault(name: str, given: Mapping[str, object], most: int) -> Iterator[Fault]:
    if len(given) > most:
        yield Fault(join_path("outputs", "upload", name), "too_many", f"has more than {most} entries", "Leave some out.")  # fmt: skip


def find_sending_faults(outputs: Mapping[str, object], to: str) -> Iterator[Fault]:
    """What is never to be ignored in silence: outputs that stay here are not sent, and a protocol may want them all at once."""
    for name, nothing in OF_SENDING.items():
        if to == "local" and name in outputs and outputs[name] != nothing:
            message = "says what of the outputs is sent, and these stay on this host"
            yield Fault(join_path("outputs", name), "nothing_is_sent", message, "Name an `upload`, or leave it out.")  # fmt: skip
    if outputs.get("live") is not True:
        if to != "local" and outputs.get("quiet", 5) != 5:
            message = "says when a file leaves while the job runs, and none does without `live`"
            yield Fault("outputs.quiet", "nothing_is_live", message, "Set `live`, or leave it out.")
        return
    remedy = "Leave `live` out, or choose otherwise."
    if to == "chutes":
        yield Fault("outputs.live", "live_not_possible", "can't be with `to: chutes`, which is told all names at the end", remedy)  # fmt: skip
    if outputs.get("on", "always") != "always":
        message = "can't be with `on`: files that leave while the job runs leave before its outcome is known"
        yield Fault("outputs.live", "live_not_possible", message, remedy)
