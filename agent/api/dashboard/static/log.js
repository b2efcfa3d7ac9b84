// log — a job's log as it comes: followed by its cursor, gone on with after a break, and never more than a page can bear.

import { ask, open, sleep, texts } from "./api.js";
import { el, said } from "./dom.js";
import { problemBox } from "./words.js";
import { clean } from "./format.js";

const TAIL = 500;
const MOST_LINES = 2000;
const LINE_CHARACTERS = 10000;
const LONGEST_WAIT = 15;
const OVER = ["uploading", "finished"];
// Colours and such, which a terminal would take for itself.
const SEQUENCES = /\u001b\[[0-9;?]*[A-Za-z]/g;
const GAPS = { rotated: "older lines were rotated away", unreadable: "lines here can't be read" };

export class LogView {
  constructor(id) {
    this.id = id;
    this.cursor = null;
    this.ending = null;
    this.isOver = false;
    this.lines = el("div", { class: "lines", tabindex: "0", role: "region", "aria-label": "Log lines" });
    this.told = el("p", { class: "hint", role: "status" }, "Nothing was printed yet.");
    const whole = el("a", { href: `/v1/jobs/${id}/logs?timestamps=true`, download: `${id}.log` }, "Download the whole log");
    this.node = el("section", { "data-key": "log", "data-own": true }, el("h2", {}, "Log"), this.told, this.lines, el("p", {}, whole));
    this.start();
  }

  start() {
    if (this.ending || this.isOver) return;
    this.ending = new AbortController();
    this.follow(this.ending.signal);
  }

  stop() {
    this.ending?.abort();
    this.ending = null;
  }

  async follow(signal) {
    let wait = 1;
    while (!signal.aborted) {
      try {
        await this.readOnce(signal);
        wait = 1;
        const job = await ask(`/v1/jobs/${this.id}`, { signal });
        if (OVER.includes(job.phase)) {
          this.isOver = true;
          this.told.textContent = this.cursor === null ? "It ended, and has printed nothing." : "The log has ended.";
          return;
        }
      } catch (problem) {
        if (signal.aborted) return;
        if (problem.status >= 400 && problem.status < 500 && problem.status !== 429) {
          this.told.replaceChildren(problemBox(problem));
          return;
        }
        this.told.textContent = "The connection broke; it goes on behind the last line.";
        wait = Math.min(wait * 2, LONGEST_WAIT);
      }
      await sleep(wait, signal);
    }
  }

  async readOnce(signal) {
    const where = this.cursor === null ? `tail=${TAIL}` : `cursor=${encodeURIComponent(this.cursor)}`;
    const answer = await open(`/v1/jobs/${this.id}/logs?follow=true&format=ndjson&${where}`, { signal });
    let rest = "";
    for await (const piece of texts(answer, 0)) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop();
      if (lines.length > 0) this.add(lines.map((line) => JSON.parse(line)));
    }
  }

  add(records) {
    const isAtEnd = this.lines.scrollHeight - this.lines.scrollTop - this.lines.clientHeight < 40;
    this.cursor = records.at(-1).cursor;
    this.lines.append(...records.slice(-MOST_LINES).map(lineOf));
    while (this.lines.childElementCount > MOST_LINES) this.lines.firstElementChild.remove();
    this.told.textContent = "";
    if (isAtEnd) this.lines.scrollTop = this.lines.scrollHeight;
  }
}

function lineOf(record) {
  if (record.type === "attempt") return el("div", { class: "mark" }, `attempt ${record.attempt}`);
  if (record.type === "truncated") return el("div", { class: "mark" }, GAPS[record.cause] ?? "lines are missing here");
  return el("div", { class: record.stream, title: record.at }, said(clean(lastOf(record.line.replace(SEQUENCES, "")), LINE_CHARACTERS)));
}

// A bar that is drawn over and over in one line: what a terminal would show last.
function lastOf(line) {
  return line.split("\r").filter(Boolean).at(-1) ?? "";
}
