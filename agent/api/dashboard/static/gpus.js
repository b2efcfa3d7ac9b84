// gpus — the host's GPUs: what each is, how it is, what it does now, who has it; and an operator's word on one.

import { ask } from "./api.js";
import { confirm } from "./dialog.js";
import { el, said } from "./dom.js";
import { clean, fit, oneLine, size, span, unit } from "./format.js";
import { badge, gpuState, modelOf, table } from "./words.js";

export const title = "GPUs";
const HEADINGS = ["#", "GPU", "Model", "State", "Busy", "Memory", "Power", "Temp", "Job"];

export async function load({ signal }) {
  return ask("/v1/gpus?sample=1", { signal });
}

export function view({ data, session, refresh }) {
  const isOperator = session.scopes.includes("gpus:admin");
  const headings = isOperator ? [...HEADINGS, "Actions"] : HEADINGS;
  const told = data.condition && el("p", { class: "note" }, said(clean(data.condition)));
  if (data.items.length === 0) {
    return [el("h1", {}, "GPUs"), told, el("p", { class: "hint" }, "The agent sees no GPU here. Jobs without GPUs run all the same; ",
      el("code", {}, "gpu-agent doctor"), " says what the driver answers.")];
  }
  const rows = data.items.map((gpu, at) => ({ key: gpu.uuid, cells: [...cells(gpu, at), ...(isOperator ? [actions(gpu, refresh)] : [])] }));
  return [el("h1", {}, "GPUs"), told, table("GPUs of this host", headings, rows), notes(data.items)];
}

export function hears(event) {
  return event.type === "gpu.state" || event.type === "job.phase";
}

function cells(gpu, at) {
  const sample = gpu.sample ?? {};
  return [
    String(at), el("code", {}, oneLine(gpu.uuid)), el("span", { class: "brief" }, oneLine(modelOf(gpu))), badge(gpuState(gpu)),
    meter(sample.utilisation, 100, sample.utilisation === undefined || sample.utilisation === null ? "-" : `${Math.round(sample.utilisation)} %`, "busy"),
    meter(sample.memory_used, gpu.memory, `${size(sample.memory_used)} of ${size(gpu.memory)}`, "memory used"),
    el("span", { class: "brief" }, unit(sample.power, "W")), el("span", { class: "brief" }, unit(sample.temperature, "°C")),
    gpu.job ? el("a", { href: `#/jobs/${gpu.job}` }, gpu.job.slice(0, 13)) : "-",
  ];
}

export function meter(value, most, words, name) {
  if (value === undefined || value === null || !most) return words;
  return [el("progress", { max: most, value, "aria-label": name }), " ", el("span", { class: "number" }, words)];
}

// A line for each that has more to say: why it is not well, what it waits for, whether it may be leased at all.
function notes(gpus) {
  const lines = gpus.flatMap((gpu, at) => noteOf(gpu).map((line) => el("li", {}, `${at}: `, said(line))));
  return lines.length > 0 ? el("section", {}, el("h2", {}, "More about them"), el("ul", {}, lines)) : null;
}

function noteOf(gpu) {
  const told = [];
  if (gpu.words) told.push(`${clean(gpu.words)}${gpu.reason ? ` (${oneLine(gpu.reason)})` : ""}`);
  if (gpu.needs.length > 0) told.push(`needs: ${gpu.needs.map(oneLine).join(", ")}`);
  if (gpu.probation_left !== null) told.push(`well again in ${span(gpu.probation_left)}, if nothing more is seen`);
  if (!gpu.used) told.push("not in [gpus] use");
  if (gpu.sample?.slowdowns?.length > 0) told.push(`slowed down: ${gpu.sample.slowdowns.map(oneLine).join(", ")}`);
  return told;
}

function actions(gpu, refresh) {
  const word = (verb, text, action) => el("button", { type: "button", onclick: () => question(gpu, verb, text, action, refresh) }, action);
  return el("span", { class: "buttons" },
    gpu.state !== "quarantined" && word("quarantine", "No further job gets this GPU until it is restored. A job that has it goes on.", "Quarantine"),
    gpu.state !== "ok" && gpu.state !== null && word("restore", "Jobs may get this GPU again, if a look finds nothing against it.", "Restore"));
}

function question(gpu, verb, text, action, refresh) {
  const why = el("p", {}, el("label", { for: "why" }, "Why (one line, kept in its history)"), el("input", { id: "why", name: "words", maxlength: "300" }));
  confirm({ title: `${action} ${fit(gpu.uuid, 44)}?`, text, fields: [why], action, act: async (form) => {
    await ask(`/v1/gpus/${encodeURIComponent(gpu.uuid)}/${verb}`, { method: "POST", body: { words: String(form.get("words")) } });
    refresh();
  } });
}
