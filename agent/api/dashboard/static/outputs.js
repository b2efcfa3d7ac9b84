// outputs — a job's output files: listed when they are asked for, each to be downloaded.

import { ask } from "./api.js";
import { el, said } from "./dom.js";
import { count, fit, oneLine, size, time } from "./format.js";
import { badge, problemBox, table } from "./words.js";

const MOST = 300;

export function outputs(state) {
  const { data: job } = state;
  const toggled = (event) => { if (event.target.open) list(state); };
  return el("details", { "data-key": "outputs", class: "outputs", ontoggle: toggled }, el("summary", {}, "Outputs"),
    state.listing ? listed(job, state) : el("p", { class: "hint" }, "Loading …"));
}

async function list(state) {
  const { data: job, signal } = state;
  try {
    state.listing = await ask(`/v1/jobs/${job.id}/outputs?digest=none`, { signal });
  } catch (problem) {
    if (signal.aborted) return;
    state.listing = { problem };
  }
  state.draw();
}

function listed(job, state) {
  const { listing } = state;
  const again = el("button", { type: "button", onclick: () => list(state) }, "List again");
  if (listing.problem) return el("div", {}, problemBox(listing.problem), again);
  if (listing.items.length === 0) return el("div", {}, el("p", { class: "hint" }, "There is none: a job's outputs are what it writes to /outputs."), again);
  const base = `/v1/jobs/${job.id}/outputs`;
  const rest = listing.items.length - MOST;
  return el("div", {},
    table("Output files", ["File", "Size", "Changed", ...(job.upload ? ["Sent"] : [])], listing.items.slice(0, MOST).map((file) => row(file, base, job))),
    rest > 0 && el("p", { class: "hint" }, `and ${count(rest, "more file", "more files")}`),
    listing.truncated && el("p", { class: "note" }, `The list ends at a cap: ${oneLine(listing.truncated)}.`),
    listing.skipped.length > 0 && el("p", { class: "hint" }, `${count(listing.skipped.length, "entry", "entries")} that can't be had: links, devices and the like.`),
    el("p", { class: "buttons" }, el("a", { href: `${base}?format=tar`, download: `${job.id}.tar` }, "Download all (tar)"), again));
}

function row(file, base, job) {
  const href = `${base}/${file.path.split("/").map(encodeURIComponent).join("/")}`;
  const cells = [el("a", { href, download: "", class: "name" }, said(fit(file.path, 300))), size(file.size), time(file.modified_at)];
  return { key: file.path, cells: job.upload ? [...cells, file.upload ? badge(file.upload.state) : "-"] : cells };
}
