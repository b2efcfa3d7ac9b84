"""The dashboard in a real browser: signing in, a job that runs live and is stopped, hostile text, and jobs' pages beside it."""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.daemon import revoke_token
from tests.certificates import make_certificates
from tests.e2e.author import Author
from tests.e2e.browser import Browser, Tab, browsing
from tests.e2e.client import Client, expect
from tests.e2e.conftest import Make
from tests.e2e.daemon import Daemon, in_loop
from tests.e2e.gpu_host import gpu_host
from tests.e2e.relay import Relay
from tests.kmsg_standin import KmsgStandin
from tests.nvml_standin import profiles
from tests.private_engine import PrivateEngine

pytestmark = pytest.mark.slow
PORTS = [{"name": "web", "port": 8080, "proto": "http"}]
# What runs if any of it is ever taken for markup; in a log line behind it what turns round the text that follows.
HOSTILE = "<img src=x onerror=\"window.hurt='yes'\"><script>window.hurt='yes'</script>"
NAME, LINE = f"{HOSTILE} \u05d0\u05d1\u05d2", f"{HOSTILE}\u202efdp.exe"
TALKS = 'i=0; while true; do i=$((i+1)); echo "line $i"; sleep 0.3; done'
# What a page may tell of a fault; a refused request is an entry of level error, too.
FAULTS = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")


@pytest.fixture
def browser(engine: PrivateEngine, tmp_path: Path) -> Iterator[Browser]:
    with browsing(engine.prefix, tmp_path) as made:
        yield made


def address(daemon: Daemon, scheme: str = "http") -> str:
    return f"{scheme}://127.0.0.1:{daemon.config.api.listen.port}"


def watched(browser: Browser) -> Tab:
    tab = browser.tab()
    for domain in ("Page", "Runtime", "Log", "Network"):
        tab.call(f"{domain}.enable")
    return tab


def sign_in(tab: Tab, url: str, token: str) -> None:
    tab.go(f"{url}/")
    tab.until("!!document.getElementById('token')")
    tab.evaluate(f"document.getElementById('token').value = {json.dumps(token)}")
    click(tab, ".signin button")
    tab.until("!!document.querySelector('.tiles')")


def click(tab: Tab, selector: str) -> None:
    tab.until(f"!!document.querySelector({json.dumps(selector)})")
    tab.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


def text(tab: Tab, selector: str) -> str:
    return str(tab.evaluate(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))


def faults(tab: Tab) -> list[dict[str, Any]]:
    """All that the console shows in red or yellow: errors, violations of the policy, refused requests."""
    told = tab.heard(*FAULTS)
    return [one for one in told if one.get("entry", one).get("level", one.get("type")) != "info"]


def test_a_job_is_seen_to_run_and_is_stopped(make_daemon: Make, browser: Browser) -> None:
    daemon = make_daemon().start()
    token = daemon.token("alice")
    alice, tab = daemon.client(token), watched(browser)
    sign_in(tab, address(daemon), token)
    assert text(tab, "#name") == "alice"
    tab.until("document.querySelector('main').innerText.includes('No job is here yet')")
    tab.until("document.getElementById('live').textContent === 'live'")
    job_id = alice.submit(TALKS, name="talks")
    # Nobody reloads: the event stream tells.
    click(tab, f"a[href='#/jobs/{job_id}']")
    tab.until("document.querySelector('h1').textContent === 'talks'")
    tab.until("document.querySelector('.headline .state').textContent.includes('running')")
    tab.until("document.querySelectorAll('.lines .stdout').length >= 3")
    click(tab, ".headline button.danger")
    tab.until("!!document.querySelector('dialog[open]')")
    assert alice.job(job_id)["phase"] == "running", "it asks first"
    click(tab, "dialog button.danger")
    tab.until("document.querySelector('.headline .state').textContent.includes('cancelled')", 60)
    tab.until("document.querySelector('main').innerText.includes('The log has ended.')")
    shown = tab.evaluate("[...document.querySelectorAll('.lines .stdout')].map((line) => line.textContent)")
    assert shown == alice.log(job_id).splitlines(), "each line once"
    assert "cancelled" in text(tab, ".problem")
    assert faults(tab) == []


