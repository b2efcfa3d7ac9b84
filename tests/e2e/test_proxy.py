"""A job's web page in a real browser: through its one-time URL, beside another job's page, across a daemon's death, by path."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import make_certificates
from tests.e2e.browser import Browser, Tab, browsing
from tests.e2e.client import Client, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import REPOSITORY, Daemon
from tests.e2e.python_image import make_python_image, packages_in
from tests.private_engine import PrivateEngine

pytestmark = pytest.mark.slow
DOMAIN = "jobs.localhost"
PORTS = [{"name": "web", "port": 8080, "proto": "http"}]
OURS = {"http": "gpu-agent-page", "https": "__Host-gpu-agent-page"}


@pytest.fixture
def web(make_daemon: Make) -> Daemon:
    return make_daemon({"proxy": {"domain": DOMAIN}}).start()


@pytest.fixture
def browser(engine: PrivateEngine, tmp_path: Path) -> Iterator[Browser]:
    with browsing(engine.prefix, tmp_path) as made:
        yield made


def serve(client: Client, image: str) -> str:
    """A job with the app, which answers when this returns."""
    command = ["python3", "/packages/web_app.py", "8080"]
    reply = client.call(
        "POST", "/v1/jobs", {"image": image, "command": command, "network": "egress", "ports": PORTS}
    )
    assert reply.status == 201, reply.body
    job_id = str(reply.json["id"])
    expect(lambda: client.call("GET", f"/v1/jobs/{job_id}/ports/web/").status == 200, "the app answers", 60)
    return job_id


def open_url(client: Client, job_id: str, path: str = "/") -> str:
    reply = client.call("POST", f"/v1/jobs/{job_id}/open", {"port": "web", "path": path})
    assert reply.status == 201, reply.body
    return str(reply.json["url"])


def shown(tab: Tab, url: str) -> dict[str, object]:
    tab.go(url)
    tab.until("document.title === 'done'")
    found: dict[str, object] = tab.evaluate("window.result")
    return found


def encrypted(daemon: Daemon) -> ssl.SSLContext:
    """The daemon, not started yet, speaks TLS; what its clients need."""
    make_certificates(daemon.folder)
    files = {"tls_cert": str(daemon.folder / "s.pem"), "tls_key": str(daemon.folder / "s.key")}
    daemon.write_config({"api": files})
    return ssl.create_default_context(cafile=str(daemon.folder / "ca.pem"))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_web_app_works_in_a_browser_through_its_one_time_url(
    make_daemon: Make, python_image: str, browser: Browser, scheme: str
) -> None:
    web = make_daemon({"proxy": {"domain": DOMAIN}})
    tls = encrypted(web) if scheme == "https" else None
    alice = web.start().client(web.token("alice"), tls)
    job_id = serve(alice, python_image)
    url = open_url(alice, job_id)
    tab = browser.tab()
    result = shown(tab, url)
    assert result["socket"] == {"said": ['{"said": "hello"}'], "protocol": "chat", "code": 4001}
    assert result["events"] == ["0", "1", "2"]
    assert result["posted"] == {"size": 8 << 20}
    # Its own cookies are its host's alone; ours are neither its scripts' nor its server's.
    assert result["cookie"] == "app=1; script=1"
    assert {(cookie["name"], cookie["domain"]) for cookie in tab.cookies()} == {
        (name, f"web--{job_id}.{DOMAIN}") for name in ("app", "script", OURS[scheme])
    }
    headers = result["headers"]
    assert isinstance(headers, dict)
    assert headers["Cookie"] == "app=1; script=1"
    assert (
        headers["Host"]
        == headers["X-Forwarded-Host"]
        == f"web--{job_id}.{DOMAIN}:{web.config.api.listen.port}"
    )
    assert tab.evaluate("location.pathname + location.search") == "/"
    # Whoever finds the URL later has nothing of it.
    with_nothing = browser.tab()
    with_nothing.call("Network.clearBrowserCookies")
    with_nothing.go(url)
    with_nothing.until("document.body.innerText.includes('page_not_open')")


def test_the_page_of_another_job_can_do_nothing_in_the_visitors_name(
    web: Daemon, python_image: str, browser: Browser
) -> None:
    alice = web.client(web.token("alice"))
    mine, other = serve(alice, python_image), serve(alice, python_image)
    tab = browser.tab()
    shown(tab, open_url(alice, mine))
    shown(tab, open_url(alice, other))
    host = f"web--{mine}.{DOMAIN}:{web.config.api.listen.port}"
    seen_before = alice.call("GET", f"/v1/jobs/{mine}/ports/web/counts").json["GET /"]
    # `other` is the attacker's page; the visitor is let in at both, and browsers take the two for one site.
    assert (
        tab.evaluate(
            f"fetch('http://{host}/headers', {{credentials: 'include'}}).then(() => 'read', () => 'refused')"
        )
        == "refused"
    )
    assert tab.evaluate(f"talk('ws://{host}/socket', 'chat')") == {"error": True}
    tab.evaluate(
        f"fetch('http://{host}/post', {{method: 'POST', mode: 'no-cors', credentials: 'include', body: 'x'}}).then(() => 1)"
    )
    tab.evaluate(
        f"document.body.appendChild(Object.assign(document.createElement('iframe'), {{src: 'http://{host}/'}})).name = 'x'"
    )
    tab.evaluate("document.cookie = 'gpu-agent-page=tossed; domain=jobs.localhost; path=/'")
    # Its own page did each of these once; nothing came of the other's.
    counts = alice.call("GET", f"/v1/jobs/{mine}/ports/web/counts").json
    assert (counts["GET /headers"], counts["GET /socket"], counts["POST /post"]) == (1, 1, 1)
    assert counts["GET /"] == seen_before
    # And the tossed cookie locks nobody out.
    shown(tab, f"http://{host}/")
    # The address of the agent itself is not reached through a page's name.
    assert tab.evaluate("fetch('/v1/host').then((answer) => answer.status)") == 404


def test_a_visitor_stays_let_in_across_a_daemons_death_and_not_beyond_the_jobs(
    web: Daemon, python_image: str, browser: Browser
) -> None:
    alice = web.client(web.token("alice"))
    job_id = serve(alice, python_image)
    tab = browser.tab()
    shown(tab, open_url(alice, job_id))
    unused = open_url(alice, job_id)
    web.kill()
    web.start()
    page = f"http://web--{job_id}.{DOMAIN}:{web.config.api.listen.port}/"
    shown(tab, page)
    tab.go(unused)  # tickets are in memory alone
    tab.until("document.body.innerText.includes('page_not_open')")
    alice.cancel(job_id, grace=0)
    alice.wait_finished(job_id)
    tab.go(page)
    tab.until("document.body.innerText.includes('job_not_running')")


def test_by_path_a_page_is_shown_and_runs_no_script(web: Daemon, python_image: str, browser: Browser) -> None:
    token = web.token("alice")
    job_id = serve(web.client(token), python_image)
    tab = browser.tab()
    tab.call("Network.enable")
    tab.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {token}"})
    tab.go(f"http://127.0.0.1:{web.config.api.listen.port}/v1/jobs/{job_id}/ports/web/")
    tab.until("document.title === 'static' && document.readyState === 'complete'")
    time.sleep(1)  # its script would be done by now: on its own host it takes less
    assert tab.evaluate("[document.title, typeof window.talk, self.origin]") == [
        "static",
        "undefined",
        "null",
    ]


def test_from_outside_the_real_server_answers_byte_for_byte(web: Daemon, python_image: str) -> None:
    alice, bob = web.client(web.token("alice")), web.client(web.token("bob"))
    job_id = serve(alice, python_image)
    path = f"/v1/jobs/{job_id}/ports/web"
    assert alice.call("POST", f"{path}/post", {"x": "y" * 1000}).json == {"size": 1009}
    seen = alice.call(
        "GET", f"{path}/headers", headers={"Cookie": "gpu-agent-page=x; a=b", "X-Forwarded-For": "6.6.6.6"}
    ).json
    assert (seen["Cookie"], seen["X-Forwarded-For"], seen["Host"]) == ("a=b", "127.0.0.1", "localhost:8080")
    assert "Authorization" not in seen
    assert bob.call("GET", f"{path}/").status == 404
    assert web.local.call("GET", f"{path}/headers").status == 200
    alice.cancel(job_id, grace=0)
    alice.wait_finished(job_id)
    assert (alice.call("GET", f"{path}/").status, alice.call("GET", f"{path}/").json["code"]) == (
        409,
        "job_not_running",
    )


# The page's own client of its server: a kernel is started, and talked to over a WebSocket.
RUN_A_CELL = """(async () => {
  await jupyterapp.started;
  const kernel = await jupyterapp.serviceManager.kernels.startNew({name: "python3"});
  const cell = kernel.requestExecute({code: "print(6 * 7)"});
  let printed = "";
  cell.onIOPub = (message) => { if (message.header.msg_type === "stream") printed += message.content.text; };
  await cell.done;
  await kernel.shutdown();
  return printed;
})()"""


@pytest.fixture(scope="module")
def notebook(session_engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    root = REPOSITORY / ".cache" / "notebook"
    if not (root / "installed").exists():
        pytest.skip("the notebook server is missing: scripts/ensure-browser installs it")
    (site,) = (root / "lib").glob("python*/site-packages")
    packages = [*packages_in(site), root / "share", root / "etc"]
    return make_python_image(
        session_engine, "gpu-agent-test/notebook:1", packages, tmp_path_factory.mktemp("image")
    )


def test_a_real_notebook_runs_a_cell_in_a_browser(web: Daemon, notebook: str, browser: Browser) -> None:
    alice = web.client(web.token("alice"))
    options = [
        "--ip=0.0.0.0",
        "--port=8080",
        "--no-browser",
        "--allow-root",
        "--IdentityProvider.token=sesame",
    ]
    shared = "/packages/share/jupyter"
    command = [
        "python3",
        "-m",
        "jupyterlab",
        *options,
        f"--LabApp.app_dir={shared}/lab",
        "--LabApp.expose_app_in_browser=True",
    ]
    env = {"HOME": "/tmp", "JUPYTER_PATH": shared, "JUPYTER_CONFIG_PATH": "/packages/etc/jupyter"}
    body = {
        "image": notebook,
        "command": command,
        "env": env,
        "workdir": "/tmp",
        "network": "egress",
        "ports": PORTS,
    }
    reply = alice.call("POST", "/v1/jobs", body)
    assert reply.status == 201, reply.body
    job_id = str(reply.json["id"])
    try:
        expect(
            lambda: alice.call("GET", f"/v1/jobs/{job_id}/ports/web/api").status == 200,
            "the server answers",
            180,
        )
    except AssertionError as late:
        raise AssertionError(f"{late}\n{alice.log(job_id)}") from None
    tab = browser.tab()
    tab.go(open_url(alice, job_id, "/lab?token=sesame"))
    tab.until("typeof jupyterapp !== 'undefined'", 60)
    assert tab.evaluate(RUN_A_CELL) == "42\n"
