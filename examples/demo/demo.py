"""demo — an author's function, from its deploy to its results: somebody logs into its job, the daemon is killed in its middle, and again
while its results leave. `make demo` runs it; it imports nothing of the agent.
"""

import json
import shlex
import signal
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import docker
from ending import check_log, check_received, check_told, count_told, fetch_outputs, summarise
from engine import Engine, provide_engine
from image import ImageError, provide_image
from place import Place, clean_up, engines, find_place, held
from receiver import Receiver
from running_agent import AgentError, Follower, RunningAgent, configure
from screen import alarm, chapter, note, show_command, tell
from story import StoryError, short, until
from visitor import Visitor

TRAIN_SECONDS = 16
LINES_BEFORE_KILL = 5
FILES_BEFORE_KILL = 5
JOB_WITHIN_SECONDS = 180
CHUTE = Path(__file__).parent / "digits"
SHOWN_FACTS = ("function", "progress", "metrics")
LOOK_AROUND = "echo $GPU_AGENT_JOB; ls /.agent/chute"
INTERRUPTED, FAILED = 130, 1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)
    place = find_place()
    with held(place) as is_ours:
        if not is_ours:
            alarm(f"another demo runs from this checkout (it holds {place.cache}/lock)")
            return FAILED
        return run_and_clean_up(place)


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def run_and_clean_up(place: Place) -> int:
    clean_up(place)  # what an earlier demo left that was killed itself
    place.run.mkdir(parents=True)
    try:
        return tell_story(place)
    except KeyboardInterrupt:
        alarm("interrupted")
        return INTERRUPTED
    except (AgentError, ImageError, engines.PrivateEngineError, StoryError) as error:
        alarm(str(error))
        return FAILED
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        clean_up(place)
        note(f"all is gone but the image and the results, in {place.cache}")


def tell_story(place: Place) -> int:
    chapter("An engine and an image")
    engine = provide_engine(place)
    image = provide_image(engine.socket, place.cache)

    chapter("The agent, and a control plane that takes what its jobs leave")
    agent = start_agent(place, engine)
    receiver = start_receiver(place, engine)
    visitor = Visitor(place, engine.prefix)

    chapter("An author's file, deployed")
    deploy(agent, image, receiver, visitor)

    chapter("A job: its function, started by name")
    job = start_job(agent)
    follower = Follower(agent, job)
    try:
        url = wait_for_training(agent, job, follower)
        log_in(agent, job, visitor)
        show_page_through_agent(agent, job)
        kill_and_start_again(agent, engine, job, url)
        kill_while_results_leave(agent, receiver)
        follower.wait(JOB_WITHIN_SECONDS)
    finally:
        follower.stop()

    chapter("What came of it")
    finished = until(lambda: agent.find_finished(job), "the job is finished")
    check_log(agent, job, follower.lines)
    check_told(finished)
    check_received(finished, receiver)
    fetch_outputs(agent, job, place.results)
    summarise(finished, agent.say("events", job).splitlines(), place.results)
    return 0


def start_agent(place: Place, engine: Engine) -> RunningAgent:
    agent = configure(place, engine.prefix, engine.socket)
    show_command("gpu-agent token create demo --scope jobs:read --scope jobs:write")
    made = agent.ask("token", "create", "demo", "--scope", "jobs:read", "--scope", "jobs:write")
    show_command("gpu-agent kit build")
    tell(agent.say("kit", "build").strip())
    show_command("gpu-agent serve --config config.toml")
    agent.start()
    agent.token = made["token"]
    tell(f"ready at {agent.url}, process {agent.pid}")
    return agent


def start_receiver(place: Place, engine: Engine) -> Receiver:
    show_command("python examples/control_plane.py --folder received --secret whsec_…")
    receiver = Receiver(place, engine.prefix)
    tell(
        f"ready at http://127.0.0.1:{receiver.port}: {', '.join(receiver.uploads)}, and signed notifications"
    )
    return receiver


def deploy(agent: RunningAgent, image: str, receiver: Receiver, visitor: Visitor) -> None:
    """The agent runs the file once to see what it declares, in a container of its own, and never in its own process."""
    defaults = {
        "env": {"OPENBLAS_NUM_THREADS": "1"},
        "cpus": 1,
        "memory": "1GiB",
        "ssh": {"authorized_keys": [visitor.public_key]},
        "outputs": {"upload": receiver.uploads["put"], "logs": True},
        "notify": receiver.notify,
    }
    file = agent.place.run / "defaults.json"
    file.write_text(json.dumps(defaults))
    show_command("gpu-agent chute deploy examples/demo/digits --image gpu-agent-demo --spec defaults.json")
    tell(agent.say("chute", "deploy", str(CHUTE), "--image", image, "--spec", str(file)).strip())
    show_command("gpu-agent chute show digits")
    for line in agent.say("chute", "show", "digits").partition("\nJobs")[2].splitlines():
        if line.strip():
            tell(line.strip())


