// screen — one screen while it is shown: loads what it needs, shows it, and loads it again when told to, never two at a time. Knows no screen by name.

import { el, show } from "./dom.js";
import { time } from "./format.js";
import { problemBox } from "./words.js";

// Between two looks: the events of a busy host come faster than anybody reads, and a look that takes long is not taken often.
const LEAST_GAP = 1000;
const TIMES_ITS_LENGTH = 5;

export class Screen {
  // `module`: load(state), view(state), and where wanted hears(event, state), isSettled(state), see(state, isSeen), leave(state), leastGap.
  constructor(main, module, argument, session) {
    this.main = main;
    this.module = module;
    this.ending = new AbortController();
    this.state = { argument, session, signal: this.ending.signal, data: null, refresh: () => this.soon(0), draw: () => this.draw() };
    this.timer = null;
    this.isLoading = false;
    this.isStale = false;
    this.leastGap = module.leastGap ?? LEAST_GAP;
    this.gap = this.leastGap;
    this.loadedAt = 0;
    this.problem = null;
  }

  start() {
    this.draw();
    this.load();
  }

  leave() {
    this.ending.abort();
    clearTimeout(this.timer);
    this.module.leave?.(this.state);
  }

  see(isSeen) {
    this.module.see?.(this.state, isSeen);
    if (isSeen) this.soon(0);
  }

  hear(event) {
    if (event === null && !this.problem && this.module.isSettled?.(this.state)) return;
    if (event === null || !this.module.hears || this.module.hears(event, this.state)) this.soon(this.loadedAt + this.gap - Date.now());
  }

  soon(milliseconds) {
    if (this.isLoading) this.isStale = true;
    else this.timer ??= setTimeout(() => this.load(), Math.max(0, milliseconds));
  }

  async load() {
    this.timer = null;
    this.isLoading = true;
    this.isStale = false;
    const began = Date.now();
    try {
      this.state.data = await this.module.load(this.state);
      this.problem = null;
    } catch (problem) {
      this.problem = problem;
    }
    this.isLoading = false;
    if (this.state.signal.aborted) return;
    this.gap = Math.max(this.leastGap, TIMES_ITS_LENGTH * (Date.now() - began));
    this.loadedAt = this.problem ? this.loadedAt : Date.now();
    this.draw();
    if (this.isStale) this.soon(this.gap);
  }

  draw() {
    if (this.state.signal.aborted) return;
    const shown = this.state.data === null
      ? [el("h1", {}, this.module.title), !this.problem && el("p", { class: "hint" }, "Loading …")]
      : this.module.view(this.state);
    const since = this.problem && this.state.data !== null && el("p", { class: "note" }, `What follows is as of ${time(this.loadedAt)}.`);
    show(this.main, [this.problem && el("div", { "data-key": "problem" }, problemBox(this.problem), since), ...shown]);
    document.title = `${this.main.querySelector("h1")?.textContent.slice(0, 60) ?? this.module.title} · gpu-agent`;
  }
}
