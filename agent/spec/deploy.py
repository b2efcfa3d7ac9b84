"""spec/deploy — what a deploy asks for beside its code: the image, the file with the chute, defaults for its jobs. Composes no job.

Works on decoded JSON, and names every fault at once.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from agent.spec.faults import DeployRefusedError, Fault, SpecRefusedError, join_path, show
from agent.spec.forms import Body
from agent.spec.later import is_same
from agent.spec.masking import masked
from agent.spec.parse import parse_spec
from agent.spec.text import describe

FIELDS = ("image", "entry", "spec", "catch_up", "cords_gpus")
# What the decorator and the agent say of a function's job, and no spec of a deploy or of a start.
NOT_OF_SPEC = ("command", "entrypoint", "ports", "timeout", "retry", "queue", "priority")
DEFAULT_FILE, DEFAULT_ATTRIBUTE = "main.py", "chute"
MAX_ENTRY_CHARACTERS = 512
ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
FILE = re.compile(r"(?:[^/\x00-\x1f\x7f]+/)*[^/\x00-\x1f\x7f]+[.]py")
NO_GPUS: tuple[object, ...] = (None, 0, False)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the chute is: a file of the code, and the name of the object in it."""

    file: str
    attribute: str

    @property
    def text(self) -> str:
        return f"{self.file}:{self.attribute}"


@dataclass(frozen=True, slots=True)
class Deploy:
    """`spec`: the defaults of the chute's jobs as they were written, secrets and all. Its repr shows none of it.

    `catch_up`: of its schedules. `cords_gpus`: what the cords of the chute get, as `gpus` of a spec; None: they run without.
    """

    image: str
    entry: Entry
    spec: Body = field(repr=False)
    catch_up: bool = False
    cords_gpus: object = None

    @property
    def base(self) -> Body:
        """The spec that all jobs of the chute begin with."""
        return {"image": self.image, **self.spec}


def read_deploy(body: object) -> Deploy:
    """Raises DeployRefusedError with every fault. `body` is decoded JSON of any type, and may be hostile."""
    if not isinstance(body, dict):
        fault = Fault("body", "wrong_type", f"must be an object, not {describe(body)}", "Send a JSON object.")
        raise DeployRefusedError([fault])
    faults = [*_find_unknown(body), *_find_entry_faults(body.get("entry"))]
    faults += find_switch_faults(body, "catch_up")
    spec = body.get("spec")
    faults += find_start_faults(spec)
    faults += _find_second_image(spec)
    if not isinstance(body.get("image"), str):
        faults.append(Fault("image", "missing_field", "is required: text that names an image", "Add it."))
    # The deploy's own image is judged, whatever another one is beside it.
    given: Body = {name: spec[name] for name in spec if name != "image"} if isinstance(spec, dict) else {}
    gpus = body.get("cords_gpus")
    deploy = Deploy(
        str(body.get("image")),
        read_entry(body.get("entry")),
        given,
        catch_up=body.get("catch_up") is True,
        cords_gpus=None if any(is_same(gpus, nothing) for nothing in NO_GPUS) else gpus,
    )
    faults += _find_spec_faults(deploy)
    faults += _find_gpus_faults(deploy)
    if faults:
        raise DeployRefusedError(dict.fromkeys(faults))
    return deploy


def find_start_faults(spec: object) -> list[Fault]:
    """Of a `spec` beside a function: no object, or a field that is the decorator's."""
    if spec is None:
        return []
    if not isinstance(spec, dict):
        return [
            Fault("spec", "wrong_type", f"must be an object, not {describe(spec)}", "Send a JSON object.")
        ]
    return [
        Fault(
            join_path("spec", name),
            "not_of_spec",
            "is the decorator's to say",
            f"Leave it out; {_instead(name)}.",
        )
        for name in NOT_OF_SPEC
        if name in spec
    ]


def read_entry(text: object) -> Entry:
    """`FILE[:ATTRIBUTE]`, checked before."""
    file, _, attribute = text.partition(":") if isinstance(text, str) else ("", "", "")
    return Entry(file.removeprefix("./") or DEFAULT_FILE, attribute or DEFAULT_ATTRIBUTE)