def test_the_log_goes_on_behind_its_last_line_after_a_break(make_daemon: Make, browser: Browser) -> None:
    daemon = make_daemon().start()
    token = daemon.token("alice")
    alice, tab = daemon.client(token), watched(browser)
    relay = Relay(daemon.net, daemon.config.api.listen.port)
    job_id = alice.submit(TALKS)
    sign_in(tab, f"http://127.0.0.1:{relay.port}", token)
    tab.evaluate(f"location.hash = '#/jobs/{job_id}'")
    tab.until("document.querySelectorAll('.lines .stdout').length >= 3")
    relay.cut()
    tab.until("document.querySelector('main').innerText.includes('The connection broke')")
    tab.until("document.querySelector('main').innerText.includes('agent_away')")
    before = len(alice.log(job_id).splitlines())
    relay.mend()
    tab.until(f"document.querySelectorAll('.lines .stdout').length > {before}")
    shown = tab.evaluate("[...document.querySelectorAll('.lines .stdout')].map((line) => line.textContent)")
    assert shown == [f"line {number}" for number in range(1, len(shown) + 1)], "none lost, none twice"
    tab.until("!document.querySelector('main').innerText.includes('agent_away')")
    alice.cancel(job_id, grace=0)
    relay.close()


def test_a_restart_of_the_agent_signs_out_and_the_page_says_so(make_daemon: Make, browser: Browser) -> None:
    daemon = make_daemon().start()
    token = daemon.token("alice")
    tab = watched(browser)
    sign_in(tab, address(daemon), token)
    daemon.kill()
    tab.until("document.getElementById('live').textContent.includes('away')")
    daemon.start()
    tab.until("!!document.getElementById('token')")
    assert "the agent was restarted" in text(tab, ".note")
    sign_in(tab, address(daemon), token)


def test_what_a_job_says_stays_text(make_daemon: Make, browser: Browser) -> None:
    daemon = make_daemon().start()
    token = daemon.token("alice")
    alice, tab = daemon.client(token), watched(browser)
    script = f"echo {shlex.quote(LINE)}; echo x > '/outputs/<b>y'; exit 3"
    job_id = alice.submit(script, name=NAME, labels={"a": HOSTILE})
    alice.wait_finished(job_id)
    sign_in(tab, address(daemon), token)
    for screen, selector in (("", "td .name"), ("jobs", "td .name"), (f"jobs/{job_id}", "h1")):
        tab.evaluate(f"location.hash = '#/{screen}'")
        tab.until(f"document.querySelector({json.dumps(selector)})?.textContent === {json.dumps(NAME)}")
    shown = LINE.replace("\u202e", "\\u202e")
    tab.until(f"document.querySelector('.lines .stdout')?.textContent === {json.dumps(shown)}")
    tab.evaluate("document.querySelector('details.outputs').open = true")
    tab.until("document.querySelector('.outputs td a')?.textContent === '<b>y'")
    assert "exit_nonzero" in text(tab, ".problem")
    found = tab.evaluate("[typeof window.hurt, document.images.length, document.scripts.length]")
    assert found == ["undefined", 0, 1]
    assert faults(tab) == []


LEARNS = """
    @chute.job(timeout=300)
    async def learn(self, epochs: int):
        for epoch in range(epochs):
            await self.record_metric("loss<b>", 1 / (epoch + 1))
            await self.update_job_progress(progress=100 * epoch / epochs, message=f"epoch {epoch} <i>")
            await asyncio.sleep(0.3)
        return {"epochs": "<u>" + str(epochs)}
"""


def test_what_a_function_tells_is_drawn_while_it_runs_and_what_it_returned_is_shown(
    make_daemon: Make, python_image: str, browser: Browser
) -> None:
    daemon = make_daemon().start()
    token, tab = daemon.token("alice"), watched(browser)
    author = Author(daemon.client(token)).deployed(python_image, LEARNS, spec={"network": "none"})
    sign_in(tab, address(daemon), token)
    runs = author.start("learn", {"epochs": 400})
    click(tab, f"a[href='#/jobs/{runs}']")
    tab.until("document.querySelector('h1').textContent === 'trainer/learn'")
    tab.until("/epoch [0-9]+ <i>/.test(document.querySelector('p.progress')?.innerText)")
    tab.until("document.querySelector('figure polyline')?.getAttribute('points').split(' ').length > 3")
    assert "loss<b>" in text(tab, "figcaption")
    author.client.cancel(runs, grace=0)
    ended = author.finished("learn", {"epochs": 2})
    tab.evaluate(f"location.hash = '#/jobs/{ended['id']}'")
    tab.until("document.querySelector('.facts')?.innerText.includes('<u>2')")
    assert "2 points, last 0.5, 0.5 to 1" in text(tab, "figcaption")
    assert faults(tab) == []


