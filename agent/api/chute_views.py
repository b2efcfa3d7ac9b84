"""api/chute_views — chutes and their versions as the JSON that clients rely on. Reads no store."""

from collections.abc import Sequence
from dataclasses import asdict

from agent.api.views import Json
from agent.core.chute import Brief, Version, brief_of
from agent.core.event_form import show_time
from agent.spec import CordFunction, JobFunction, signature_of


def show_chute(chute: Version, versions: Sequence[Brief]) -> Json:
    """A chute, by its current version. `versions`: all that are kept, newest first."""
    manifest = chute.manifest
    assert manifest is not None  # noqa: S101 - a version that is some chute's has one
    facts = manifest.chute
    return {
        "name": chute.chute,
        "owner": chute.owner,
        "version": show_brief(brief_of(chute)),
        "image": chute.image,
        "entry": chute.entry.text,
        "spec": chute.defaults,
        "catch_up": chute.catch_up,
        "jobs": [show_job_function(job) for job in manifest.jobs],
        "cords": [show_cord(cord) for cord in manifest.cords],
        "notes": list(manifest.notes),
        "tagline": facts.tagline,
        "readme": facts.readme,
        "declared": facts.model_dump(
            mode="json", include={"username", "image", "concurrency", "node_selector"}
        ),
        "sdk": manifest.sdk,
        "python": manifest.python,
        "versions": [show_brief(version) for version in versions],
    }


def show_version(version: Version) -> Json:
    """One deploy, as far as it has come."""
    return {
        "version": version.id,
        "state": version.state.value,
        "chute": version.chute,
        "number": version.number,
        "image": version.image,
        "entry": version.entry.text,
        "created_at": show_time(version.created_at),
        "describe_job": version.describe_job,
        "faults": [asdict(fault) for fault in version.faults],
    }


def show_in_list(chute: Brief) -> Json:
    """What its file declares may be large: of that the names of jobs alone."""
    return {
        "name": chute.chute,
        "owner": chute.owner,
        "version": show_brief(chute),
        "image": chute.image,
        "entry": chute.entry,
        "jobs": list(chute.jobs),
    }


def show_brief(version: Brief) -> Json:
    return {
        "id": version.id,
        "number": version.number,
        "state": version.state.value,
        "created_at": show_time(version.created_at),
    }


def show_job_function(job: JobFunction) -> Json:
    return {**job.model_dump(mode="json"), "signature": signature_of(job.function, job.parameters)}


def show_cord(cord: CordFunction) -> Json:
    return {**cord.model_dump(mode="json"), "signature": signature_of(cord.function, cord.parameters)}
