"""gpu_crowd — many jobs of mixed sizes on eight GPUs, cancelled and with the daemon killed, watched from the engine's and the driver's side."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from tests.e2e.chaos import Chaos, Sent
from tests.e2e.client import expect
from tests.e2e.daemon import Settings
from tests.e2e.gpu_stays import begun_on_used, certain, shared
from tests.e2e.gpu_watch import MEMORY, PROCESS, GpuWatch, Use
from tests.nvml_standin.library import Standin
from tests.nvml_standin.profiles import Host
from tests.private_engine_host import wait

CLEAN_SECONDS = 1.0
SETTINGS: Settings = {
    "gpus": {"clean_timeout": CLEAN_SECONDS, "probation": CLEAN_SECONDS},
    "queues.default": {"concurrency": 16},
}
SIZES = (1, 1, 1, 2, 2, 4, 8)
# So many are sent between two kills of the daemon, and so many wait at most.
A_ROUND, MOST_UNFINISHED = (8, 16), 40
STRANGERS_ROUNDS = 2


@dataclass
class GpuCrowd(Chaos):
    """`standin` is that of `host`. A stranger's process is on the last GPU in the first rounds."""

    standin: Standin = field(kw_only=True)
    host: Host = field(kw_only=True)
    count: int = field(kw_only=True)
    sizes: Counter[int] = field(default_factory=Counter)

    def run_all(self) -> list[str]:
        """The violations."""
        use = Use(self.standin, self.host)
        watch = GpuWatch(self.engine, use, self.random, CLEAN_SECONDS)
        last = frozenset([self.host.cards[-1].uuid])
        use.begin(last, "", (*PROCESS, *MEMORY))
        with watch.watching():
            self.daemon.start()
            while len(self.sent) < self.count:
                self.make_trouble()
                watch.check()
                self.recover()
                self.invariants.check(self.accepted())
                # Not longer: a job of eight keeps its place and the other seven until this one is free.
                if self.counts["kills"] == STRANGERS_ROUNDS:
                    use.end(last, "")
            self.wait_for_the_end()
        self.invariants.check_end(self.accepted())
        for job in self.sent.values():
            self.check_job(job)
        self.counts += watch.counts
        stays, spells = watch.all_stays(), use.all_spells()
        self.counts["certain spells"] = len(certain(stays, spells))
        self.counts["on the last GPU"] = sum(last <= stay.gpus for stay in stays)
        return [
            *self.invariants.violations,
            *watch.faults,
            *shared(stays),
            *begun_on_used(stays, spells),
        ]

    def make_trouble(self) -> None:
        """Jobs and cancels, and a kill of the daemon somewhere among them."""
        moment = self.random.uniform(0, 2.0)
        thread = threading.Thread(target=lambda: (wait(lambda: False, moment), self.kill_daemon()))
        thread.start()
        for _ in range(min(self.random.randint(*A_ROUND), self.count - len(self.sent))):
            self.submit()
            if self.random.random() < 0.2:
                self.cancel(self.random.choice(list(self.sent.values())))
            wait(lambda: False, self.random.uniform(0, 0.1))
        thread.join()

    def recover(self) -> None:
        super().recover()
        rows = "SELECT 1 FROM jobs WHERE phase <> 'finished'"
        expect(lambda: len(self.daemon.query(rows)) < MOST_UNFINISHED, "some end", 120)

    def invent(self) -> Sent:
        """As chaos's, but on GPUs, and soon over."""
        sent = super().invent()
        size = self.random.choice(SIZES)
        self.sizes[size] += 1
        sent.body.pop("ports", None)
        sent.body |= {"gpus": size, "network": "none"}
        return sent

    def summary(self) -> str:
        told = ", ".join(f"{count} {name}" for name, count in sorted(self.counts.items()))
        sizes = ", ".join(f"{count} of {size}" for size, count in sorted(self.sizes.items()))
        return f"{super().summary()}\n  GPUs: {sizes}; {told}"
