"""spec/parse — from decoded JSON to a spec, or to every fault at once: the order of the checks. The rules are in its neighbours."""

from dataclasses import replace
from itertools import chain, islice
from typing import cast

from agent.spec.container import find_container_faults
from agent.spec.faults import MAX_FAULTS, Fault, SpecRefusedError
from agent.spec.forms import Body, read_forms
from agent.spec.globs import find_glob_faults
from agent.spec.job import JobSpec, Upload
from agent.spec.later import take_out_later_fields
from agent.spec.notify import find_notify_faults
from agent.spec.ports import find_port_faults
from agent.spec.rules import find_field_faults
from agent.spec.shape import read_shape
from agent.spec.ssh_keys import Keys, find_ssh_faults
from agent.spec.text import find_text_faults, find_unreadable, replace_unusable
from agent.spec.upload import find_upload_faults

# Past what is listed, one more tells that there are more.
ENOUGH = MAX_FAULTS + 1


def parse_spec(body: object, keys: Keys = Keys.NEEDED) -> JobSpec:
    """Read a job spec as a user wrote it. `body` is decoded JSON of any type, and may be hostile.

    `keys`: a function's job may begin without one. Sizes may be text with a unit, `gpus` a bare count, `not_before` any RFC 3339 time; the spec has bytes, an object, UTC.
    Raises SpecRefusedError with every fault, sorted by field.
    """
    if (unreadable := find_unreadable(body)) is not None:
        raise SpecRefusedError([unreadable])
    unusable = list(islice(find_text_faults(body), ENOUGH))
    # find_unreadable has seen that it is an object with names of text, and the copy is one too.
    plain, unread = read_forms(cast(Body, replace_unusable(body)))
    plain, asked_later = take_out_later_fields(plain)
    spec, misshapen = read_shape(plain)
    rules = chain(
        find_field_faults(plain),
        find_container_faults(plain),
        find_port_faults(plain.get("ports")),
        find_notify_faults(plain.get("notify")),
        find_ssh_faults(plain, keys),
        find_upload_faults(plain.get("outputs")),
        find_glob_faults(plain.get("outputs")),
    )
    broken = list(islice(rules, ENOUGH))
    faults = gather(unusable, [*unread, *asked_later, *misshapen, *broken])
    if spec is None or faults:
        raise SpecRefusedError(faults)
    return spec


def parse_upload(body: object) -> Upload:
    """Read `{"upload": …}`: where to send the outputs of a job that is over. By the rules, and with the faults, of a whole spec.

    Raises SpecRefusedError.
    """
    if not isinstance(body, dict) or set(body) != {"upload"}:
        fault = Fault("body", "wrong_type", "must be an object with `upload` alone", 'Send {"upload": {…}}.')
        raise SpecRefusedError([fault])
    try:
        upload = parse_spec({"image": "none", "outputs": body}).outputs.upload
    except SpecRefusedError as refused:
        named = [replace(fault, field=fault.field.removeprefix("outputs.")) for fault in refused.faults]
        raise SpecRefusedError(named) from None
    if not upload.leaves:
        fault = Fault("upload.to", "not_one_of", "must lead away from this host", "Write put, chutes or tus.")
        raise SpecRefusedError([fault])
    return upload


def gather(unusable: list[Fault], others: list[Fault]) -> list[Fault]:
    # What the other rules say of a stand-in for an unusable value is noise.
    named = {fault.field for fault in unusable}
    every = unusable + [fault for fault in others if fault.field not in named]
    return sorted(dict.fromkeys(every), key=lambda fault: (fault.field, fault.code))
