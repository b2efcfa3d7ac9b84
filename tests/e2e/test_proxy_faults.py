"""The proxy against hostile jobs and hostile clients, on a real engine: what is refused, and what never crosses."""

import json
import time
import uuid

import pytest

from tests.e2e.client import Client, Json, Reply, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon

DOMAIN = "jobs.localhost"
PORTS = [{"name": name, "port": port, "proto": "http"} for name, port in (("web", 8080), ("other", 8081))]
SERVE = "python3 /packages/hostile_server.py 8081 & exec python3 /packages/hostile_server.py 8080"


@pytest.fixture
def daemon(make_daemon: Make) -> Daemon:
    return make_daemon({"proxy": {"domain": DOMAIN}}).start()


@pytest.fixture
def alice(daemon: Daemon) -> Client:
    return daemon.client(daemon.token("alice"))


def serve(client: Client, image: str) -> str:
    body = {"image": image, "command": ["sh", "-c", SERVE], "network": "egress", "ports": PORTS}
    reply = client.call("POST", "/v1/jobs", body)
    assert reply.status == 201, reply.body
    job_id = str(reply.json["id"])
    for name in ("web", "other"):
        path = f"/v1/jobs/{job_id}/ports/{name}/heads"
        expect(lambda path=path: client.call("GET", path).status == 200, "the server answers", 90)
    return job_id


def heads(client: Client, job_id: str) -> list[str]:
    found: list[str] = client.call("GET", f"/v1/jobs/{job_id}/ports/web/heads").json
    return found


def raw(daemon: Daemon, request: bytes) -> bytes:
    """These bytes to the agent's port; what comes back until it hangs up."""
    with daemon.net.connect(daemon.config.api.listen.port) as sock:
        sock.sendall(request)
        answer = b""
        while piece := sock.recv(1 << 16):
            answer += piece
    return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_jobs_bad_answers_are_502s_and_cut_short_ones_are_never_whole(
    daemon: Daemon, alice: Client, python_image: str
) -> None:
    job_id = serve(alice, python_image)
    path = f"/v1/jobs/{job_id}/ports/web"
    codes = {
        what: code_of(alice.call("GET", f"{path}/{what}"))
        for what in ("both", "two", "fold", "te", "switch", "nothing")
    }
    assert codes == {**dict.fromkeys(codes, (502, "port_bad_answer")), "nothing": (502, "port_unreachable")}
    began = time.monotonic()
    assert code_of(alice.call("GET", f"{path}/flood")) == (502, "port_bad_answer")  # 100 MB of headers
    assert time.monotonic() - began < 10
    bearer = f"Authorization: Bearer {daemon.token('alice')}"
    short = raw(daemon, f"GET {path}/short HTTP/1.1\r\nHost: x\r\n{bearer}\r\n\r\n".encode())
    assert short.endswith(b"\r\n\r\nhello")
    assert b"Content-Length: 9" in short
    assert alice.call("GET", f"{path}/late").body == b"ok"
    # What hides behind an answer is nobody's answer.
    assert [alice.call("GET", f"{path}/behind").body for _ in range(3)] == [b"ok"] * 3


def code_of(reply: Reply) -> tuple[int, str]:
    return reply.status, reply.json["code"]