# The answer to signing out is late. What is asked meanwhile, in the name of a session that has ended, would come back refused.
LEAVE_SLOWLY = """(() => {
  const real = window.fetch;
  window.fetch = async (path, options) => {
    const answer = await real(path, options);
    if (options.method === "DELETE") {
      location.hash = "#/gpus";
      await new Promise((done) => setTimeout(done, 500));
    }
    return answer;
  };
  document.getElementById("leave").click();
})()"""


def test_signed_out_nothing_is_left_in_the_browser(make_daemon: Make, browser: Browser) -> None:
    daemon = make_daemon()
    make_certificates(daemon.folder)
    daemon.write_config(
        {"api": {"tls_cert": str(daemon.folder / "s.pem"), "tls_key": str(daemon.folder / "s.key")}}
    )
    token = daemon.start().token("alice")
    tab = watched(browser)
    sign_in(tab, address(daemon, "https"), token)
    (cookie,) = tab.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (
        "__Host-gpu-agent-session",
        True,
        True,
        "Strict",
        "/",
    )
    assert tab.evaluate("document.cookie") == ""
    kept = tab.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert token.split("_")[2] not in kept
    assert cookie["value"] not in kept
    assert token.split("_")[2] not in tab.evaluate("document.documentElement.outerHTML")
    tab.go(f"{address(daemon, 'https')}/")  # a page that is loaded anew is signed in
    tab.until("!!document.querySelector('.tiles')")
    tab.evaluate(LEAVE_SLOWLY)
    tab.until("!!document.getElementById('token')")
    assert tab.cookies() == []
    assert tab.evaluate("localStorage.length") == 0
    assert faults(tab) == []


def test_who_could_not_be_signed_out_is_told_so_and_stays_signed_in(
    make_daemon: Make, browser: Browser
) -> None:
    daemon = make_daemon().start()
    tab = watched(browser)
    sign_in(tab, address(daemon), daemon.token("alice"))
    set_offline(tab, is_offline=True)
    click(tab, "#leave")
    tab.until("document.querySelector('h1')?.textContent === 'You are still signed in'")
    assert "agent_away" in text(tab, ".problem")
    set_offline(tab, is_offline=False)
    click(tab, "#leave")
    tab.until("!!document.getElementById('token')")
    assert tab.cookies() == []


def set_offline(tab: Tab, *, is_offline: bool) -> None:
    tab.call(
        "Network.emulateNetworkConditions",
        offline=is_offline,
        latency=0,
        downloadThroughput=-1,
        uploadThroughput=-1,
    )


def test_no_window_shows_one_person_and_acts_as_another(make_daemon: Make, browser: Browser) -> None:
    daemon = make_daemon().start()
    first, second = watched(browser), watched(browser)
    sign_in(first, address(daemon), daemon.token("alice"))
    second.go(f"{address(daemon)}/")
    second.until("document.getElementById('name')?.textContent === 'alice'")
    click(second, "#leave")
    first.until("!!document.getElementById('token')")
    sign_in(second, address(daemon), daemon.token("bob"))
    first.until("document.getElementById('name')?.textContent === 'bob'")


def test_a_token_that_is_no_good_is_refused_in_words_and_a_revoked_one_signs_out(
    make_daemon: Make, browser: Browser
) -> None:
    daemon = make_daemon().start()
    token, tab = daemon.token("alice"), watched(browser)
    tab.go(f"{address(daemon)}/")
    tab.until("!!document.getElementById('token')")
    tab.evaluate("document.getElementById('token').value = 'gat_wrong'")
    click(tab, ".signin button")
    tab.until("document.querySelector('.problem')?.innerText.includes('gpu-agent token create')")
    assert "unauthorized" in text(tab, ".problem")
    sign_in(tab, address(daemon), token)
    assert in_loop(revoke_token(daemon.config, token.split("_")[1]))
    tab.until("!!document.getElementById('token')")
    assert "revoked" in text(tab, ".note")


