// app — the frame: who has signed in, which screen the address names, and when it looks again. What a screen shows is its own module's.

import { onOtherWindow, signedOut, signOut, whoAmI } from "./api.js";
import { el, show } from "./dom.js";
import * as gpus from "./gpus.js";
import * as health from "./health.js";
import * as job from "./job.js";
import * as jobs from "./jobs.js";
import { Live } from "./live.js";
import * as overview from "./overview.js";
import { Screen } from "./screen.js";
import { signInPage } from "./signin.js";
import { problemBox } from "./words.js";

const ROUTES = [[/^#\/jobs\/([0-9a-f-]{36})$/, job], [/^#\/jobs(?:\?phase=([a-z]+))?$/, jobs], [/^#\/gpus$/, gpus], [/^#\/health$/, health], [/^(?:#\/?)?$/, overview]];
const STATES = { live: "live", polling: "looks each 5 s", away: "the agent is away" };
const main = document.getElementById("main");
const by = (id) => document.getElementById(id);
const live = new Live((event) => screen?.hear(event), (state) => { by("live").textContent = STATES[state]; });
let session = null;
let screen = null;

function go() {
  screen?.leave();
  const found = ROUTES.find(([pattern]) => pattern.test(location.hash));
  for (const link of by("nav").children) {
    const isHere = link.hash === "#/" ? found?.[1] === overview : location.hash.startsWith(link.hash);
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!found) {
    screen = null;
    show(main, [el("h1", {}, "There is no such page"), el("p", {}, el("a", { href: "#/" }, "Go to the overview"))]);
    return;
  }
  screen = new Screen(main, found[1], location.hash.match(found[0])[1] ?? null, session);
  screen.start();
}

function enter(given) {
  session = given;
  by("nav").hidden = by("who").hidden = false;
  by("name").textContent = session.principal;
  main.replaceChildren();
  go();
  main.focus({ preventScroll: true });
  if (!document.hidden) live.start();
}

function leave(words) {
  live.stop();
  screen?.leave();
  screen = session = null;
  by("nav").hidden = by("who").hidden = true;
  document.title = "Sign in · gpu-agent";
  document.querySelector("dialog")?.remove();
  main.replaceChildren(signInPage(words, enter));
  by("token").focus();
}

async function begin() {
  try {
    const found = await whoAmI();
    if (found) enter(found);
    else leave("");
  } catch (problem) {
    main.replaceChildren(problemBox(problem));
    setTimeout(begin, 5000);
  }
}

by("skip").onclick = () => main.focus();
by("leave").onclick = async () => {
  by("leave").disabled = true;
  // First: what is on its way would come back refused.
  live.stop();
  screen?.leave();
  const before = session;
  screen = session = null;
  try {
    await signOut();
    leave("You are signed out.");
  } catch (problem) {
    session = before;
    show(main, [el("h1", {}, "You are still signed in"), problemBox(problem), el("p", {}, "Sign out again, or ", el("a", { href: "" }, "go on"), ".")]);
  } finally {
    by("leave").disabled = false;
  }
};
addEventListener("hashchange", () => {
  if (!session) return;
  go();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
signedOut.addEventListener("ended", () => { if (session) leave("The session has ended: its token was revoked or has expired, it was open for 12 hours, or the agent was restarted."); });
document.addEventListener("visibilitychange", () => {
  if (!session) return;
  if (document.hidden) live.stop();
  else live.start();
  screen?.see(!document.hidden);
});
onOtherWindow(() => location.reload());
begin();
