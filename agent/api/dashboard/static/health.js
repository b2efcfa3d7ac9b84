// health — every check of the host: what was seen, since when, and what to do.

import { ask } from "./api.js";
import { el, said } from "./dom.js";
import { age, clean, oneLine, time } from "./format.js";
import { badge, remedy } from "./words.js";

export const title = "Health";
const ORDER = ["fail", "warn", "ok"];

export async function load({ signal }) {
  return ask("/v1/health", { signal });
}

export function view({ data }) {
  return [el("h1", {}, "Health"), checkList(data.checks)];
}

export function hears(event) {
  return event.job === null;
}

// The worst first.
export function checkList(checks) {
  const sorted = [...checks].sort((one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state));
  return el("ul", { class: "checks" }, sorted.map((check) =>
    el("li", { "data-key": check.name },
      el("p", {}, badge(check.state), " ", el("b", {}, oneLine(check.name)), " ",
        el("small", { title: time(check.since) }, `for ${age(check.since)}`)),
      el("p", {}, said(clean(check.evidence))),
      check.state !== "ok" && remedy(check.remedy))));
}
