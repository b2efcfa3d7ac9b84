// upload — how far a job's outputs have left, and what keeps them.

import { el, said } from "./dom.js";
import { clean, count, oneLine, size, span } from "./format.js";
import { badge, remedy } from "./words.js";

const NOT_BEGUN = { waiting: "waits for the job's end", skipped: "nothing is sent after this outcome (outputs.on)" };

export function uploadText(upload) {
  if (NOT_BEGUN[upload.state]) return NOT_BEGUN[upload.state];
  const isGoing = upload.state === "sending" && upload.bytes_total;
  return [
    badge(upload.state), " ", counts(upload), " ",
    isGoing && el("progress", { max: upload.bytes_total, value: upload.bytes_done, "aria-label": "sent" }), " ",
    isGoing && upload.rate ? `${size(upload.rate)}/s${upload.eta === null ? "" : `, ${span(upload.eta)} left`}` : "",
    trouble(upload.last_error),
  ];
}

function counts(upload) {
  const { files_done: files, files_total: allFiles, bytes_done: bytes, bytes_total: allBytes, files_failed: failed } = upload;
  let told = `${files} of ${count(allFiles, "file")}, ${size(bytes)} of ${size(allBytes)}`;
  if (allFiles === null) told = `${count(files, "file")}, ${size(bytes)} so far`;
  else if (files === allFiles && bytes === allBytes) told = `${count(files, "file")}, ${size(bytes)}`;
  return failed ? `${told}, ${failed} failed` : told;
}

function trouble(error) {
  if (!error) return null;
  const whose = error.path ? `${oneLine(error.path)}: ` : "";
  return el("div", {}, el("p", {}, said(`${whose}${clean(error.message)}${error.status ? ` (${error.status})` : ""}`), " ",
    el("small", {}, `(${oneLine(error.code)}, blame ${oneLine(error.blame)})`)), remedy(error.remedy));
}
