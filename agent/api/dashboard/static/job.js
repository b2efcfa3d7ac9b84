// job — one job: what it is, why it waits or ended, what it tells, its ways in, its log and its outputs.

import { ask } from "./api.js";
import { charts } from "./chart.js";
import { confirm } from "./dialog.js";
import { el, said } from "./dom.js";
import { age, between, clean, fit, oneLine, size, span, time } from "./format.js";
import { LogView } from "./log.js";
import { outputs } from "./outputs.js";
import { addresses, login } from "./reach.js";
import { uploadText } from "./upload.js";
import { badge, facts, functionOf, nameOf, remedy, stateOf, table } from "./words.js";

export const title = "Job";
const SHOWN = 20;
const RESULT_CHARACTERS = 2000;
const TRACEBACK_CHARACTERS = 20000;

export async function load({ argument, signal }) {
  return ask(`/v1/jobs/${argument}`, { signal });
}

export function view(state) {
  const { data: job, session } = state;
  state.log ??= new LogView(job.id);
  const mayWrite = session.scopes.includes("jobs:write");
  const canStop = job.phase !== "finished" || job.upload?.state === "sending";
  return [
    el("p", { class: "crumb" }, el("a", { href: "#/jobs" }, "Jobs"), " / ", el("code", {}, job.id)),
    el("div", { class: "headline" },
      el("h1", {}, said(fit(nameOf(job), 200))), badge(stateOf(job)),
      mayWrite && canStop && el("button", { type: "button", class: "danger", onclick: () => stop(state) }, job.outcome ? "Stop its upload" : "Stop job")),
    waiting(job), why(job), progress(job),
    facts(rows(job)),
    job.error && el("details", { "data-key": "error" }, el("summary", {}, "What was raised"), el("pre", {}, said(clean(job.error.traceback || `${job.error.type}: ${job.error.message}`, TRACEBACK_CHARACTERS)))),
    charts(job.metrics), attempts(job),
    outputs(state),
    state.log.node,
  ];
}

export function hears(event, { argument }) {
  return event.job === argument;
}

// What has ended changes no more; its points alone may be megabytes.
export function isSettled({ data: job }) {
  return job?.phase === "finished" && job.upload?.state !== "sending";
}

export function see({ log }, isSeen) {
  if (isSeen) log?.start();
  else log?.stop();
}

export function leave({ log }) {
  log?.stop();
}

function waiting(job) {
  const words = job.waiting_words || job.waiting_for;
  if (words) return el("p", { class: "note" }, "It waits: ", said(clean(words)));
  return job.phase === "uploading" ? el("p", { class: "note" }, "It has ended; its outputs leave.") : null;
}

function why(job) {
  if (!job.reason) return null;
  const { message, code, blame } = job.reason;
  return el("div", { class: "problem" },
    el("p", {}, el("strong", {}, said(clean(message))), " ", el("small", {}, `(${oneLine(code)}, blame ${oneLine(blame)})`)), remedy(job.reason.remedy));
}

function progress(job) {
  if (!job.progress || job.outcome) return null;
  const { percent, message } = job.progress;
  return el("p", { class: "progress" },
    percent !== null && [el("progress", { max: 100, value: percent, "aria-label": "progress" }), ` ${Math.round(percent)}%  `], said(fit(message ?? "", 300)));
}

