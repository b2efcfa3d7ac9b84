"""cli/families — the jobs that started each other: read from the topmost down, drawn beside one of them, waited for. Stops none."""

from typing import TYPE_CHECKING, Any

from rich.text import Text

from agent.cli.refusals import ApiRefusedError
from agent.cli.request import get, job_path
from agent.cli.screen import Form
from agent.cli.show.families import ended_alone, family_text

if TYPE_CHECKING:
    from agent.cli.client import Api
    from agent.cli.session import Call

# Of the jobs that started each other, beside all else that is told of one of them.
DRAWN = 40
GONE = 404


async def family_drawn(call: "Call", job: Any) -> list[Text]:  # noqa: ANN401 - decoded JSON
    """Where it belongs among the jobs that started each other, if any did; of a function that failed, that none came of it."""
    if call.screen.form is Form.JSON or not (job["parent"] or job["children"] or ended_alone(job)):
        return []
    try:
        tree = await read_whole_tree(call.api, job["id"])
    except ApiRefusedError as refused:
        # It was forgotten just now, or the agent is an older one: what is known of the job is told all the same.
        if refused.status != GONE:
            raise
        return []
    if len(tree["items"]) > DRAWN:
        # What came of this very job is nearer than all that came of the first.
        tree = await call.api.ask(get(job_path(job["id"], "/tree")))
    drawn = family_text(tree, job["id"], call.now(), call.screen.out.width, DRAWN)
    rest = len(tree["items"]) > DRAWN or tree["root"] != tree["items"][0]["id"]
    said = [Text(f"all of them: gpu-agent show --tree {job['id']}", style="dim")] if rest else []
    return [Text(), drawn, *said]


async def read_whole_tree(api: "Api", job_id: str) -> Any:  # noqa: ANN401 - decoded JSON
    """From the topmost job down; where that has gone meanwhile, or has more below it than an answer holds, from the job itself."""
    tree = await api.ask(get(job_path(job_id, "/tree")))
    if tree["root"] == job_id:
        return tree
    try:
        whole = await api.ask(get(job_path(tree["root"], "/tree")))
    except ApiRefusedError as refused:
        if refused.status != GONE:
            raise
        return tree
    return whole if any(item["id"] == job_id for item in whole["items"]) else tree


async def see_family_end(call: "Call", job_id: str) -> None:
    """None of them starts another any more, so their number only falls."""
    from agent.cli.leaving import see_end  # noqa: PLC0415 - takes the event loop with it

    tree = await call.api.ask(get(job_path(job_id, "/tree")))
    for item in tree["items"]:
        if item["phase"] != "finished":
            await see_end(call, item["id"])
    if tree["truncated"]:
        call.screen.say(
            f"there are more of them than the {len(tree['items'])} that were waited for; gpu-agent ps shows which go on"
        )
