"""spec — the job spec, as users write it: its fields, its rules, its masked form. Pure: no I/O, no clock."""

from agent.spec.composing import (
    compose,
    compose_cords,
    compose_describe,
    find_function_faults,
    place_in_file,
    specs_of,
)
from agent.spec.container import is_reserved_env
from agent.spec.cords import CordMatch, NoCord, OtherMethods, find_cord_faults, lines_of, match_cord
from agent.spec.cron import (
    CronUnreadableError,
    count_between,
    find_cron_faults,
    latest_until,
    next_after,
    next_few,
    tidy_cron,
)
from agent.spec.deploy import (
    Deploy,
    Entry,
    dump_deploy,
    find_start_faults,
    find_switch_faults,
    load_deploy,
    masked_defaults,
    place,
    read_deploy,
    read_entry,
)
from agent.spec.faults import DeployRefusedError, Fault, SpecRefusedError
from agent.spec.headers import frames_request
from agent.spec.image import ImageReference, parse_reference
from agent.spec.job import (
    Gpus,
    Interconnect,
    JobSpec,
    Network,
    Notify,
    Outputs,
    OutputsOn,
    Registry,
    Retry,
    RetryOn,
    Upload,
    UploadTo,
)
from agent.spec.manifest import (
    MAX_MANIFEST_BYTES,
    CordFunction,
    JobFunction,
    Manifest,
    load_manifest,
    read_manifest,
    signature_of,
)
from agent.spec.masking import Secrets, dump_spec, hide_upload, load_spec, masked, secrets_of, without_secrets
from agent.spec.near import nearest
from agent.spec.notify import read_key
from agent.spec.parse import parse_spec, parse_upload
from agent.spec.payload import find_payload_fault
from agent.spec.ports import Port, Proto
from agent.spec.schedule import ScheduleRefusedError, ScheduleRequest, place_in_schedule, read_schedule
from agent.spec.schema import spec_schema
from agent.spec.ssh import Ssh
from agent.spec.ssh_keys import Keys, PublicKey, find_key_faults, fingerprint_of, read_public_key
from agent.spec.units import parse_duration, parse_size
from agent.spec.upload import fill_template
from agent.spec.urls import WebUrl, hide_query, read_host, read_url

__all__ = [
    "MAX_MANIFEST_BYTES",
    "CordFunction",
    "CordMatch",
    "CronUnreadableError",
    "Deploy",
    "DeployRefusedError",
    "Entry",
    "Fault",
    "Gpus",
    "ImageReference",
    "Interconnect",
    "JobFunction",
    "JobSpec",
    "Keys",
    "Manifest",
    "Network",
    "NoCord",
    "Notify",
    "OtherMethods",
    "Outputs",
    "OutputsOn",
    "Port",
    "Proto",
    "PublicKey",
    "Registry",
    "Retry",
    "RetryOn",
    "ScheduleRefusedError",
    "ScheduleRequest",
    "Secrets",
    "SpecRefusedError",
    "Ssh",
    "Upload",
    "UploadTo",
    "WebUrl",
    "compose",
    "compose_cords",
    "compose_describe",
    "count_between",
    "dump_deploy",
    "dump_spec",
    "fill_template",
    "find_cord_faults",
    "find_cron_faults",
    "find_function_faults",
    "find_key_faults",
    "find_payload_fault",
    "find_start_faults",
    "find_switch_faults",
    "fingerprint_of",
    "frames_request",
    "hide_query",
    "hide_upload",
    "is_reserved_env",
    "latest_until",
    "lines_of",
    "load_deploy",
    "load_manifest",
    "load_spec",
    "masked",
    "masked_defaults",
    "match_cord",
    "nearest",
    "next_after",
    "next_few",
    "parse_duration",
    "parse_reference",
    "parse_size",
    "parse_spec",
    "parse_upload",
    "place",
    "place_in_file",
    "place_in_schedule",
    "read_deploy",
    "read_entry",
    "read_host",
    "read_key",
    "read_manifest",
    "read_public_key",
    "read_schedule",
    "read_url",
    "secrets_of",
    "signature_of",
    "spec_schema",
    "specs_of",
    "tidy_cron",
    "without_secrets",
]