def start_job(agent: RunningAgent) -> str:
    payload = json.dumps({"seconds": TRAIN_SECONDS})
    show_command(f"gpu-agent chute run digits/train --payload '{payload}' --detach")
    job = str(agent.ask("chute", "run", "digits/train", "--payload", payload, "--detach")["id"])
    tell(job)
    show_command(f"gpu-agent logs -f {short(job)}")
    return job


def wait_for_training(agent: RunningAgent, job: str, follower: Follower) -> str:
    """Until it has learned a little. Returns the URL of its page."""

    def url() -> str | None:
        found = agent.ask("show", job)
        if found["phase"] not in {"queued", "starting", "running"}:
            raise StoryError(f"the job ended too early: {found['outcome']}, {found['reason']}")
        pages = [port["url"] for port in found["ports"] if port["name"] == "page"]
        return pages[0] if found["phase"] == "running" else None

    address = until(url, "the job runs")
    until(lambda: len(follower.lines) >= LINES_BEFORE_KILL, "it has learned for some epochs")
    return address


def log_in(agent: RunningAgent, job: str, visitor: Visitor) -> None:
    """By SSH, as anyone would whose key is in the spec. There is no server in the image: the agent brought it."""

    def ready() -> dict[str, Any] | None:
        found: dict[str, Any] = agent.ask("show", job)["ssh"]
        return found if found["state"] == "ready" else None

    ssh = until(ready, "the job's SSH server is ready")
    chapter("Somebody looks into the running job")
    show_command(f"{ssh['command']} {shlex.quote(LOOK_AROUND)}")
    for line in visitor.ask(ssh, LOOK_AROUND).splitlines():
        tell(line)
    tell(f"host key {ssh['fingerprint']}, as the agent told")


def show_page(agent: RunningAgent, url: str, after_epoch: int = 0) -> int:
    """The job's page, as soon as it tells of an epoch after that one. Returns the epoch."""

    def page() -> dict[str, Any] | None:
        found = agent.fetch(url)
        return found if found and found.get("epoch", 0) > after_epoch else None

    show_command(f"curl {url}")
    found = until(page, "the job's page answers")
    tell(json.dumps(found))
    return int(found["epoch"])


def kill_and_start_again(agent: RunningAgent, engine: Engine, job: str, url: str) -> None:
    epoch = show_page(agent, url)
    before = look_at_container(engine, job)
    chapter("SIGKILL to the agent, in the middle of the job")
    show_command(f"kill -9 {agent.pid}")
    agent.kill()
    tell("the job does not need it and learns on; its page, while there is no agent:")
    epoch = show_page(agent, url, after_epoch=epoch)
    began = time.monotonic()
    show_command("gpu-agent serve --config config.toml")
    agent.start()
    took = time.monotonic() - began
    after = look_at_container(engine, job)
    if after != before:
        raise StoryError(f"the container is not the same: {before}, then {after}")
    tell(
        f"ready again after {took:.1f} s, process {agent.pid}; container {after[0][:12]} is the one from before"
    )
    show_what_was_told(agent, job, epoch)


def show_what_was_told(agent: RunningAgent, job: str, epoch: int) -> None:
    """What the function told while there was no agent was kept in its container, and is there by now."""
    until(lambda: count_told(agent.ask("show", job)) > epoch, "what the function told meanwhile is there")
    show_command(f"gpu-agent show {short(job)}")
    for line in agent.say("show", job).splitlines():
        if line.startswith(SHOWN_FACTS):
            tell(line.rstrip())


def show_page_through_agent(agent: RunningAgent, job: str) -> None:
    """The page once more, by the agent's address: behind its token, and without the port being open to anybody."""
    path = f"/v1/jobs/{job}/ports/page/"
    show_command(
        f'curl -H "Authorization: Bearer $GPU_AGENT_TOKEN" {agent.url}/v1/jobs/{short(job)}…/ports/page/'
    )
    tell(json.dumps(until(lambda: agent.fetch_through(path), "the job's page answers through the agent")))


def kill_while_results_leave(agent: RunningAgent, receiver: Receiver) -> None:
    until(
        lambda: len(receiver.stored) >= FILES_BEFORE_KILL, "files have reached the control plane", pause=0.005
    )
    agent.kill()
    chapter("SIGKILL once more, while the results leave")
    show_command(f"kill -9 {agent.pid}")
    tell(f"the control plane has {len(receiver.stored)} of its files, and asks nobody")
    show_command("gpu-agent serve --config config.toml")
    agent.start()
    tell(f"ready again, process {agent.pid}; it goes on behind what its journal has")


def look_at_container(engine: Engine, job: str) -> tuple[str, str]:
    """Its id and when it was started, from the engine itself."""
    with closing(docker.DockerClient(base_url=f"unix://{engine.socket}", timeout=30)) as client:
        ours = client.containers.list(all=True, filters={"label": f"gpu-agent.job={job}"})
        if len(ours) != 1:
            raise StoryError(f"the job has {len(ours)} containers")
        return str(ours[0].id), str(ours[0].attrs["State"]["StartedAt"])


if __name__ == "__main__":
    sys.exit(main())
