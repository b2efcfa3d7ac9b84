// api — the agent's own API, asked as anybody asks it. The session's cookie is the browser's to send; its key is put beside it here.

// Kept for this address and port alone, which a cookie is not. Without the cookie it opens nothing; the token itself is kept nowhere.
const KEPT = "gpu-agent.session-key";
const AWAY = {
  title: "No answer", detail: "the agent does not answer", code: "agent_away", blame: "host",
  remedy: "Look on the host whether it runs: systemctl status gpu-agent. This page asks again by itself.",
};

// What the API refuses, as it says it (RFC 9457).
export class Problem extends Error {
  constructor(told, status) {
    super(told.detail || told.title);
    this.told = told;
    this.status = status;
  }
}

export const signedOut = new EventTarget();

export async function signIn(token) {
  const session = await ask("/v1/session", { method: "POST", body: { token } });
  localStorage.setItem(KEPT, session.key);
  return session;
}

// Throws where the session lives on: its key is kept then, to try again.
export async function signOut() {
  try {
    await ask("/v1/session", { method: "DELETE" });
  } catch (problem) {
    if (problem.status !== 401) throw problem;
  }
  localStorage.removeItem(KEPT);
}

// Another window of this browser has signed in or out: what this one shows may be somebody else's.
export function onOtherWindow(act) {
  addEventListener("storage", (event) => { if (event.key === KEPT || event.key === null) act(); });
}

// The caller, or null: nobody has signed in.
export async function whoAmI() {
  if (localStorage.getItem(KEPT) === null) return null;
  try {
    return await ask("/v1/session");
  } catch (problem) {
    if (problem.status === 401 || problem.status === 403) return null;
    throw problem;
  }
}

export async function ask(path, options = {}) {
  const answer = await open(path, options);
  return answer.status === 204 ? null : answer.json();
}

// The answer itself, of which the body may go on for hours. Throws a Problem, or what an aborted request throws.
export async function open(path, { method = "GET", body, signal, headers = {} } = {}) {
  const key = localStorage.getItem(KEPT);
  const sent = { ...headers, ...(key === null ? {} : { "X-Session-Key": key }) };
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method, signal, headers: sent, credentials: "same-origin", cache: "no-store", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(AWAY, 0);
  }
  if (answer.ok) return answer;
  const problem = new Problem(await toldOf(answer), answer.status);
  // An answer that is late may be of an earlier session.
  if (answer.status === 401 && path !== "/v1/session" && localStorage.getItem(KEPT) === key) {
    localStorage.removeItem(KEPT);
    signedOut.dispatchEvent(new Event("ended"));
  }
  throw problem;
}

async function toldOf(answer) {
  try {
    return await answer.json();
  } catch {
    return { title: "No answer of the agent's", detail: `HTTP ${answer.status} without a word`, code: `http_${answer.status}`, blame: "host",
      remedy: "See what stands between this browser and the agent." };
  }
}

// Pieces of text as they come; where nothing comes for so long, the connection is taken for dead.
export async function* texts(answer, silentSeconds) {
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  let timer;
  try {
    for (;;) {
      const late = new Promise((_, refuse) => {
        timer = silentSeconds && setTimeout(() => refuse(new Problem(AWAY, 0)), silentSeconds * 1000);
      });
      const piece = await Promise.race([reader.read(), late]);
      clearTimeout(timer);
      if (piece.done) return;
      yield decoder.decode(piece.value, { stream: true });
    }
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => null); // it is gone already, and that is all that is wanted
  }
}

export function sleep(seconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, seconds * 1000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}
