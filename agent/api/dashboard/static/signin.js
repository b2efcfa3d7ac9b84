// signin — the page of who has not signed in. The token is sent once, and kept nowhere.

import { signIn } from "./api.js";
import { el } from "./dom.js";
import { problemBox } from "./words.js";

export function signInPage(words, enter) {
  const told = el("div", {}, words ? el("p", { class: "note", role: "status" }, words) : null);
  const input = el("input", { id: "token", name: "token", type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const button = el("button", { type: "submit", class: "main" }, "Sign in");
  // Were the script gone, the form would post, and never put a token into an address.
  const form = el("form", { class: "signin", method: "post", action: "/v1/session" },
    el("h1", {}, "Sign in"), told,
    el("label", { for: "token" }, "Token"), input, button,
    el("p", { class: "hint" }, "On the host, ", el("code", {}, "gpu-agent token create NAME --scope jobs:read --scope jobs:write --expires 90d"),
      " makes one. What it may do, this page may do; ", el("code", {}, "jobs:all"), " shows everybody's jobs, ", el("code", {}, "gpus:admin"), " quarantines GPUs."));
  form.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const session = await signIn(input.value.trim());
      input.value = "";
      enter(session);
    } catch (problem) {
      told.replaceChildren(problemBox(problem));
      input.focus();
    } finally {
      button.disabled = false;
    }
  };
  return form;
}
