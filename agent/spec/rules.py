"""spec/rules — what the single fields of a spec may hold: spans of numbers, patterns and lengths of texts. Types are `shape`'s to check.

Works on decoded JSON, so that each rule speaks whatever else is wrong: a value of a wrong type is passed over here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from agent.spec import limits
from agent.spec.faults import Fault, join_path
from agent.spec.forms import Body
from agent.spec.image import parse_reference
from agent.spec.text import UNPRINTABLE


@dataclass(frozen=True, slots=True)
class Span:
    """From the lowest to the highest number, both allowed."""

    low: float
    high: float
    unit: str


@dataclass(frozen=True, slots=True)
class Form:
    """What a text looks like: a pattern and its words, and the most characters. Never empty."""

    pattern: re.Pattern[str]
    words: str
    most: int


@dataclass(frozen=True, slots=True)
class Items:
    """A list of texts: how many, and the most bytes of each."""

    most: int
    most_bytes: int


SPANS = {
    "cpus": Span(limits.MIN_CPUS, limits.MAX_CPUS, "CPUs"),
    "memory": Span(limits.MIN_MEMORY_BYTES, limits.INT64_MAX, "bytes (6MiB is the least)"),
    "shm": Span(limits.MIN_SHM_BYTES, limits.INT64_MAX, "bytes"),
    "disk": Span(limits.MIN_DISK_BYTES, limits.MAX_DISK_BYTES, "bytes (32MiB is the least)"),
    "pids": Span(1, limits.MAX_PIDS, "processes"),
    "gpus.count": Span(0, limits.MAX_GPUS, "GPUs"),
    "gpus.min_memory": Span(1, limits.INT64_MAX, "bytes"),
    "timeout": Span(limits.MIN_TIMEOUT_SECONDS, limits.MAX_TIMEOUT_SECONDS, "seconds"),
    "grace": Span(0, limits.MAX_GRACE_SECONDS, "seconds"),
    "retry.count": Span(0, limits.MAX_RETRIES, "attempts"),
    "retry.backoff": Span(0, limits.MAX_BACKOFF_SECONDS, "seconds"),
    "outputs.quiet": Span(limits.MIN_QUIET_SECONDS, limits.MAX_QUIET_SECONDS, "seconds"),
    "outputs.deadline": Span(
        limits.MIN_UPLOAD_DEADLINE_SECONDS, limits.MAX_UPLOAD_DEADLINE_SECONDS, "seconds"
    ),
    "priority": Span(limits.MIN_PRIORITY, limits.MAX_PRIORITY, "points"),
}
ANY_TEXT = re.compile(r"(?s).*")
ONE_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FORMS = {
    "name": Form(ANY_TEXT, "any printable text", limits.MAX_NAME_CHARACTERS),
    "image": Form(ANY_TEXT, "an image reference", limits.MAX_IMAGE_CHARACTERS),
    "user": Form(
        re.compile(r"[^\s:]+(?::[^\s:]+)?"), "a name or uid, and :group", limits.MAX_USER_CHARACTERS
    ),
    "queue": Form(ONE_WORD, "letters, digits and ._- after the first", limits.MAX_QUEUE_CHARACTERS),
    "registry.username": Form(ANY_TEXT, "printable text", limits.MAX_REGISTRY_USERNAME_CHARACTERS),
    "registry.password": Form(ANY_TEXT, "printable text", limits.MAX_REGISTRY_PASSWORD_CHARACTERS),
    "notify.url": Form(ANY_TEXT, "an https:// URL", limits.MAX_URL_CHARACTERS),
    "notify.secret": Form(ANY_TEXT, "printable text", limits.MAX_NOTIFY_SECRET_CHARACTERS),
    "outputs.upload.url": Form(ANY_TEXT, "an https:// URL", limits.MAX_URL_CHARACTERS),
    "outputs.upload.presign": Form(ANY_TEXT, "an https:// URL", limits.MAX_URL_CHARACTERS),
    "outputs.upload.status_url": Form(ANY_TEXT, "an https:// URL", limits.MAX_URL_CHARACTERS),
    "gpus.mig": Form(
        re.compile(r"[0-9a-z.+]+"), "a MIG profile such as 1g.10gb", limits.MAX_GPU_TEXT_CHARACTERS
    ),
}
LISTS = {
    "command": Items(limits.MAX_ARGUMENTS, limits.MAX_ARGUMENT_BYTES),
    "entrypoint": Items(limits.MAX_ARGUMENTS, limits.MAX_ARGUMENT_BYTES),
    "gpus.models": Items(limits.MAX_GPU_MODELS, limits.MAX_GPU_TEXT_CHARACTERS),
}


def find_field_faults(body: Body) -> Iterator[Fault]:
    """Find every single field that is out of its span, form or length."""
    for path, span in SPANS.items():
        yield from find_span_fault(path, look_up(body, path), span)
    for path, form in FORMS.items():
        yield from find_form_fault(path, look_up(body, path), form)
    for path, items in LISTS.items():
        yield from find_list_faults(path, look_up(body, path), items)
    yield from find_image_fault(body.get("image"))
    yield from find_entrypoint_fault(body.get("entrypoint"))
    yield from find_gpus_fault(body.get("gpus"))
    yield from find_queue_fault(body.get("queue"))


def look_up(body: Body, path: str) -> object:
    """Follow a dotted path as far as there are objects; None where it ends early."""
    value: object = body
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def find_span_fault(path: str, value: object, span: Span) -> Iterator[Fault]:
    # Written so that NaN, which is neither more nor less than anything, is out of every span.
    if isinstance(value, int | float) and not isinstance(value, bool) and not span.low <= value <= span.high:
        told = f"{span.low} to {span.high} {span.unit}"
        yield Fault(path, "out_of_range", f"must be from {told}", f"Write a number from {told}.")


def find_form_fault(path: str, value: object, form: Form) -> Iterator[Fault]:
    if not isinstance(value, str):
        return
    if not value:
        yield Fault(path, "empty_text", "may not be empty", f"Write {form.words}, or leave the field out.")
    elif len(value) > form.most:
        yield Fault(path, "too_long", f"has more than {form.most} characters", "Shorten it.")
    elif UNPRINTABLE.search(value):
        yield Fault(
            path, "unprintable", "holds a line end or another control character", "Write it on one line."
        )
    elif not form.pattern.fullmatch(value):
        yield Fault(path, "text_invalid", f"must be {form.words}", f"Write {form.words}.")


def find_list_faults(path: str, value: object, items: Items) -> Iterator[Fault]:
    if not isinstance(value, list):
        return
    if len(value) > items.most:
        yield Fault(
            path, "too_many", f"has more than {items.most} entries", "Put them into a file or a script."
        )
    for index, item in enumerate(value):
        if isinstance(item, str) and len(item.encode()) > items.most_bytes:
            yield Fault(
                join_path(*path.split("."), index),
                "too_long",
                f"has more than {items.most_bytes} bytes",
                "Put it into a file or a secret.",
            )


def find_image_fault(image: object) -> Iterator[Fault]:
    if not isinstance(image, str) or not image or len(image) > limits.MAX_IMAGE_CHARACTERS:
        return
    try:
        parse_reference(image)
    except ValueError as unread:
        yield Fault("image", "image_unparsable", str(unread), "Write [registry[:port]/]name[:tag][@digest].")


def find_entrypoint_fault(entrypoint: object) -> Iterator[Fault]:
    # The engine takes [""] for "clear it", a habit of its command line that nobody would guess from our words.
    if isinstance(entrypoint, list) and entrypoint[:1] == [""]:
        yield Fault(
            "entrypoint.0",
            "empty_text",
            "may not be empty",
            "Name a program, or write [] to clear the image's.",
        )


def find_queue_fault(queue: object) -> Iterator[Fault]:
    if queue in limits.RESERVED_QUEUES:
        message = f"may not be {queue}: that is for jobs that the agent runs for itself"
        yield Fault("queue", "queue_reserved", message, "Use another name, or leave queue out.")


def find_gpus_fault(gpus: object) -> Iterator[Fault]:
    if not isinstance(gpus, dict) or gpus.get("count") != 0:
        return
    for name in ("models", "min_memory", "mig"):
        if not gpus.get(name):
            continue
        yield Fault(
            join_path("gpus", name),
            "gpus_without_count",
            "asks for GPUs where count is 0",
            "Set gpus.count, or leave it out.",
        )
