// dom — elements out of values, and a page made to look like newly made ones without losing focus, selection or scroll. Text is only ever text.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "onsubmit", "onchange", "ontoggle"];
// What the user has done to an element stays as he has it.
const USERS = { DETAILS: "open", DIALOG: "open" };

export function el(name, props = {}, ...children) {
  return fill(document.createElement(name), props, children);
}

export function svg(name, props = {}, ...children) {
  return fill(document.createElementNS(SVG, name), props, children);
}

// Text of a job's: set apart, so that letters which run from right to left move nothing around it.
export function said(text, props = {}) {
  return el("bdi", props, text);
}

export function show(parent, children) {
  const fresh = document.createElement("div");
  fresh.append(...nodes(children));
  follow(parent, fresh);
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (HANDLERS.includes(name)) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...nodes(children));
  return node;
}

function nodes(children) {
  const given = [children].flat(Infinity);
  const real = given.filter((child) => child !== null && child !== undefined && child !== false && child !== "");
  return real.map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

function follow(old, fresh) {
  const byKey = new Map([...old.childNodes].filter(keyOf).map((node) => [keyOf(node), node]));
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const key = keyOf(wanted);
    const found = key ? byKey.get(key) : at;
    if (!found || !isAlike(found, wanted)) {
      old.insertBefore(wanted, at);
      continue;
    }
    if (found === at) at = at.nextSibling;
    else old.insertBefore(found, at);
    become(found, wanted);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

function isAlike(one, other) {
  return one.nodeName === other.nodeName && keyOf(one) === keyOf(other);
}

function become(old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  // What has a life of its own, as the log has, is put in once.
  if (old.hasAttribute("data-own")) return;
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && USERS[old.nodeName] !== name) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && USERS[old.nodeName] !== name) old.setAttribute(name, value);
  }
  for (const name of HANDLERS) old[name] = fresh[name];
  follow(old, fresh);
}
