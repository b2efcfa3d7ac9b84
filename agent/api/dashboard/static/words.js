// words — what states of jobs, GPUs and checks are called and how they look: a sign and a word, never a colour alone. Asks nothing.

import { el, said } from "./dom.js";
import { clean, fit, oneLine } from "./format.js";

const LOOKS = {
  queued: ["○", "wait"], starting: ["●", "run"], running: ["●", "run"], stopping: ["●", "wait"], uploading: ["↑", "run"],
  succeeded: ["✓", "good"], failed: ["✗", "bad"], timed_out: ["✗", "bad"], lost: ["✗", "bad"], cancelled: ["⊘", "wait"],
  ok: ["✓", "good"], warn: ["!", "wait"], fail: ["✗", "bad"],
  free: ["○", "good"], leased: ["●", "run"], suspect: ["!", "wait"], quarantined: ["✗", "bad"], resetting: ["●", "wait"], missing: ["✗", "bad"],
  complete: ["✓", "good"], sent: ["✓", "good"], sending: ["↑", "run"], partial: ["!", "wait"],
};
const WHOSE = { user: "in what was asked", host: "of this host, not of the job", platform: "of gpu-agent itself" };

export function badge(state) {
  const [sign, look] = LOOKS[state] ?? ["○", "wait"];
  return el("span", { class: `state ${look}` }, el("span", { "aria-hidden": "true" }, sign), " ", oneLine(state).replaceAll("_", " "));
}

export function nameOf(job) {
  return job.name || functionOf(job) || job.spec.image;
}

export function functionOf(job) {
  if (!job.chute) return null;
  const what = job.kind === "cords" ? "its cords" : "described";
  return job.chute.function ? `${job.chute.name}/${job.chute.function}` : `${job.chute.name} (${what})`;
}

export function stateOf(job) {
  return job.outcome ?? job.phase;
}

// What it waits for, why it ended so, or which attempt runs.
export function whyOf(job) {
  if (job.phase === "queued" && job.waiting_for) return `for ${job.waiting_for}`;
  if (job.reason?.code === "exit_nonzero") return `exit ${job.exit?.code ?? "?"}`;
  if (job.reason) return job.reason.code;
  const told = [];
  if (job.progress?.percent !== null && job.progress && !job.outcome) told.push(`${Math.round(job.progress.percent)}%`);
  if (job.attempt > 1) told.push(`attempt ${job.attempt}`);
  return told.join(", ");
}

export function gpuCount(job) {
  return job.gpus.length || job.spec.gpus?.count || 0;
}

export function gpuState(gpu) {
  if (gpu.state === null) return "not looked at";
  if (gpu.state !== "ok") return gpu.state;
  return gpu.leased ? "leased" : "free";
}

export function modelOf(gpu) {
  return gpu.mig ? `MIG ${gpu.mig}` : gpu.model.replace(/^NVIDIA /, "");
}

// A remedy: the arrow is the command line's.
export function remedy(text) {
  return text ? el("p", { class: "remedy" }, el("span", { "aria-hidden": "true" }, "→ "), said(clean(text))) : null;
}

export function problemBox(problem) {
  const told = problem.told ?? { detail: String(problem), code: "page_failed", blame: "platform", remedy: "Load the page again; report it if it returns." };
  const whose = WHOSE[told.blame];
  const faults = (told.faults ?? []).map((fault) =>
    el("li", {}, el("b", {}, said(fit(fault.field, 80))), ` ${clean(fault.message)} `, remedy(fault.remedy)));
  return el("div", { class: "problem", role: "alert" },
    el("p", {}, el("strong", {}, said(clean(told.detail || told.title))), " ", el("small", {}, `(${oneLine(told.code)}${whose ? `: ${whose}` : ""})`)),
    faults.length > 0 && el("ul", {}, faults),
    remedy(told.remedy));
}

// A table that is a list of cards where there is little room: each cell says what it is.
export function table(caption, headings, rows) {
  return el("div", { class: "scroll" }, el("table", {},
    el("caption", { class: "unseen" }, caption),
    el("thead", {}, el("tr", {}, headings.map((heading) => el("th", { scope: "col" }, heading)))),
    el("tbody", {}, rows.map(({ key, cells }) =>
      el("tr", { "data-key": key }, cells.map((cell, at) => el("td", { "data-name": headings[at] }, el("div", {}, cell))))))));
}

export function facts(rows) {
  const real = rows.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false);
  return el("dl", { class: "facts" }, real.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
