"""api/upload_views — a job's upload, and what became of each file, as JSON. Reads no store."""

from collections.abc import Mapping

from agent.core.job import Job
from agent.core.upload import FileState, JournalFile, Wanted, is_same_content, what_to_send
from agent.core.upload_form import UploadView, show_trouble, show_upload
from agent.interfaces import OutputFile

Json = dict[str, object]

# Of an upload that has not begun, or never will.
NOTHING_YET: Json = {
    "files_done": 0,
    "files_total": None,
    "files_failed": 0,
    "bytes_done": 0,
    "bytes_total": None,
    "rate": None,
    "eta": None,
    "last_error": None,
}


def show_upload_of(job: Job, view: UploadView | None) -> Json | None:
    """None: the job's outputs stay on this host."""
    if view is not None:
        return show_upload(view)
    wanted = what_to_send(job.spec.outputs, job.outcome)
    if wanted is Wanted.NOTHING:
        return None
    return {"state": "skipped" if wanted is Wanted.SKIPPED else "waiting", **NOTHING_YET}


def show_file_upload(
    file: OutputFile, journal: Mapping[str, JournalFile], moving: Mapping[str, int]
) -> Json | None:
    """None: it has not left as it is now, or is not to."""
    if file.path in moving:
        return {"state": "sending", "bytes_done": moving[file.path], "last_error": None}
    known = journal.get(file.path)
    if known is None or (
        known.state is FileState.SENT and not is_same_content(known, file.size_bytes, file.modified_ns)
    ):
        return None
    error = None if known.trouble is None else show_trouble(known.trouble)
    return {"state": known.state.value, "bytes_done": known.size_bytes, "last_error": error}
