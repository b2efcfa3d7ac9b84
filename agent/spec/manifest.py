"""spec/manifest — what a chute's file declares, as its describe job reported it: read, bounded, judged. Runs nothing of the author's.

The report comes out of a container of the author's own: nothing in it is taken on trust. What a single function asks for is judged by the
rules of the job spec, where it is composed (`composing`).
"""

import json
import re
from collections.abc import Iterator
from enum import StrEnum
from itertools import islice

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.spec.cron import find_cron_faults
from agent.spec.faults import MAX_FAULTS, DeployRefusedError, Fault, show
from agent.spec.shape import EXPECTED
from agent.spec.text import UNPRINTABLE, describe, find_text_faults, find_unreadable, replace_unusable

VERSION = 1
MAX_MANIFEST_BYTES = 1 << 20
MAX_FUNCTIONS, MAX_PARAMETERS, MAX_NOTES = 256, 64, 64
MAX_TOLD_CHARACTERS = 1_000
# In a URL, in a file name and on a command line it stands as it is.
FUNCTION_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
CHUTE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
INDEX = re.compile(r"[.]([0-9]+)(?=[.]|$)")
REMEDY = "Correct it in the chute's file, then deploy it again."


class ManifestModel(BaseModel):
    """Frozen and strict. A name that this version does not know is dropped: a later SDK may tell more."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)


class ParameterKind(StrEnum):
    """As `inspect` tells them apart."""

    POSITIONAL_ONLY = "positional_only"
    POSITIONAL_OR_KEYWORD = "positional_or_keyword"
    KEYWORD_ONLY = "keyword_only"
    VAR_POSITIONAL = "var_positional"
    VAR_KEYWORD = "var_keyword"


class Parameter(ManifestModel):
    """Of a function, `self` aside."""

    name: str
    kind: ParameterKind
    required: bool
    annotation: str | None = None


# They take what there is, also nothing.
COLLECTING = frozenset({ParameterKind.VAR_POSITIONAL, ParameterKind.VAR_KEYWORD})
# The launcher brings it.
OUTPUT_DIR = "output_dir"


class DeclaredPort(ManifestModel):
    """As the decorator has it. Whether it may be is the spec's to say."""

    name: str
    port: int
    proto: str


class NodeSelector(ManifestModel):
    """Which GPUs the chute's jobs want. GPUs are named by words of their model, as in `h100` or `a100_sxm`."""

    gpu_count: int = 1
    min_vram_gb_per_gpu: int | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None

    @property
    def names_models(self) -> bool:
        """Whether it needs to be known which GPUs the host has."""
        return bool(self.include or self.exclude)


class ChuteFacts(ManifestModel):
    """The chute itself. `image` is what the file says of it, as text."""

    attribute: str = ""
    name: str
    username: str | None = None
    tagline: str | None = None
    readme: str | None = None
    concurrency: int | None = None
    image: str | None = None
    node_selector: NodeSelector | None = None


class JobFunction(ManifestModel):
    """A function under `@chute.job`. `name` is what it is started by."""

    name: str
    function: str
    doc: str | None = None
    is_async: bool = True
    ports: tuple[DeclaredPort, ...] = ()
    timeout: int | None = None
    upload: bool = True
    ssh: bool = False
    schedule: str | None = None
    retry_count: int = 0
    queue: str = "default"
    priority: int = 0
    parameters: tuple[Parameter, ...] = ()


class CordFunction(ManifestModel):
    """A function under `@chute.cord`. Where it answers, and whether it may, is `cords`' to say."""

    function: str
    public_api_path: str | None = None
    method: str | None = None
    doc: str | None = None
    is_async: bool = True
    parameters: tuple[Parameter, ...] = ()


class ToldFault(ManifestModel):
    """What the SDK refused of a function as the file was imported."""

    field: str
    message: str
    remedy: str = REMEDY


class Refused(ManifestModel):
    function: str
    kind: str
    faults: tuple[ToldFault, ...] = ()


class Manifest(ManifestModel):
    """All that one file declares."""

    manifest: int
    sdk: str
    python: str = ""
    chute: ChuteFacts
    jobs: tuple[JobFunction, ...] = ()
    cords: tuple[CordFunction, ...] = ()
    refused: tuple[Refused, ...] = Field(default=(), exclude=True)  # a manifest that is kept has none
    notes: tuple[str, ...] = ()

    def find_job(self, name: str) -> JobFunction | None:
        """By its registered name."""
        return next((job for job in self.jobs if job.name == name), None)


