// format — sizes, spans, times and hostile text as people read them, in the units of the command line. Draws nothing.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
// Beside control characters: marks that turn the direction of what follows, and private ones that fonts draw anyhow.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;
const MOST = 4000;

// What would hide something or turn its neighbours round shows as an escape.
export function clean(text, most = MOST) {
  return cut(String(text), most).replace(HIDDEN, (sign) => (sign === "\n" || sign === "\t" ? sign : escape(sign)));
}

export function oneLine(text) {
  return clean(text).replaceAll("\n", "\\n").replaceAll("\t", " ");
}

export function fit(text, width) {
  return cut(oneLine(text), width);
}

function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

function escape(sign) {
  const code = sign.codePointAt(0);
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

export function size(count) {
  if (count === null || count === undefined) return "-";
  let amount = count;
  let unit = 0;
  while (amount >= 1023.95 && unit < UNITS.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  return unit === 0 ? `${count} B` : `${amount.toFixed(1)} ${UNITS[unit]}`;
}

export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m`;
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  if (hours < 10) return `${hours}h${String(minutes).padStart(2, "0")}m`;
  return hours < 48 ? `${hours}h` : `${Math.floor(hours / 24)}d`;
}

export function secondsOf(time) {
  return time ? Date.parse(time) / 1000 : null;
}

export function age(time) {
  const at = secondsOf(time);
  return at === null ? "-" : span(Date.now() / 1000 - at);
}

export function between(from, to) {
  const [start, end] = [secondsOf(from), secondsOf(to)];
  return start === null || end === null ? null : span(end - start);
}

export function time(stamp) {
  if (!stamp) return "-";
  const at = new Date(stamp);
  const two = (number) => String(number).padStart(2, "0");
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

export function number(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(6))) : "-";
}

export function unit(value, name) {
  return value === null || value === undefined ? "-" : `${Math.round(value)} ${name}`;
}

export function count(amount, one, many = `${one}s`) {
  return `${amount} ${amount === 1 ? one : many}`;
}
