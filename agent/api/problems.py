"""api/problems — errors as RFC 9457 documents: the only place that maps an error's code to an HTTP status. Raises none itself."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus

import structlog
from aiohttp import web

from agent.core.reasons import reason
from agent.errors import AgentError, Blame
from agent.interfaces import PullFailedError
from agent.jobs.cords import CordMethodError
from agent.spec import Fault, SpecRefusedError

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:gpu-agent:error:"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Every code that a request can be answered with. One that is not here is a defect of ours, and a 500.
STATUS: dict[str, int] = {
    "bad_json": 400,
    "bad_request": 400,
    "unauthorized": 401,
    "token_expired": 401,
    "session_ended": 401,
    "cookie_refused": 403,
    "scope_missing": 403,
    "origin_refused": 403,
    "job_not_found": 404,
    "output_not_found": 404,
    "result_not_found": 404,
    "gpu_not_found": 404,
    "gpu_request_refused": 409,
    "gpu_leased": 409,
    "body_too_slow": 408,
    "start_too_late": 408,
    "websocket_needed": 426,
    "idempotency_conflict": 409,
    "job_finished": 409,
    "family_cancelled": 409,
    "job_not_finished": 409,
    "job_not_running": 409,
    "port_not_found": 404,
    "port_not_http": 422,
    "port_name_too_long": 422,
    "port_unreachable": 502,
    "port_bad_answer": 502,
    "port_silent": 504,
    "page_not_found": 404,
    "page_not_open": 403,
    "cross_origin_refused": 403,
    "proxy_domain_unset": 409,
    "request_ambiguous": 400,
    "upload_not_over": 409,
    "nothing_to_retry": 409,
    "upload_needed": 422,
    "ssh_ended": 409,
    "ssh_not_asked": 409,
    "no_such_attempt": 404,
    "output_changed": 409,
    "log_unreadable": 500,
    "archive_incomplete": 500,
    "job_folder_missing": 500,
    "body_too_large": 413,
    "content_encoding_refused": 415,
    "bad_cursor": 400,
    "bad_job_id": 422,
    "gpus_never_fit": 422,
    "pull_failed": 422,
    "spec_refused": 422,
    "deploy_refused": 422,
    "code_too_large": 413,
    "too_much_code": 413,
    "chute_not_found": 404,
    "chute_in_use": 409,
    "cord_not_found": 404,
    "cord_method_not_allowed": 405,
    "cord_body_not_json": 415,
    "cord_arguments_invalid": 422,
    "cord_failed": 500,
    "cord_answer_invalid": 500,
    "cord_host_ended": 502,
    "cord_host_not_ready": 503,
    "cord_room_full": 503,
    "cord_busy": 503,
    "cord_timed_out": 504,
    "chute_files_missing": 500,
    "too_many_deploys": 429,
    "schedule_refused": 422,
    "schedule_not_found": 404,
    "schedule_name_taken": 409,
    "schedule_of_chute": 409,
    "schedule_file_missing": 500,
    "too_many_schedules": 409,
    "too_many_failures": 429,
    "too_many_streams": 429,
    "queue_full": 429,
    "container_gone": 404,
    "container_not_running": 409,
    "engine_refused": 502,
    "host_key_not_made": 503,
    "engine_unavailable": 503,
    "quota_unavailable": 503,
    "bridge_name_taken": 503,
    "bridge_out_of_sight": 503,
    "firewall_silent": 503,
    "firewall_unusable": 503,
    "siblings_unfiltered": 503,
    "state_full": 503,
    "state_read_only": 503,
    "store_unavailable": 503,
    "draining": 503,
}
# A pull that failed says why by the reason that a job would get; whose fault it is tells the status.
STATUS_OF_PULL = {Blame.USER: STATUS["pull_failed"], Blame.HOST: 502, Blame.PLATFORM: 500}
RETRY_AFTER_SECONDS: dict[str, int] = {
    "too_many_failures": 60,
    "too_many_streams": 5,
    "port_unreachable": 2,
    "cord_host_ended": 1,
    "cord_host_not_ready": 10,
    "cord_room_full": 1,
    "cord_busy": 1,
    "queue_full": 30,
    "too_many_deploys": 10,
    "engine_unavailable": 5,
    "host_key_not_made": 5,
    "quota_unavailable": 60,
    "state_full": 30,
    "state_read_only": 60,
    "store_unavailable": 5,
    "draining": 60,
}
# aiohttp's own answers, before a handler of ours is reached.
FRAMEWORK: dict[int, tuple[str, str]] = {
    400: ("bad_request", "Send well-formed HTTP/1.1."),
    404: ("no_such_path", "GET /openapi.json lists every path."),
    405: ("method_not_allowed", "The Allow header names the methods of this path."),
    413: ("body_too_large", "A body may have 1 MiB: put large data into an image, a file or an URL."),
    417: ("expectation_refused", "Send no Expect header, or 100-continue."),
}


class BadRequestError(AgentError):
    """Query parameters or headers that can't be read: all of them at once."""

    code, blame = "bad_request", Blame.USER
    remedy = "Correct each parameter that is named; GET /openapi.json describes them."

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.field}: {fault.message}" for fault in faults))


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into a problem document. Once an answer has begun, its connection is cut instead."""
    try:
        return await handler(request)
    except AgentError as error:
        answer = describe_error(error)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.warning(
                "request.failed", method=request.method, path=request.path, code=error.code, error=str(error)
            )
        refuse_if_begun(request, error)
        return answer
    except web.HTTPException as refusal:
        refuse_if_begun(request, refusal)
        return describe_framework(refusal, request)
    except web.RequestPayloadError as broken:
        refuse_if_begun(request, broken)
        return describe_malformed("the request's body is not well-formed")
    except ConnectionError:
        raise  # the client has gone; there is nobody to answer
    except Exception as error:
        # The top of a request: a defect of ours ends this request, not the daemon.
        log.exception("request.crashed", method=request.method, path=request.path)
        refuse_if_begun(request, error)
        return describe_crash()


def refuse_if_begun(request: web.Request, error: BaseException) -> None:
    # The status line is out: the only honest end is a broken transfer, which every client notices.
    if request.writer.output_size > 0:
        raise ConnectionResetError(f"the answer broke off: {error}") from error


def describe_error(error: AgentError) -> web.Response:
    status, facts = facts_of_error(error)
    faults = error.faults if isinstance(error, SpecRefusedError | BadRequestError) else ()
    headers: dict[str, str] = {}
    if error.code in RETRY_AFTER_SECONDS:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS[error.code])
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="gpu-agent"'
    if isinstance(error, CordMethodError):
        headers["Allow"] = ", ".join(error.allowed)
    if status == HTTPStatus.UPGRADE_REQUIRED:
        headers["Upgrade"] = "websocket"
    return build(status, str(error), facts, faults, headers)


def facts_of_error(error: AgentError) -> tuple[int, dict[str, object]]:
    """The HTTP status, and what is known beside the message: code, blame, phase, remedy."""
    code, blame, phase, remedy = error.code, error.blame, error.phase, error.remedy
    status = STATUS.get(code, 500)
    if isinstance(error, PullFailedError):
        why = reason(error.reason_code)
        code, blame, phase, remedy = why.code, why.blame, why.phase, why.remedy
        status = STATUS_OF_PULL[blame]
    named = None if phase is None else phase.value
    return status, {"code": code, "blame": blame.value, "phase": named, "remedy": remedy}


def describe_framework(refusal: web.HTTPException, request: web.BaseRequest) -> web.Response:
    code, remedy = FRAMEWORK.get(refusal.status, (f"http_{refusal.status}", "See RFC 9110 for this status."))
    headers = {"Allow": refusal.headers["Allow"]} if "Allow" in refusal.headers else {}
    words = {404: f"there is no path {request.path}", 405: f"{request.path} does not take {request.method}"}
    detail = words.get(refusal.status, refusal.reason)
    return build(refusal.status, detail, facts_of(code, remedy), (), headers)


def describe_crash() -> web.Response:
    remedy = "The agent's log has the traceback; report it with that."
    facts = {"code": "internal_error", "blame": Blame.PLATFORM.value, "phase": None, "remedy": remedy}
    return build(500, "the agent failed to answer; this is a defect of its own", facts, (), {})


def describe_malformed(message: str | None) -> web.Response:
    """What the HTTP parser could not read. Its message may quote the request, so only its first line is kept."""
    code, remedy = FRAMEWORK[400]
    detail = (message or "the request is not HTTP").splitlines()[0][:200]
    return build(400, detail, facts_of(code, remedy), (), {})


def facts_of(code: str, remedy: str) -> dict[str, object]:
    return {"code": code, "blame": Blame.USER.value, "phase": None, "remedy": remedy}


def build(
    status: int,
    detail: str,
    facts: Mapping[str, object],
    faults: Sequence[Fault],
    headers: Mapping[str, str],
) -> web.Response:
    code = str(facts["code"])
    document = {
        "type": TYPE_PREFIX + code,
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        **facts,
        "faults": [
            {"field": fault.field, "code": fault.code, "message": fault.message, "remedy": fault.remedy}
            for fault in faults
        ],
    }
    return web.Response(
        status=status, text=json.dumps(document), content_type=CONTENT_TYPE, headers=dict(headers)
    )
