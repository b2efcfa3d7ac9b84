"""spec — the job spec, as users write it: its fields, its rules, its masked form. Pure: no I/O, no clock."""

from agent.spec.container import is_reserved_env
from agent.spec.faults import Fault, SpecRefusedError
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
from agent.spec.masking import Secrets, dump_spec, hide_upload, load_spec, masked, secrets_of, without_secrets
from agent.spec.notify import read_key
from agent.spec.parse import parse_spec, parse_upload
from agent.spec.ports import Port, Proto
from agent.spec.schema import spec_schema
from agent.spec.ssh import Ssh
from agent.spec.ssh_keys import PublicKey, find_key_faults, fingerprint_of, read_public_key
from agent.spec.units import parse_duration, parse_size
from agent.spec.upload import fill_template
from agent.spec.urls import WebUrl, hide_query, read_host, read_url

__all__ = [
    "Fault",
    "Gpus",
    "ImageReference",
    "Interconnect",
    "JobSpec",
    "Network",
    "Notify",
    "Outputs",
    "OutputsOn",
    "Port",
    "Proto",
    "PublicKey",
    "Registry",
    "Retry",
    "RetryOn",
    "Secrets",
    "SpecRefusedError",
    "Ssh",
    "Upload",
    "UploadTo",
    "WebUrl",
    "dump_spec",
    "fill_template",
    "find_key_faults",
    "fingerprint_of",
    "frames_request",
    "hide_query",
    "hide_upload",
    "is_reserved_env",
    "load_spec",
    "masked",
    "parse_duration",
    "parse_reference",
    "parse_size",
    "parse_spec",
    "parse_upload",
    "read_host",
    "read_key",
    "read_public_key",
    "read_url",
    "secrets_of",
    "spec_schema",
    "without_secrets",
]