def test_who_may_only_look_is_shown_no_button_that_would_be_refused(
    make_daemon: Make, browser: Browser
) -> None:
    daemon = make_daemon().start()
    tab = watched(browser)
    job_id = daemon.client(daemon.token("alice")).submit(TALKS)
    sign_in(tab, address(daemon), daemon.token("auditor", ["jobs:read", "jobs:all"]))
    tab.until("document.querySelector('td[data-name=Owner]')?.innerText === 'alice'")
    click(tab, f"a[href='#/jobs/{job_id}']")
    tab.until("document.querySelectorAll('.lines .stdout').length > 0")
    assert tab.evaluate("document.querySelector('main button')") is None
    tab.evaluate("location.hash = '#/gpus'")
    tab.until("document.querySelector('h1').textContent === 'GPUs'")
    assert tab.evaluate("document.querySelector('main button')") is None
    assert faults(tab) == []
    daemon.local.cancel(job_id, grace=0)


def test_an_operator_quarantines_a_gpu_and_restores_it(
    make_daemon: Make, engine: PrivateEngine, tmp_path: Path, browser: Browser
) -> None:
    kmsg = KmsgStandin(tmp_path / "kmsg")
    with gpu_host(engine, tmp_path, profiles.l40s_pcie()) as host:
        daemon = make_daemon({"gpus": {"kernel_log": str(kmsg.path)}})
        daemon.environment = host.environ
        tab, token = watched(browser), daemon.start().token("ops", ["gpus:admin"])
        sign_in(tab, address(daemon), token)
        assert "jobs:read" in text(tab, "[data-key=newest]"), "it says what the token lacks"
        tab.evaluate("location.hash = '#/gpus'")
        state = "document.querySelector('tbody .state')?.innerText ?? ''"
        tab.until(f"({state}).includes('free')")
        click(tab, "tbody button")
        tab.until("!!document.querySelector('dialog[open]')")
        tab.evaluate("document.getElementById('why').value = '<b>the fan rattles</b>'")
        click(tab, "dialog button.danger")
        tab.until(f"({state}).includes('quarantined')")
        assert "<b>the fan rattles</b> (operator)" in text(tab, "main")
        click(tab, "tbody button")
        click(tab, "dialog button.danger")
        tab.until(f"({state}).includes('free')")
        # Its event stream needs jobs:read; the page looks now and then instead, and says so.
        assert "looks each" in text(tab, "#live")
        daemon.kill()
    kmsg.close()


# Jobs' pages beside it


def serve(client: Client, image: str) -> dict[str, Any]:
    """A job with a web app, which answers when this returns."""
    command = ["python3", "/packages/web_app.py", "8080"]
    body = {"image": image, "command": command, "network": "egress", "ports": PORTS}
    reply = client.call("POST", "/v1/jobs", body)
    assert reply.status == 201, reply.body
    job_id = str(reply.json["id"])
    expect(lambda: client.call("GET", f"/v1/jobs/{job_id}/ports/web/").status == 200, "the app answers", 60)
    return client.job(job_id)


# All that a page could try in its visitor's name. `base`: the agent's address, `id`: a job of the visitor's.
ATTACK = """((base, id) => {
  const ask = (path, options) => { fetch(base + path, {credentials: "include", ...options}).catch(() => null); };
  const draw = (name, path) => document.body.append(Object.assign(document.createElement(name), {src: base + path}));
  ask("/v1/session");
  ask(`/v1/jobs/${id}/cancel?by=cors`, {method: "POST", headers: {"X-Session-Key": "guessed"}});
  ask(`/v1/jobs/${id}/cancel?by=none`, {method: "POST", mode: "no-cors"});
  ask(`/v1/jobs/${id}/logs?tail=1`, {mode: "no-cors"});
  draw("img", `/v1/jobs/${id}/outputs?digest=none`);
  draw("iframe", `/v1/jobs/${id}/logs?tail=2`);
})"""
TRIED = 6


