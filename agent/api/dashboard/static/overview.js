// overview — whether all is well: the checks that are not, what runs and waits, what the host has left. One screen.

import { ask } from "./api.js";
import { el } from "./dom.js";
import { count, size, unit } from "./format.js";
import { checkList } from "./health.js";
import { jobsTable } from "./jobs.js";
import { badge, gpuState } from "./words.js";

export const title = "Overview";
const NEWEST = 8;

export const leastGap = 3000;

export async function load({ signal, session }) {
  const mayReadJobs = session.scopes.includes("jobs:read");
  const [host, health, gpus, jobs] = await Promise.all([
    ask("/v1/host", { signal }), ask("/v1/health", { signal }), ask("/v1/gpus", { signal }),
    mayReadJobs ? ask(`/v1/jobs?limit=${NEWEST}`, { signal }) : null,
  ]);
  return { host, health, gpus, jobs };
}

export function view({ data: { host, health, gpus, jobs }, session }) {
  const wrong = health.checks.filter((check) => check.state !== "ok");
  return [
    el("h1", {}, "Overview"),
    el("p", { class: "verdict" }, badge(health.state), " ",
      wrong.length === 0 ? "All checks are ok." : `${count(wrong.length, "check is", "checks are")} not ok.`),
    checkList(wrong),
    el("section", { class: "tiles", "aria-label": "The host" }, ...tiles(host, gpus)),
    el("section", { "data-key": "newest" },
      el("h2", {}, "Newest jobs"), newest(jobs, session),
      jobs?.next && el("p", {}, el("a", { href: "#/jobs" }, "All jobs"))),
    el("p", { class: "hint foot" }, `gpu-agent ${host.version}, ${host.engine ? `Docker ${host.engine.version}` : "the engine does not answer"}`),
  ];
}

export function hears(event) {
  return event.job === null || event.type === "job.phase" || event.type === "job.accepted";
}

function tiles(host, gpus) {
  const { queued, starting, running, stopping, uploading } = host.jobs;
  const rest = [[starting, "starting"], [stopping, "stopping"], [uploading, "uploading"]].filter(([many]) => many > 0);
  return [
    tile("Running", running, rest.map(([many, what]) => `${many} ${what}`).join(", "), "#/jobs?phase=running"),
    tile("Waiting", queued, "", "#/jobs?phase=queued"),
    gpuTile(gpus.items),
    tile("Ports free", host.ports.free, `${host.ports.held} held${host.ports.bad ? `, ${host.ports.bad} bad` : ""}`),
    tile("Disk free", size(host.state_free), "state folder"),
    tile("Memory", size(host.memory), host.cpus === null ? "" : unit(host.cpus, "processors")),
  ];
}

function gpuTile(items) {
  if (items.length === 0) return tile("GPUs", "none", "", "#/gpus");
  const states = items.map(gpuState);
  const free = states.filter((state) => state === "free").length;
  const others = [...new Set(states)].filter((state) => state !== "free");
  const told = others.map((state) => `${states.filter((one) => one === state).length} ${state}`);
  return tile("GPUs free", `${free} of ${items.length}`, told.join(", "), "#/gpus");
}

function tile(name, value, more, href) {
  const inside = [el("span", { class: "name" }, name), el("span", { class: "value" }, String(value)), el("span", { class: "more" }, more || "\u00a0")];
  return href ? el("a", { class: "tile", href }, inside) : el("div", { class: "tile" }, inside);
}

function newest(jobs, session) {
  if (jobs === null) return el("p", { class: "hint" }, "This token may not read jobs: it has not the scope jobs:read.");
  return jobsTable(jobs.items, session);
}
