// live — that something has changed: told by the event stream, which goes on behind its last event, or found by looking now and then. Shows nothing.

import { open, sleep, texts } from "./api.js";

const FIRST_WAIT = 1;
const LONGEST_WAIT = 15;
// The agent writes a sign of life each 15 s.
const SILENT = 45;
const LOOK_LIVE = 10;
const LOOK_POLLING = 5;

export class Live {
  // `hear(event)`: one event, or null: look, whatever has happened. `tell(state)`: "live", "polling" or "away".
  constructor(hear, tell) {
    this.hear = hear;
    this.tell = tell;
    this.after = null;
    this.isLive = false;
    this.ending = null;
  }

  // A page that nobody sees holds no connection: browsers have six for one host.
  start() {
    if (this.ending) return;
    this.ending = new AbortController();
    this.follow(this.ending.signal);
    this.look(this.ending.signal);
  }

  stop() {
    this.ending?.abort();
    this.ending = null;
    this.isLive = false;
  }

  async look(signal) {
    for (;;) {
      await sleep(this.isLive ? LOOK_LIVE : LOOK_POLLING, signal);
      if (signal.aborted) return;
      this.hear(null);
    }
  }

  async follow(signal) {
    let wait = FIRST_WAIT;
    while (!signal.aborted) {
      try {
        const headers = this.after === null ? {} : { "Last-Event-ID": this.after };
        const answer = await open("/v1/events", { signal, headers });
        this.isLive = true;
        this.tell("live");
        this.hear(null);
        for await (const event of eventsOf(texts(answer, SILENT))) {
          wait = FIRST_WAIT;
          this.after = event.id;
          this.hear(event);
        }
      } catch (problem) {
        if (signal.aborted) return;
        this.isLive = false;
        this.tell(problem.status === 0 ? "away" : "polling");
        // Without the scope there is no stream, and asking again would not help.
        if (problem.status === 401 || problem.status === 403) return;
      }
      await sleep(wait, signal);
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
  }
}

async function* eventsOf(pieces) {
  let rest = "";
  for await (const piece of pieces) {
    const blocks = (rest + piece).split("\n\n");
    rest = blocks.pop();
    yield* blocks.map(eventOf).filter(Boolean);
  }
}

function eventOf(block) {
  const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
  return fields.data ? { id: fields.id, type: fields.event, ...JSON.parse(fields.data) } : null;
}