@dataclass(frozen=True)
class Asked:
    """A request of the browser's to the agent. `status` None: it was not sent, or its answer was refused before it was read."""

    url: str
    status: int | None
    has_cookie: bool


def attack(tab: Tab, base: str, job_id: str) -> list[Asked]:
    """What became of all that was tried."""
    before = len(asked(tab, base))
    tab.evaluate(f"{ATTACK}({json.dumps(base)}, {json.dumps(job_id)})")
    ended = ("Network.loadingFinished", "Network.loadingFailed")
    known = len(tab.heard(*ended))
    expect(lambda: len(asked(tab, base)) >= before + TRIED, "all was sent")
    expect(lambda: len(tab.heard(*ended)) >= known + TRIED - 1, "all was answered")
    return asked(tab, base)[before:]


def asked(tab: Tab, base: str) -> list[Asked]:
    answers = {one["requestId"]: one["statusCode"] for one in tab.heard("Network.responseReceivedExtraInfo")}
    headers = {one["requestId"]: one["headers"] for one in tab.heard("Network.requestWillBeSentExtraInfo")}
    return [
        Asked(
            one["request"]["url"],
            answers.get(one["requestId"]),
            "Cookie" in headers.get(one["requestId"], {}),
        )
        for one in tab.heard("Network.requestWillBeSent")
        if one["request"]["url"].startswith(base)
    ]


def test_a_jobs_page_by_path_can_do_nothing_by_the_cookie(
    make_daemon: Make, python_image: str, browser: Browser
) -> None:
    daemon = make_daemon().start()
    token = daemon.token("alice")
    alice, tab = daemon.client(token), watched(browser)
    job_id = str(serve(alice, python_image)["id"])
    base = address(daemon)
    sign_in(tab, base, token)
    page = f"{base}/v1/jobs/{job_id}/ports/web/"
    # The cookie does not even open it.
    tab.go(page)
    tab.until("document.body.innerText.includes('cookie_refused')")
    # With the token it does, and then the browser's own protocol does what the sandbox lets no script do.
    tab.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Bearer {token}"})
    tab.go(page)
    tab.until("document.title === 'static' && self.origin === 'null'")
    tab.call("Network.setExtraHTTPHeaders", headers={})
    tried = attack(tab, base, job_id)
    assert not any(one.has_cookie or one.status in {200, 202} for one in tried), tried
    for store in ("document.cookie", "localStorage.length"):
        reading = f"(() => {{ try {{ return [{store}]; }} catch (refused) {{ return refused.name; }} }})()"
        assert tab.evaluate(reading) == "SecurityError"
    tab.evaluate(f"location.href = '{base}/v1/jobs/{job_id}/logs'")
    tab.until("document.body.innerText.includes('unauthorized')")
    assert alice.job(job_id)["phase"] == "running"
    # All the while the visitor is signed in.
    tab.go(f"{base}/")
    tab.until("!!document.querySelector('.tiles')")


def test_a_jobs_page_at_a_port_of_this_host_can_do_nothing_by_the_cookie_that_reaches_it(
    make_daemon: Make, python_image: str, browser: Browser
) -> None:
    daemon = make_daemon().start()
    token = daemon.token("alice")
    alice, tab = daemon.client(token), watched(browser)
    job = serve(alice, python_image)
    base, job_id = address(daemon), str(job["id"])
    sign_in(tab, base, token)
    (cookie,) = tab.cookies()
    tab.go(f"http://127.0.0.1:{job['ports'][0]['host_port']}/headers")
    stolen = f"{cookie['name']}={cookie['value']}"
    # Browsers know no ports: the job has it now.
    tab.until(f"document.body.innerText.includes({json.dumps(stolen)})")
    tried = attack(tab, base, job_id)
    assert not any(one.status in {200, 202} for one in tried), tried
    # Nor can its author do more with it.
    thief = daemon.client(None)
    for method, path in (("GET", "/v1/session"), ("GET", "/v1/jobs"), ("POST", f"/v1/jobs/{job_id}/cancel")):
        reply = thief.call(method, path, headers={"Cookie": stolen, "Origin": base})
        assert (reply.status, reply.json["code"]) == (403, "cookie_refused")
    assert alice.job(job_id)["phase"] == "running"
