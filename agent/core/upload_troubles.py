"""core/upload_troubles — the closed catalogue of what may keep output files from leaving: code → whose fault, words, remedy."""

from dataclasses import dataclass

from agent.core.outgoing import SendTrouble
from agent.errors import Blame


@dataclass(frozen=True, slots=True)
class UploadWords:
    blame: Blame
    message: str
    remedy: str


_ENDPOINT = "See to the endpoint; the agent tries again until `outputs.deadline`."
_RETRY = "The files are kept here until retention ends: mend it, then POST …/outputs/retry."

UPLOAD_TROUBLES: dict[str, UploadWords] = {
    # no answer
    SendTrouble.HTTP_REFUSED: UploadWords(
        Blame.USER,
        "the URL is http://, which this host does not allow",
        "Use https://, or ask the operator for [uploads] allow_http; then POST …/outputs/retry.",
    ),
    SendTrouble.ADDRESS_REFUSED: UploadWords(
        Blame.USER,
        "the URL leads to an address that is not public",
        "Use a public endpoint, or ask the operator to list the host in [uploads] allow_hosts; then POST …/outputs/retry.",
    ),
    SendTrouble.NAME_UNKNOWN: UploadWords(
        Blame.USER, "the host's name has no address", "Check the name and its DNS."
    ),
    SendTrouble.CONNECT_FAILED: UploadWords(Blame.USER, "the endpoint took no connection", _ENDPOINT),
    SendTrouble.TLS_FAILED: UploadWords(
        Blame.USER,
        "the endpoint's TLS or its certificate was refused",
        "Give it a certificate of a public authority for this very name.",
    ),
    SendTrouble.TOO_SLOW: UploadWords(
        Blame.USER, "the endpoint did not take the file, or did not answer, in time", _ENDPOINT
    ),
    SendTrouble.REPLY_BROKEN: UploadWords(Blame.USER, "the endpoint's answer was no HTTP answer", _ENDPOINT),
    # an answer
    "status_failed": UploadWords(Blame.USER, "the endpoint answered with a failure", _ENDPOINT),
    "status_refused": UploadWords(Blame.USER, "the endpoint refused", _RETRY),
    "redirected": UploadWords(
        Blame.USER, "the endpoint sent elsewhere, where no file follows", "Name the URL where it really is."
    ),
}
