// chart — a job's metrics as small lines. Asks nothing.

import { el, said, svg } from "./dom.js";
import { fit, number } from "./format.js";

const MOST_METRICS = 12;
const MOST_POINTS = 240;
const WIDTH = 240;
const HEIGHT = 48;

export function charts(metrics) {
  const all = Object.entries(metrics ?? {});
  if (all.length === 0) return null;
  const rest = all.length - MOST_METRICS;
  return el("section", { "data-key": "metrics" }, el("h2", {}, "Metrics"),
    el("div", { class: "charts" }, all.slice(0, MOST_METRICS).map(([name, metric]) => chart(name, metric))),
    rest > 0 && el("p", { class: "hint" }, `and ${rest} more: gpu-agent show --json has all`));
}

function chart(name, metric) {
  const words = wordsOf(metric);
  return el("figure", { "data-key": `metric ${name}` },
    metric.points?.length > 1 && line(metric.points, `${fit(name, 60)}: ${words}`),
    el("figcaption", {}, el("b", {}, said(fit(name, 60))), " ", said(words)));
}

function wordsOf(metric) {
  const told = [];
  if (metric.count) told.push(`${metric.count} points, last ${number(metric.last)}, ${number(metric.min)} to ${number(metric.max)}`);
  told.push(...Object.entries(metric.labels ?? {}).slice(0, 8).map(([label, times]) => `${fit(label, 60)} ${times}`));
  return told.join(", ");
}

function line(points, words) {
  const kept = thin(points.filter((point) => point.every(Number.isFinite)));
  if (kept.length < 2) return null;
  const [times, values] = [kept.map(([at]) => at), kept.map(([, value]) => value)];
  const across = scale(times, WIDTH);
  const up = scale(values, HEIGHT - 4);
  const path = kept.map(([at, value]) => `${across(at).toFixed(1)},${(HEIGHT - 2 - up(value)).toFixed(1)}`).join(" ");
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": words },
    svg("polyline", { points: path, fill: "none", "vector-effect": "non-scaling-stroke" }));
}

function scale(values, room) {
  const low = values.reduce((least, value) => Math.min(least, value), Infinity);
  const high = values.reduce((most, value) => Math.max(most, value), -Infinity);
  return (value) => (high === low ? room / 2 : ((value - low) / (high - low)) * room);
}

// Of each stretch the lowest and the highest, so that a peak stays one.
function thin(points) {
  if (points.length <= MOST_POINTS) return points;
  const each = Math.ceil((2 * points.length) / MOST_POINTS);
  const kept = [];
  for (let from = 0; from < points.length; from += each) {
    const part = points.slice(from, from + each);
    const low = part.reduce((one, other) => (other[1] < one[1] ? other : one));
    const high = part.reduce((one, other) => (other[1] > one[1] ? other : one));
    kept.push(...(low[0] <= high[0] ? [low, high] : [high, low]));
  }
  return kept;
}
