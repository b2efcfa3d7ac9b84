// dialog — a question before something is done that can't be taken back. Does nothing itself.

import { el } from "./dom.js";
import { problemBox } from "./words.js";

// `act(form)` does it, given the values of the fields; what it throws is shown, and the question stays.
export function confirm({ title, text, fields = [], action, act }) {
  const told = el("div", {});
  const button = el("button", { type: "submit", class: "danger" }, action);
  const form = el("form", { method: "dialog" },
    el("h2", { id: "asked" }, title), el("p", {}, text), fields, told,
    el("div", { class: "buttons" }, el("button", { type: "button", onclick: () => dialog.close() }, "Leave it"), button));
  const dialog = el("dialog", { "aria-labelledby": "asked" }, form);
  dialog.addEventListener("close", () => dialog.remove());
  form.onsubmit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await act(new FormData(form));
      dialog.close();
    } catch (problem) {
      told.replaceChildren(problemBox(problem));
    } finally {
      button.disabled = false;
    }
  };
  document.body.append(dialog);
  dialog.showModal();
}
