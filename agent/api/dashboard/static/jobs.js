// jobs — the list of jobs, newest first: by phase, and page after page.

import { ask } from "./api.js";
import { el, said } from "./dom.js";
import { age, between, fit, time } from "./format.js";
import { badge, gpuCount, nameOf, problemBox, stateOf, table, whyOf } from "./words.js";

export const title = "Jobs";
const FILTERS = [[null, "All", null], ["queued", "Waiting", "queued"], ["running", "Running", "starting,running,stopping"], ["uploading", "Uploading", "uploading"], ["finished", "Finished", "finished"]];
const PAGE = 50;
const LARGEST_PAGE = 200;

export async function load(state) {
  const shown = state.data?.items.length ?? 0;
  const page = await ask(pathOf(state, Math.min(LARGEST_PAGE, Math.max(PAGE, shown))), { signal: state.signal });
  // Behind the largest page the list stays as it was read.
  const last = page.items.at(-1)?.id;
  const at = state.data?.items.findIndex((job) => job.id === last) ?? -1;
  const tail = at >= 0 && page.next ? state.data.items.slice(at + 1) : [];
  return { items: [...page.items, ...tail], next: tail.length > 0 ? state.data.next : page.next };
}

export function view(state) {
  const { argument, session, data } = state;
  const [, label] = FILTERS.find(([name]) => name === argument) ?? FILTERS[0];
  const filters = FILTERS.map(([name, text]) =>
    el("a", { href: name ? `#/jobs?phase=${name}` : "#/jobs", "aria-current": name === argument && "true" }, text));
  return [
    el("h1", {}, "Jobs"),
    el("nav", { class: "filters", "aria-label": "By phase" }, filters),
    argument && data.items.length === 0
      ? el("p", { class: "hint" }, `None is ${label.toLowerCase()} just now. `, el("a", { href: "#/jobs" }, "See all jobs"))
      : jobsTable(data.items, session),
    state.trouble && problemBox(state.trouble),
    data.next && el("p", {}, el("button", { type: "button", onclick: () => more(state) }, "More")),
  ];
}

export function hears(event) {
  return event.job !== null;
}

export function jobsTable(jobs, session) {
  if (jobs.length === 0) {
    return el("p", { class: "hint" }, "No job is here yet. ", el("code", {}, "gpu-agent run busybox echo hello"), " submits one from a shell on the host.");
  }
  const seesOthers = session.scopes.includes("jobs:all");
  const headings = ["State", "Name", "Why", ...(seesOthers ? ["Owner"] : []), "GPUs", "Created", "Ran"];
  return table("Jobs, newest first", headings, jobs.map((job) => ({ key: job.id, cells: cells(job, seesOthers) })));
}

function cells(job, seesOthers) {
  const ends = job.exit?.finished_at ?? job.finished_at ?? new Date().toISOString();
  return [
    badge(stateOf(job)),
    el("a", { class: "name", href: `#/jobs/${job.id}`, title: job.id }, said(fit(nameOf(job), 120))),
    whyOf(job) && said(fit(whyOf(job), 40)),
    ...(seesOthers ? [said(fit(job.owner, 40))] : []),
    String(gpuCount(job)),
    el("span", { class: "brief", title: time(job.created_at) }, age(job.created_at)),
    el("span", { class: "brief" }, between(job.exit?.started_at ?? job.started_at, ends) ?? "-"),
  ];
}

async function more(state) {
  try {
    const page = await ask(`${pathOf(state, PAGE)}&cursor=${encodeURIComponent(state.data.next)}`, { signal: state.signal });
    const known = new Set(state.data.items.map((job) => job.id));
    state.data = { items: [...state.data.items, ...page.items.filter((job) => !known.has(job.id))], next: page.next };
    state.trouble = null;
  } catch (problem) {
    state.trouble = problem;
  }
  state.draw();
}

function pathOf({ argument }, limit) {
  const phases = FILTERS.find(([name]) => name === argument)?.[2];
  return `/v1/jobs?limit=${limit}${phases ? `&phase=${phases}` : ""}`;
}