def dump_deploy(deploy: Deploy) -> str:
    """With its secrets: for a private file alone. The same deploy is the same text."""
    facts: Body = {"image": deploy.image, "entry": deploy.entry.text, "spec": deploy.spec}
    if deploy.catch_up:  # or a deploy of an earlier version of the agent would be another
        facts["catch_up"] = True
    if deploy.cords_gpus is not None:
        facts["cords_gpus"] = deploy.cords_gpus
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def load_deploy(text: str) -> Deploy:
    """Read what `dump_deploy` wrote. Raises ValueError (KeyError, TypeError inside it) for anything else."""
    try:
        facts = json.loads(text)
        return Deploy(
            str(facts["image"]),
            read_entry(facts["entry"]),
            dict(facts["spec"]),
            catch_up=facts.get("catch_up") is True,
            cords_gpus=facts.get("cords_gpus"),
        )
    except (KeyError, TypeError) as unread:
        raise ValueError(f"this is no deploy: {unread!r}") from unread


def masked_defaults(deploy: Deploy) -> dict[str, Any]:
    """The fields of its spec as they may be stored and shown: secrets as `***`."""
    shown = masked(parse_spec(deploy.base))
    return {name: shown[name] for name in deploy.spec}


def find_switch_faults(body: Body, name: str) -> Iterator[Fault]:
    """Of a field that is true or false, or not there."""
    if not isinstance(body.get(name, False), bool):
        message = f"must be true or false, not {describe(body[name])}"
        yield Fault(name, "wrong_type", message, "Write true or false.")


def _find_unknown(body: Body) -> Iterator[Fault]:
    for name in body:
        if name not in FIELDS:
            known = ", ".join(FIELDS)
            yield Fault(
                show(name), "unknown_field", f"{show(name)} is no field here", f"The fields are: {known}."
            )


def _find_entry_faults(entry: object) -> Iterator[Fault]:
    remedy = "Write FILE.py or FILE.py:ATTRIBUTE, as in main.py:chute."
    if entry is None:
        return
    if not isinstance(entry, str) or len(entry) > MAX_ENTRY_CHARACTERS:
        yield Fault(
            "entry", "wrong_type", f"must be text of at most {MAX_ENTRY_CHARACTERS} characters", remedy
        )
        return
    file, colon, attribute = entry.partition(":")
    parts = file.removeprefix("./").split("/")
    if not FILE.fullmatch(file.removeprefix("./")) or not {".", ".."}.isdisjoint(parts):
        yield Fault("entry", "entry_invalid", "names no .py file of the code by a path within it", remedy)
    if colon and not ATTRIBUTE.fullmatch(attribute):
        yield Fault("entry", "entry_invalid", "names no attribute behind its colon", remedy)


def _find_second_image(spec: object) -> Iterator[Fault]:
    if isinstance(spec, dict) and "image" in spec:
        yield Fault(
            "spec.image", "not_of_spec", "is the deploy's own field", "Leave it out; name it in image."
        )


def _find_gpus_faults(deploy: Deploy) -> list[Fault]:
    """By the rules of a spec's `gpus`."""
    if deploy.cords_gpus is None:
        return []
    try:
        parse_spec({"image": "none", "gpus": deploy.cords_gpus})
    except SpecRefusedError as refused:
        return [
            replace(fault, field=f"cords_{fault.field}")
            for fault in refused.faults
            if fault.field.startswith("gpus")
        ]
    return []


def _find_spec_faults(deploy: Deploy) -> list[Fault]:
    """By the rules, and with the faults, of a whole spec."""
    own = {name: value for name, value in deploy.base.items() if name not in NOT_OF_SPEC}
    try:
        parse_spec(own)
    except SpecRefusedError as refused:
        return [place(fault, deploy) for fault in refused.faults]
    return []


def place(fault: Fault, deploy: Deploy) -> Fault:
    """A fault of the composed spec where the deploy has the field."""
    is_own = fault.field.partition(".")[0] in deploy.spec or fault.field == "body"
    return replace(fault, field=f"spec.{fault.field}") if is_own else fault


def _instead(name: str) -> str:
    if name in {"command", "entrypoint"}:
        return "the agent runs the function"
    told = "retry_count" if name == "retry" else name
    return f"write @chute.job({told}=…) in the file"
