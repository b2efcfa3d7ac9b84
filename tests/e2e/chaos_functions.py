"""chaos_functions — families of function jobs for a chaos: started, cancelled with all that came of them, and what must be true of each in the end."""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPException

from tests.e2e.author import CHUTE, Author
from tests.e2e.client import Json
from tests.e2e.daemon import Daemon

GRACE_SECONDS = 1
FUNCTIONS = """
@chute.job(retry_count=2)
async def grow(self, levels: int, width: int, pause: float, number: int = 0):
    for child in range(width if levels else 0):
        await self.start_job("grow", {"levels": levels - 1, "width": width, "pause": pause, "number": child})
        await asyncio.sleep(pause)
    return number
"""


@dataclass
class Grown:
    """A family by the key that it was asked for with. `frozen`: who was in it as its cancel was answered."""

    key: str
    payload: Json
    root: str | None = None
    cancel_asked: bool = False
    frozen: set[str] | None = None


@dataclass
class Families:
    daemon: Daemon
    random: random.Random
    grown: list[Grown] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def deploy(self, image: str) -> None:
        spec = {"network": "none", "grace": GRACE_SECONDS}
        Author(self.daemon.local).deployed(image, FUNCTIONS, spec=spec)

    def grow(self) -> list[str]:
        """Another one. The faults."""
        draw = self.random
        payload = {"levels": draw.randint(1, 2), "width": 2, "pause": draw.choice([0, 0.1, 1])}
        family = Grown(f"family-{len(self.grown)}", payload)
        self.grown.append(family)
        return self.ask_for(family)

    def ask_for(self, family: Grown) -> list[str]:
        """Again and again by one key, until it is known by an answer. The faults."""
        if family.root is not None:
            return []
        try:
            reply = self.daemon.local.call(
                "POST",
                f"/v1/chutes/{CHUTE}/jobs/grow",
                {"payload": family.payload},
                {"Idempotency-Key": family.key},
            )
        except (OSError, HTTPException):
            return []
        if reply.status not in {200, 201}:
            return [f"a start was answered {reply.status}: {reply.body[:300]!r}"]
        family.root = str(reply.json["id"])
        self.counts["families"] += 1
        return []

    def cancel(self) -> list[str]:
        """One of them, with all that came of it. The faults."""
        known = [family for family in self.grown if family.root is not None]
        if not known:
            return []
        family = self.random.choice(known)
        family.cancel_asked = True
        try:
            reply = self.daemon.local.call("POST", f"/v1/jobs/{family.root}/cancel?children=true")
            if reply.status == 202:
                self.counts["families cancelled"] += 1
                frozen = {item["id"] for item in self.tree(family)}
                family.frozen = family.frozen or frozen
        except (OSError, HTTPException):
            return []
        return (
            []
            if reply.status in {202, 409}
            else [f"a cancel was answered {reply.status}: {reply.body[:300]!r}"]
        )

    def tree(self, family: Grown) -> list[Json]:
        items: list[Json] = self.daemon.local.call("GET", f"/v1/jobs/{family.root}/tree").json["items"]
        return items

    def stopping(self) -> set[str]:
        """Who was asked to stop, and has to end."""
        return {job for family in self.grown for job in family.frozen or ()}

    def faults(self, *, was_away: bool) -> list[str]:
        """In the end. `was_away`: the engine was, and may have taken jobs with it."""
        return [
            f"{family.key} {family.root}: {fault}"
            for family in self.grown
            if family.root is not None
            for fault in self.family_faults(family, was_away=was_away)
        ]

    def family_faults(self, family: Grown, *, was_away: bool) -> list[str]:
        items = self.tree(family)
        by_parent: dict[str, list[Json]] = {item["id"]: [] for item in items}
        for item in items[1:]:
            by_parent[item["parent"]].append(item)
        faults = [f"{item['id']} is {item['phase']}" for item in items if item["phase"] != "finished"]
        for item in items:
            faults += self.job_faults(family, item, by_parent[item["id"]], was_away=was_away)
        late = {item["id"] for item in items} - (family.frozen or {item["id"] for item in items})
        return faults + [f"{job} came after the cancel of all" for job in late]

    def job_faults(self, family: Grown, item: Json, children: list[Json], *, was_away: bool) -> list[str]:
        numbers = sorted(self.payload(child["id"])["number"] for child in children)
        faults = []
        if len(set(numbers)) != len(numbers):
            faults.append(f"{item['id']} has started {numbers}: one of them twice")
        wanted = family.payload["width"] if self.payload(item["id"])["levels"] else 0
        if item["outcome"] == "succeeded" and numbers != list(range(wanted)):
            faults.append(f"{item['id']} has succeeded and started {numbers} of {wanted}")
        if item["outcome"] == "cancelled" and not family.cancel_asked:
            faults.append(f"{item['id']} is cancelled, and nobody asked for it")
        if item["outcome"] in {"failed", "lost", "timed_out"} and not was_away:
            faults.append(f"{item['id']} is {item['outcome']}, {item['reason_code']}")
        return faults

    def payload(self, job_id: str) -> Json:
        found: Json = json.loads((self.daemon.state / "jobs" / job_id / "payload.json").read_bytes())
        return found