def read_manifest(data: bytes) -> tuple[Manifest, list[Fault]]:
    """The manifest, and every fault of the functions in it (none: it may be taken). `data` may be anything at all.

    Raises DeployRefusedError where it is no manifest.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise DeployRefusedError([_lie("manifest", f"has more than {MAX_MANIFEST_BYTES} bytes")])
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise DeployRefusedError([_lie("manifest", "is no JSON")]) from None
    if (unreadable := find_unreadable(body)) is not None:
        raise DeployRefusedError([_lie("manifest", unreadable.message)])
    manifest = _read_shape(replace_unusable(body))
    # Half a character, or a NUL: no name may have it, and elsewhere a stand-in harms nobody.
    unusable = {fault.field for fault in islice(find_text_faults(body), MAX_FAULTS)}
    unnamed = [
        _lie(field, "can't be written as text") for field in sorted(unusable) if field.endswith(".name")
    ]
    return manifest, [*unnamed, *islice(_find_faults(manifest), MAX_FAULTS + 1)]


def load_manifest(text: str) -> Manifest:
    """Read what was kept. Checks the shape only. Raises ValueError (pydantic's)."""
    return Manifest.model_validate_json(text)


def field_of(function: str, field: str, kind: str = "job") -> str:
    """`ports.0.port` of a function as its author would write it: `jobs.NAME.ports[0].port`."""
    in_brackets = INDEX.sub(r"[\1]", field)
    return f"{kind}s.{show(function)}.{in_brackets}"


def signature_of(function: str, parameters: tuple[Parameter, ...]) -> str:
    """As an author reads it, in short: `process(data, *, limit=…)`."""
    shown: list[str] = []
    for index, parameter in enumerate(parameters):
        before = parameters[index - 1].kind if index else None
        if parameter.kind is ParameterKind.KEYWORD_ONLY and before not in {
            ParameterKind.KEYWORD_ONLY,
            ParameterKind.VAR_POSITIONAL,
        }:
            shown.append("*")
        sign = {ParameterKind.VAR_POSITIONAL: "*", ParameterKind.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        optional = "" if parameter.required or sign else "=…"
        shown.append(f"{sign}{show(parameter.name)}{optional}")
    return f"{show(function)}({', '.join(shown)})"


def _read_shape(body: object) -> Manifest:
    try:
        return Manifest.model_validate_json(json.dumps(body))
    except ValidationError as refused:
        errors = islice(refused.errors(include_url=False), MAX_FAULTS + 1)
        raise DeployRefusedError(
            _lie(".".join(map(show, error["loc"])), _words_of(error["type"], error["input"]))
            for error in errors
        ) from None


def _words_of(kind: str, value: object) -> str:
    if kind == "missing":
        return "is required"
    return f"must be {EXPECTED.get(kind, 'another value')}, not {describe(value)}"


def _find_faults(manifest: Manifest) -> Iterator[Fault]:
    if manifest.manifest != VERSION:
        yield _lie("manifest", f"has the version {manifest.manifest}; this agent reads {VERSION}")
    yield from _find_name_fault("chute.name", manifest.chute.name, CHUTE_NAME)
    yield from _find_bounds(manifest)
    for refused in manifest.refused:
        yield from _tell_refused(refused)
    seen: set[str] = set()
    for job in manifest.jobs:
        yield from _find_job_faults(job, seen)
        seen.add(job.name)


def _find_bounds(manifest: Manifest) -> Iterator[Fault]:
    counts = {
        "jobs": (len(manifest.jobs), MAX_FUNCTIONS),
        "cords": (len(manifest.cords), MAX_FUNCTIONS),
        "refused": (len(manifest.refused), MAX_FUNCTIONS),
        "notes": (len(manifest.notes), MAX_NOTES),
    }
    for field, (count, most) in counts.items():
        if count > most:
            yield _lie(field, f"has more than {most} entries")
    if not (manifest.jobs or manifest.cords or manifest.refused):
        remedy = "Decorate a function with @chute.job() or @chute.cord()."
        yield Fault("jobs", "no_functions", "are none: the file declares no function", remedy)


def _find_job_faults(job: JobFunction, seen: set[str]) -> Iterator[Fault]:
    yield from _find_name_fault(field_of(job.name, "name"), job.name, FUNCTION_NAME)
    if job.name in seen:
        message = "is the name of another job of this chute"
        yield Fault(
            field_of(job.name, "name"), "function_duplicate", message, "Give each job a name of its own."
        )
    if len(job.parameters) > MAX_PARAMETERS:
        yield _lie(field_of(job.name, "parameters"), f"has more than {MAX_PARAMETERS} entries")
    if job.schedule is not None:
        yield from _find_schedule_faults(job, job.schedule)


def _find_schedule_faults(job: JobFunction, schedule: str) -> Iterator[Fault]:
    field = field_of(job.name, "schedule")
    yield from find_cron_faults(schedule, field)
    needed = [
        show(each.name)
        for each in job.parameters[:MAX_PARAMETERS]
        if each.required and each.kind not in COLLECTING and each.name != OUTPUT_DIR
    ]
    if needed:
        message = f"starts the job without a payload, and then {', '.join(needed)} would be missing"
        yield Fault(field, "schedule_without_payload", message, "Give every parameter a default.")


def _find_name_fault(field: str, name: str, form: re.Pattern[str]) -> Iterator[Fault]:
    if not form.fullmatch(name):
        words = "letters, digits and . _ - with no . or - first, and not too many of them"
        yield Fault(field, "name_invalid", f"must be {words}, not {show(name)}", "Rename it.")


def _tell_refused(refused: Refused) -> Iterator[Fault]:
    kind = refused.kind if refused.kind in {"job", "cord"} else "job"
    told = refused.faults or (ToldFault(field="", message="was refused by the SDK"),)
    for fault in told[:MAX_FAULTS]:
        field = field_of(refused.function, _plain(fault.field, 200), kind).rstrip(".")
        yield Fault(field, "function_refused", _plain(fault.message), _plain(fault.remedy) or REMEDY)


def _plain(text: str, most: int = MAX_TOLD_CHARACTERS) -> str:
    """An author's words, on one line and not without end."""
    return UNPRINTABLE.sub(" ", text[:most]).strip()


def _lie(field: str, message: str) -> Fault:
    return Fault(field or "manifest", "manifest_invalid", message, REMEDY)
