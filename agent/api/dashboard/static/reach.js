// reach — the ways into a running job: its ports, and the line by which one logs in.

import { ask } from "./api.js";
import { el, said } from "./dom.js";
import { oneLine } from "./format.js";
import { problemBox } from "./words.js";

export function addresses(job) {
  if (job.ports.length === 0) return null;
  return el("ul", { class: "plain" }, job.ports.map((port) => el("li", {}, el("b", {}, oneLine(port.name)), ` ${port.port}/${port.proto} `, address(port), page(job, port))));
}

function address(port) {
  if (port.url) return el("code", {}, port.url);
  const host = port.external_port ? port.external_host : port.host;
  const number = port.external_port ?? port.host_port;
  return number ? el("code", {}, host.includes(":") ? `[${host}]:${number}` : `${host}:${number}`) : null;
}

// By its own host name alone, by a URL that is good once: at this very address a job's page would be among the agent's own.
function page(job, port) {
  if (port.proto !== "http" || job.phase !== "running") return null;
  return [" ", el("button", { type: "button", onclick: (event) => openPage(event.target, job.id, port.name) }, "Open its page")];
}

async function openPage(button, id, port) {
  try {
    const { url } = await ask(`/v1/jobs/${id}/open`, { method: "POST", body: { port } });
    if (/^https?:\/\//.test(url)) window.open(url, "_blank", "noopener,noreferrer");
  } catch (problem) {
    const told = problemBox(problem);
    told.setAttribute("data-own", "");
    button.after(told);
    button.remove();
  }
}

export function login(ssh) {
  if (!ssh) return null;
  if (!ssh.command || ssh.state === "ended") return oneLine(ssh.state);
  return [oneLine(ssh.state), " ", copied(ssh.command), el("br"), el("small", {}, said(oneLine(ssh.fingerprint)))];
}

function copied(text) {
  const copy = async (event) => {
    try {
      await navigator.clipboard.writeText(text);
      event.target.textContent = "Copied";
    } catch {
      // Without TLS browsers give no clipboard: then it is marked, to be copied by hand.
      getSelection().selectAllChildren(event.target.previousElementSibling);
    }
  };
  return el("span", {}, el("code", {}, said(oneLine(text))), el("button", { type: "button", onclick: copy }, "Copy"));
}