TRIES: list[tuple[list[str], bytes]] = [
    (["Content-Length: 6", "Transfer-Encoding: chunked"], b"0\r\n\r\nX"),
    (["Content-Length: 0", "Content-Length: 30"], b"GET /hidden HTTP/1.1\r\nA: b\r\n\r\n"),
    (["X: y", " Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    (["Transfer-Encoding: xchunked"], b"0\r\n\r\n"),
    (["Transfer-Encoding: gzip, chunked"], b"0\r\n\r\n"),
    (["Transfer-Encoding : chunked"], b"0\r\n\r\n"),
    (["Host: y", "Content-Length: 0"], b""),
    (["Upgrade: websocket", "Connection: Upgrade", "Content-Length: 4"], b"body"),
]


@pytest.mark.parametrize("by", ["path", "host"])
def test_a_request_of_two_meanings_reaches_no_real_job(
    daemon: Daemon, alice: Client, python_image: str, by: str
) -> None:
    job_id = serve(alice, python_image)
    before = len(heads(alice, job_id))
    if by == "path":
        line, named = (
            f"POST /v1/jobs/{job_id}/ports/web/smuggled HTTP/1.1",
            ["Host: x", f"Authorization: Bearer {daemon.token('alice')}"],
        )
    else:
        line, named = (
            "POST /smuggled HTTP/1.1",
            [f"Host: web--{job_id}.{DOMAIN}", visitor(daemon, alice, job_id)],
        )
    for lines, body in TRIES:
        head = "\r\n".join([line, *named, *lines, "Connection: close", "", ""])
        assert status_of(raw(daemon, head.encode() + body)) == 400, lines
    assert len(heads(alice, job_id)) == before


def ticket(client: Client, job_id: str, port: str = "web") -> str:
    """Path and query of a one-time URL."""
    opened: Json = client.call("POST", f"/v1/jobs/{job_id}/open", {"port": port}).json
    return "/" + opened["url"].split("/", 3)[3]


def visit(daemon: Daemon, host: str, path: str, *lines: str) -> bytes:
    return raw(
        daemon,
        "\r\n".join([f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]).encode(),
    )


def visitor(daemon: Daemon, client: Client, job_id: str) -> str:
    """The Cookie header of who was let in."""
    answer = visit(daemon, f"web--{job_id}.{DOMAIN}", ticket(client, job_id))
    assert status_of(answer) == 303
    return "Cookie: " + answer.partition(b"Set-Cookie: ")[2].partition(b";")[0].decode()


def test_a_one_time_url_is_good_once_and_for_its_own_page_alone(
    daemon: Daemon, alice: Client, python_image: str
) -> None:
    job_id, other = serve(alice, python_image), serve(alice, python_image)
    host = f"web--{job_id}.{DOMAIN}"
    path = ticket(alice, job_id)
    assert [status_of(visit(daemon, host, path)) for _ in range(2)] == [303, 403]
    for elsewhere in (f"other--{job_id}.{DOMAIN}", f"web--{other}.{DOMAIN}", f"web--{uuid.uuid4()}.{DOMAIN}"):
        path = ticket(alice, job_id)
        assert [status_of(visit(daemon, named, path)) for named in (elsewhere, host)] == [403, 403]
    cookie = visitor(daemon, alice, job_id)
    assert visit(daemon, host, "/x", cookie).endswith(b"ok")
    for elsewhere in (f"other--{job_id}.{DOMAIN}", f"web--{other}.{DOMAIN}"):
        assert status_of(visit(daemon, elsewhere, "/x", cookie)) == 403
    for bad in (f"x.{DOMAIN}", f"web-{job_id}.{DOMAIN}", f"a.{host}"):
        assert status_of(visit(daemon, bad, "/v1/host", cookie)) == 404
    assert status_of(visit(daemon, host, "/x", cookie, "Host: localhost")) == 400


@pytest.mark.soak
def test_a_one_time_url_is_too_late_after_a_minute(daemon: Daemon, alice: Client, python_image: str) -> None:
    """Its scaled twin is tests/shell/test_proxy_pages.py, on a clock of its own."""
    job_id = serve(alice, python_image)
    path = ticket(alice, job_id)
    time.sleep(61)
    assert status_of(visit(daemon, f"web--{job_id}.{DOMAIN}", path)) == 403


def test_nothing_of_ours_reaches_a_job_and_no_cookie_of_a_job_another_host(
    daemon: Daemon, alice: Client, python_image: str
) -> None:
    job_id = serve(alice, python_image)
    cookie = visitor(daemon, alice, job_id)
    host = f"web--{job_id}.{DOMAIN}"
    spoofed = (
        "X-Forwarded-For: 6.6.6.6",
        "X_Forwarded_For: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "Authorization: Bearer x",
        "Proxy-Authorization: y",
        "TE: trailers",
        "Connection: close, X-Mine",
        "X-Mine: 1",
    )
    answer = visit(daemon, host, "/cookies", f"{cookie}; own=1", *spoofed)
    assert [line for line in answer.split(b"\r\n") if line.lower().startswith(b"set-cookie:")] == [
        b"Set-Cookie: a=1"
    ]
    by_path = alice.call(
        "GET", f"/v1/jobs/{job_id}/ports/web/cookies", headers={"Cookie": cookie.removeprefix("Cookie: ")}
    )
    assert by_path.headers["set-cookie"] == f"a=1; Path=/v1/jobs/{job_id}/ports/web/"
    for head in heads(alice, job_id)[-2:]:
        for never in ("6.6.6.6", "uthorization", "gpu-agent", "TE:", "X-Mine", "Bearer"):
            assert never not in head, json.dumps(head)
    assert "Cookie: own=1" in heads(alice, job_id)[-2]


def test_a_path_is_the_jobs_byte_for_byte_and_leads_to_no_other(
    daemon: Daemon, alice: Client, python_image: str
) -> None:
    job_id, other = serve(alice, python_image), serve(alice, python_image)
    bearer = f"Authorization: Bearer {daemon.token('alice')}\r\nHost: x\r\nConnection: close\r\n\r\n"
    for path in (f"/../../../{other}/ports/web/x", "/%2e%2e/%2F..", "/a%2Fb", "//x"):
        assert raw(daemon, f"GET /v1/jobs/{job_id}/ports/web{path} HTTP/1.1\r\n{bearer}".encode()).endswith(
            b"ok"
        )
        assert heads(alice, job_id)[-1].startswith(f"GET {path} HTTP/1.1\r\n")
    for target in (
        f"/v1/jobs/{job_id}%2Fports%2Fweb/x",
        f"/v1/jobs/{job_id}/ports/%77eb/x",
        f"/v1/jobs/x/../{job_id}/ports/web/x",
    ):
        assert status_of(raw(daemon, f"GET {target} HTTP/1.1\r\n{bearer}".encode())) == 404
    assert not any("/x" in head for head in heads(alice, other))
