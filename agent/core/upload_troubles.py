"""core/upload_troubles — the closed catalogue of what may keep output files from leaving: code → whose fault, words, remedy."""

from dataclasses import dataclass

from agent.core.outgoing import SendTrouble
from agent.errors import Blame


@dataclass(frozen=True, slots=True)
class UploadWords:
    blame: Blame
    message: str
    remedy: str


_ENDPOINT = "See to the endpoint; the agent tries again until `outputs.deadline`, and after that on POST …/outputs/retry."
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
    SendTrouble.REPLY_BROKEN: UploadWords(
        Blame.USER,
        "the connection broke, or what came back was no HTTP answer, or a success before all was sent",
        _ENDPOINT,
    ),
    # an answer
    "status_failed": UploadWords(Blame.USER, "the endpoint answered with a failure", _ENDPOINT),
    "status_refused": UploadWords(Blame.USER, "the endpoint refused", _RETRY),
    "redirected": UploadWords(
        Blame.USER, "the endpoint sent elsewhere, where no file follows", "Name the URL where it really is."
    ),
    # what a protocol wants beyond that
    "path_unfit": UploadWords(
        Blame.USER,
        "the file's path makes a URL that is too long to be sent",
        "Use shorter names, or a shorter URL; then POST …/outputs/retry.",
    ),
    "not_granted": UploadWords(
        Blame.USER,
        "the endpoint gave no URL for this file",
        "See why it wants only some of the files. " + _RETRY,
    ),
    "grant_broken": UploadWords(
        Blame.USER,
        "the endpoint's answer was not the JSON that gives URLs, or held one that is none",
        "See what it answers (docs/control-plane.md). " + _RETRY,
    ),
    "url_refused": UploadWords(
        Blame.USER,
        "three URLs that the endpoint gave for this file, one after the other, were refused with 401, 403 or 410",
        "See whether they expire too early, or are signed for other headers. " + _RETRY,
    ),
    "checksum_mismatch": UploadWords(
        Blame.USER, "what arrived at the endpoint had another checksum than what was sent", _ENDPOINT
    ),
    "tus_locked": UploadWords(
        Blame.USER, "the endpoint still holds an earlier connection's lock on the upload", _ENDPOINT
    ),
    "tus_unsupported": UploadWords(
        Blame.USER,
        "the endpoint speaks another version of tus, or does not let uploads be created",
        "Use one with tus 1.0.0 and its extension `creation`; then POST …/outputs/retry.",
    ),
    "tus_broken": UploadWords(
        Blame.USER,
        "the endpoint's answers make no sense as tus: an offset beyond the end, none at all, or one that never moves",
        "See to the endpoint, and to proxies before it that drop headers. " + _RETRY,
    ),
    "location_elsewhere": UploadWords(
        Blame.USER,
        "the endpoint put the upload on another origin (scheme, host, port), where the headers of the spec would leak",
        "Behind a proxy, let the tus server trust the forwarded headers; else name its own URL. " + _RETRY,
    ),
    # what the job, or somebody on this host, did
    "file_unstable": UploadWords(
        Blame.USER,
        "the file changed each time while it was sent",
        "Write a file under another name and rename it when it is whole; then POST …/outputs/retry.",
    ),
    "file_gone": UploadWords(
        Blame.USER,
        "the file is not there any more, or is no regular file of the job's own now",
        "Leave outputs in place until the upload is over.",
    ),
    "file_unreadable": UploadWords(
        Blame.HOST,
        "the host's disk does not give the file",
        "Ask the operator to see to the disk of the state folder; then POST …/outputs/retry.",
    ),
    "name_reserved": UploadWords(
        Blame.USER,
        "an output has a name that the agent's own files have: manifest.json, or job.N.log where logs are sent",
        "Name it otherwise. It is kept here, and everything else was sent.",
    ),
    "outputs_truncated": UploadWords(
        Blame.HOST,
        "there are more files or bytes than this host sends of one job",
        "Ask the operator to raise max_files and max_bytes under [outputs], or have the job pack its files.",
    ),
    "upload_cancelled": UploadWords(
        Blame.USER, "the upload was cancelled", "POST …/outputs/retry sends what did not leave."
    ),
    "deadline_passed": UploadWords(Blame.USER, "not everything had left at `outputs.deadline`", _RETRY),
    "target_lost": UploadWords(
        Blame.HOST,
        "the URL and the headers are not in the job's folder any more",
        "POST …/outputs/retry with the `upload` once more; leave the state folder to the agent.",
    ),
    "folder_missing": UploadWords(
        Blame.HOST,
        "somebody removed the job's folder, and its outputs with it",
        "Submit the job again, and leave the state folder to the agent.",
    ),
    "internal_error": UploadWords(
        Blame.PLATFORM,
        "the agent made a mistake with this upload",
        "Report it with the agent's log of that time; then POST …/outputs/retry.",
    ),
}
