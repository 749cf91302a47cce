// SPDX-License-Identifier: Apache-2.0
// Numbers, times and words as people read them: pure functions, tested by node.

const STEPS = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];
const NONE = "–";

/** 1234567 -> "1,234,567". */
export function count(number) {
  return number === null || number === undefined ? NONE : Math.round(number).toLocaleString("en-US");
}

/** Three digits that matter: 0.42, 7.1, 83, 1.23 k, 45.6 M. */
export function short(number) {
  if (number === null || number === undefined || Number.isNaN(number)) return NONE;
  const size = Math.abs(number);
  if (size < 9.95) return String(Number(number.toFixed(size && size < 0.95 ? 2 : 1)));
  if (size < 999.5) return String(Math.round(number));
  const [step, letter] = STEPS.find(([each]) => size >= each * 0.9995);
  const scaled = number / step;
  return `${scaled.toFixed(Math.abs(scaled) < 9.995 ? 2 : Math.abs(scaled) < 99.95 ? 1 : 0)} ${letter}`;
}

/** A round number, such as one at an axis: 2.5 k, 40. */
export function round(number) {
  return short(number)
    .replace(/(\.\d*?)0+(?= )/, "$1")
    .replace(/\.(?= )/, "");
}

/** Bytes a second as bits a second. */
export function bits(bytes) {
  return bytes === null || bytes === undefined ? NONE : `${short(bytes * 8)}bit/s`.replace(/(\d)bit/, "$1 bit");
}

/** Seconds as "45 s", "12 min", "3 h 20 min", "5 d 3 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 10) return whole % 60 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${Math.floor(hours / 24)} d`;
}

/** A moment (ISO text) as time before `now` (ms). */
export function ago(moment, now) {
  const then = Date.parse(moment ?? "");
  if (Number.isNaN(then)) return NONE;
  const seconds = (now - then) / 1000;
  return seconds < 1.5 ? "now" : `${duration(seconds)} ago`;
}

/** A moment as local time: "14:03:07", with the date where it is not today's. */
export function clock(moment, now = Date.now()) {
  const then = new Date(moment ?? "");
  if (Number.isNaN(then.getTime())) return NONE;
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(then.getHours())}:${two(then.getMinutes())}:${two(then.getSeconds())}`;
  if (then.toDateString() === new Date(now).toDateString()) return time;
  return `${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())} ${time}`;
}

/** One end of a packet. */
export function end(address, port) {
  if (!address) return "";
  if (!port) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** An address or prefix, as opposed to a packet in words. */
export function isAddress(text) {
  return /^[0-9a-fA-F:.]+(\/\d{1,3})?$/.test(text.trim());
}

/** "1 list", "2 lists". */
export function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}
