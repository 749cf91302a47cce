// SPDX-License-Identifier: Apache-2.0
// From answers of GET /top to rates: pure functions, tested by node.

const PLAUSIBLE_GAP = 10; // seconds between two answers; more is a hole in the picture, not a rate

/** Per second between two totals; null if the counter began anew. */
export function perSecond(before, after, seconds) {
  if (!(seconds > 0) || after < before) return null;
  return (after - before) / seconds;
}

function byName(rows, name) {
  return new Map((rows ?? []).map((row) => [row[name], row]));
}

function pairRates(beforeRows, afterRows, name, seconds, fields) {
  const earlier = byName(beforeRows, name);
  return (afterRows ?? []).map((row) => {
    const old = earlier.get(row[name]);
    const rate = {};
    for (const [field, read] of Object.entries(fields)) {
      // What appeared meanwhile began at nothing.
      rate[field] = perSecond(old ? read(old) : 0, read(row), seconds);
    }
    return { ...row, rate };
  });
}

/** Rates between two answers of /top; null if there is no use in subtracting them. */
export function between(before, after) {
  if (!before || !after) return null;
  const seconds = after.seconds - before.seconds;
  if (!(seconds > 0)) return null;
  const counted = { packets: (row) => row.packets, bytes: (row) => row.bytes };
  const packets = pairRates(before.packets, after.packets, "reason", seconds, counted);
  if (packets.some((row) => row.rate.packets === null)) return null;
  return {
    seconds,
    packets,
    lists: pairRates(before.lists, after.lists, "list", seconds, counted),
    limits: pairRates(before.limits, after.limits, "limit", seconds, {
      passed: (row) => row.passed.packets,
      over: (row) => row.dropped.packets + row.would_drop.packets,
    }),
  };
}

/** The sums over reasons by verdict: {drop: {packets, bytes}, pass: ...}, per second. */
export function byVerdict(packets) {
  const sums = { drop: { packets: 0, bytes: 0 }, pass: { packets: 0, bytes: 0 } };
  for (const row of packets) {
    sums[row.verdict].packets += row.rate.packets;
    sums[row.verdict].bytes += row.rate.bytes;
  }
  return sums;
}

/** What was measured lately: bounded, oldest first. A sample: {at, gap, drop: {reason: rate}, pass: ...}. */
export class History {
  constructor(keep = 900) {
    this.keep = keep; // seconds
    this.samples = [];
  }

  /** Take a rate of the moment `at` (seconds); one over a long time, or none, makes a gap. */
  add(at, rates) {
    // The gateway itself began anew, and its clock with it.
    if (this.samples.length && at < this.samples.at(-1).at) this.samples = [];
    const gap = !rates || rates.seconds > PLAUSIBLE_GAP;
    const sample = { at, gap, drop: {}, pass: {} };
    for (const row of gap ? [] : rates.packets) {
      if (row.rate.packets > 0) sample[row.verdict][row.reason] = row.rate.packets;
    }
    this.samples.push(sample);
    while (this.samples.length && this.samples[0].at < at - this.keep) this.samples.shift();
  }

  /** Those of the last `seconds`, and one before, so that a line comes from the edge. */
  last(seconds, now) {
    const first = this.samples.findIndex((sample) => sample.at >= now - seconds);
    return first < 0 ? [] : this.samples.slice(Math.max(0, first - 1));
  }
}

/** The reasons that mattered in the samples of one verdict, the largest first; the rest is "other". */
export function leading(samples, verdict, most) {
  const sums = new Map();
  for (const sample of samples) {
    for (const [reason, rate] of Object.entries(sample[verdict])) sums.set(reason, (sums.get(reason) ?? 0) + rate);
  }
  const order = [...sums].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([reason]) => reason);
  return order.length > most ? [...order.slice(0, most - 1), "other"] : order;
}

/** Runs of samples without gaps, as stacked layers: [{at: [...], layers: [{reason, low: [...], high: [...]}]}]. */
export function stacked(samples, verdict, reasons) {
  const runs = [];
  let run = [];
  for (const sample of samples) {
    if (!sample.gap) run.push(sample);
    if (sample.gap && run.length) {
      runs.push(run);
      run = [];
    }
  }
  if (run.length) runs.push(run);
  return runs.map((each) => stack(each, verdict, reasons));
}

function stack(run, verdict, reasons) {
  let low = run.map(() => 0);
  const layers = reasons.map((reason) => {
    const high = run.map((sample, index) => low[index] + valueOf(sample[verdict], reason, reasons));
    const layer = { reason, low, high };
    low = high;
    return layer;
  });
  return { at: run.map((sample) => sample.at), layers };
}

/** The rate of one layer; "other" is the sum of what has no layer of its own. */
export function valueOf(rates, reason, reasons) {
  if (reason !== "other") return rates[reason] ?? 0;
  return Object.entries(rates).reduce((sum, [name, rate]) => (reasons.includes(name) ? sum : sum + rate), 0);
}

/** The largest sum over the reasons of one verdict. */
export function peak(samples, verdict) {
  const sums = samples.map((sample) => Object.values(sample[verdict]).reduce((sum, rate) => sum + rate, 0));
  return sums.reduce((most, sum) => Math.max(most, sum), 0);
}

/** Round steps from 0 to at least `most`: about `count` of them. */
export function ticks(most, count = 4) {
  const least = Math.max(most, 1);
  const rough = least / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough * (1 - 1e-9));
  const found = [];
  for (let number = 0; number * step < least + step * (1 - 1e-9); number += 1) found.push(number * step);
  return found;
}

/** The wait before the next attempt, in ms: doubling, bounded, spread so that not all come at once. */
export function backoff(attempt, random = Math.random) {
  const base = Math.min(10_000, 500 * 2 ** Math.min(attempt, 10));
  return Math.round(base * (0.75 + random() / 2));
}
