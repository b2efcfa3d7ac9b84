"""core/upload_form — an upload as JSON, the same in a job's answer and in its events. Reads nothing."""

from dataclasses import dataclass

from agent.core.event_form import show_time
from agent.core.upload import UploadRecord, UploadTrouble
from agent.core.upload_troubles import UPLOAD_TROUBLES


@dataclass(frozen=True, slots=True)
class UploadView:
    """An upload as it is shown. `bytes_done` counts what is on its way; `rate` is bytes a second, None while nothing moves."""

    record: UploadRecord
    bytes_done: int
    rate: float | None = None

    @property
    def eta_seconds(self) -> float | None:
        total = self.record.total
        if self.record.is_over or total is None or not self.rate:
            return None
        return max(0, total.bytes - self.bytes_done) / self.rate


def show_upload(view: UploadView) -> dict[str, object]:
    record, eta = view.record, view.eta_seconds
    return {
        "state": record.state.value,
        "files_done": record.sent.files,
        "files_total": None if record.total is None else record.total.files,
        "files_failed": record.failed,
        "bytes_done": view.bytes_done,
        "bytes_total": None if record.total is None else record.total.bytes,
        "rate": None if record.is_over or view.rate is None else round(view.rate),
        "eta": None if eta is None else round(eta, 1),
        "last_error": None if record.trouble is None else show_trouble(record.trouble),
    }


def show_trouble(trouble: UploadTrouble) -> dict[str, object]:
    words = UPLOAD_TROUBLES[trouble.code]
    return {
        "code": trouble.code,
        "path": trouble.path,
        "status": trouble.status,
        "blame": words.blame.value,
        "message": words.message,
        "remedy": words.remedy,
        "at": show_time(trouble.at),
    }