function rows(job) {
  const { spec, exit } = job;
  return [
    ["owner", said(fit(job.owner, 100))],
    ["function", functionOf(job) && `${oneLine(functionOf(job))}, version ${oneLine(job.chute.version)}`],
    ["parent", job.parent && link(job.parent)],
    ["children", some(job.children.map(link))],
    ["image", said(fit(spec.image, 300))],
    ["digest", job.image_digest && el("code", {}, oneLine(job.image_digest))],
    ["command", !job.chute && commandOf(spec)],
    ["attempt", spec.retry?.count ? `${job.attempt} of at most ${1 + spec.retry.count}` : null],
    ["queue", `${oneLine(job.queue)}, priority ${job.priority}`],
    ["created", `${time(job.created_at)} (${age(job.created_at)} ago)`],
    ["started", job.started_at && time(job.started_at)],
    ["finished", job.finished_at && time(job.finished_at)],
    ["ran for", exit ? between(exit.started_at, exit.finished_at) : job.phase === "running" && between(job.started_at, new Date().toISOString())],
    ["exit code", exitText(exit)],
    ["peak memory", exit?.peak_memory && size(exit.peak_memory)],
    ["gpus", some(job.gpus.map((uuid) => el("code", {}, oneLine(uuid))))],
    ["gpu time", job.gpu_usage && typeof job.gpu_usage.gpu_seconds === "number" && span(job.gpu_usage.gpu_seconds)],
    ["gpu busy", job.gpu_usage && typeof job.gpu_usage.utilisation === "number" && `${Math.round(job.gpu_usage.utilisation)} %`],
    ["gpu memory", job.gpu_usage?.peak_memory && `${size(job.gpu_usage.peak_memory)} at most`],
    ["ports", addresses(job)], ["ssh", login(job.ssh)],
    ["upload", job.upload && uploadText(job.upload)],
    ["statuses", job.statuses && some(Object.entries(job.statuses).map(([task, status]) => said(`${fit(task, 100)}: ${fit(status, 200)}`)))],
    ["result", result(job)],
    ["labels", some(Object.entries(job.labels).map(([name, value]) => said(`${fit(name, 100)}=${fit(value, 200)}`)))],
  ];
}

function link(id) {
  return el("a", { href: `#/jobs/${id}` }, el("code", {}, id));
}

function some(items) {
  if (items.length === 0) return null;
  const rest = items.length - SHOWN;
  return el("ul", { class: "plain" }, items.slice(0, SHOWN).map((item) => el("li", {}, item)), rest > 0 && el("li", {}, `and ${rest} more`));
}

function commandOf(spec) {
  const words = [...(spec.entrypoint ?? []), ...(spec.command ?? [])];
  return words.length > 0 ? el("code", { class: "long" }, said(fit(words.map(quoted).join(" "), 1000))) : null;
}

function quoted(word) {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`;
}

function exitText(exit) {
  if (!exit || exit.code === null) return null;
  const notes = [exit.signal && `signal ${exit.signal}`, exit.oom && "out of memory"].filter(Boolean);
  return notes.length > 0 ? `${exit.code} (${notes.join(", ")})` : String(exit.code);
}

function result(job) {
  if (job.result_bytes === null) return null;
  if (job.result === null && job.result_bytes > 4) return `${size(job.result_bytes)}: GET /v1/jobs/${job.id}/result`;
  return el("code", { class: "long" }, said(fit(JSON.stringify(job.result), RESULT_CHARACTERS)));
}

function attempts(job) {
  if (job.attempts.length < 2) return null;
  const lines = job.attempts.map((attempt) => ({ key: `attempt ${attempt.number}`, cells: [
    String(attempt.number), badge(attempt.outcome), oneLine(attempt.reason?.code ?? ""), exitText(attempt.exit) ?? "-",
    (attempt.exit && between(attempt.exit.started_at, attempt.exit.finished_at)) ?? "-", time(attempt.closed_at),
  ] }));
  return el("section", { "data-key": "attempts" }, el("h2", {}, "Attempts"), table("Attempts", ["Attempt", "Outcome", "Why", "Exit", "Ran", "Closed"], lines));
}

function stop(state) {
  const job = state.data;
  const children = job.children.length > 0 && el("p", {}, el("label", {}, el("input", { type: "checkbox", name: "children" }), " and all jobs that came of it"));
  confirm({
    title: job.outcome ? "Stop its upload?" : "Stop this job?", action: job.outcome ? "Stop its upload" : "Stop job", fields: children ? [children] : [],
    text: job.outcome ? "What was sent stays sent, and its outcome stays." : "It is asked to end, and killed if it does not within its grace. What it wrote to its outputs stays.",
    act: async (form) => {
      await ask(`/v1/jobs/${job.id}/cancel`, { method: "POST", ...(form.get("children") ? { body: { children: true } } : {}) });
      state.refresh();
    },
  });
}
