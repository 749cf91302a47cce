// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

const { History, backoff, between, byVerdict, leading, peak, perSecond, stacked, ticks, valueOf } = await import(
  new URL("rates.js", process.env.CONSOLE)
);

/** An answer of /top. */
function top(seconds, packets, more = {}) {
  const verdicts = { default: "pass", "allow-list": "pass" };
  const rows = Object.entries(packets).map(([reason, number]) => ({
    reason,
    verdict: verdicts[reason] ?? "drop",
    packets: number,
    bytes: number * 100,
  }));
  return { seconds, packets: rows, lists: [], limits: [], ...more };
}

test("a rate is a difference over its time, and a counter that began anew has none", () => {
  assert.equal(perSecond(100, 350, 2.5), 100);
  assert.equal(perSecond(100, 100, 1), 0);
  assert.equal(perSecond(100, 99, 1), null);
  assert.equal(perSecond(100, 200, 0), null);
  assert.equal(perSecond(100, 200, -1), null);
  assert.equal(perSecond(100, 200, NaN), null);
});

test("two answers make rates by reason, list and limit", () => {
  const limit = (passed, dropped, would) => [
    { limit: "l", passed: { packets: passed }, dropped: { packets: dropped }, would_drop: { packets: would } },
  ];
  const before = top(10, { default: 5, spoofed: 10 }, {
    lists: [{ list: "abuse", packets: 3, bytes: 300 }],
    limits: limit(1, 2, 3),
  });
  const after = top(12, { default: 25, spoofed: 10, bogon: 8 }, {
    lists: [{ list: "abuse", packets: 13, bytes: 1300 }, { list: "new", packets: 4, bytes: 400 }],
    limits: limit(11, 4, 7),
  });
  const rates = between(before, after);
  assert.equal(rates.seconds, 2);
  assert.deepEqual(rates.packets.map((row) => [row.reason, row.rate.packets, row.rate.bytes]), [
    ["default", 10, 1000],
    ["spoofed", 0, 0],
    ["bogon", 4, 400],
  ]);
  assert.deepEqual(rates.lists.map((row) => row.rate.packets), [5, 2]);
  assert.deepEqual(rates.limits[0].rate, { passed: 5, over: 3 });
  assert.deepEqual(byVerdict(rates.packets), { drop: { packets: 4, bytes: 400 }, pass: { packets: 10, bytes: 1000 } });
});

test("answers that cannot be subtracted make no rate", () => {
  assert.equal(between(null, top(1, {})), null);
  assert.equal(between(top(5, { default: 1 }), top(5, { default: 2 })), null);
  assert.equal(between(top(5, { default: 1 }), top(4, { default: 2 })), null);
  assert.equal(between(top(5, { default: 9 }), top(6, { default: 2 })), null);
  // A list that was removed and made again is no reason to show nothing.
  const list = (packets) => ({ lists: [{ list: "a", packets, bytes: 0 }] });
  assert.equal(between(top(5, { default: 1 }, list(9)), top(6, { default: 2 }, list(1))).lists[0].rate.packets, null);
});

function filled(...rows) {
  const history = new History(100);
  rows.forEach((rates, index) => history.add(index, rates && between(top(0, {}), top(1, rates))));
  return history;
}

test("the history is bounded, and a long silence or a new clock makes a hole", () => {
  const history = filled({ default: 1 }, null, { default: 3, spoofed: 2 });
  assert.deepEqual(history.samples.map((sample) => sample.gap), [false, true, false]);
  assert.deepEqual(history.samples[2].pass, { default: 3 });
  assert.deepEqual(history.samples[2].drop, { spoofed: 2 });
  history.add(50, { ...between(top(0, {}), top(1, {})), seconds: 48 });
  assert.equal(history.samples.at(-1).gap, true);
  history.add(101.5, null);
  assert.deepEqual(history.samples.map((sample) => sample.at), [2, 50, 101.5]);
  history.add(3, null); // the gateway was started anew
  assert.deepEqual(history.samples.map((sample) => sample.at), [3]);
  for (let at = 4; at < 2000; at += 1) history.add(at, null);
  assert.equal(history.samples.length, 101);
});

test("the last seconds come with one sample more, for the line from the edge", () => {
  const history = filled({}, {}, {}, {}, {});
  assert.deepEqual(history.last(2, 4).map((sample) => sample.at), [1, 2, 3, 4]);
  assert.deepEqual(history.last(100, 4).length, 5);
  assert.deepEqual(history.last(2, 40), []);
  assert.deepEqual(new History().last(2, 4), []);
});

test("layers lie on each other, the rest in one, and holes stay holes", () => {
  const many = { a: 50, b: 40, c: 30, d: 20, e: 10 };
  const history = filled(many, many, null, { a: 1, e: 2 });
  const reasons = leading(history.samples, "drop", 3);
  assert.deepEqual(reasons, ["a", "b", "other"]);
  assert.equal(valueOf(many, "other", reasons), 60);
  const [first, second] = stacked(history.samples, "drop", reasons);
  assert.deepEqual(first.at, [0, 1]);
  assert.deepEqual(first.layers.map((layer) => [layer.low[0], layer.high[0]]), [[0, 50], [50, 90], [90, 150]]);
  assert.deepEqual(second.at, [3]);
  assert.deepEqual(second.layers.map((layer) => layer.high[0]), [1, 1, 3]);
  assert.equal(peak(history.samples, "drop"), 150);
  assert.equal(peak([], "drop"), 0);
  assert.deepEqual(leading(history.samples, "pass", 3), []);
  assert.deepEqual(leading(history.samples, "drop", 5), ["a", "b", "c", "d", "e"]);
});

test("marks at an axis are round and reach the highest value", () => {
  assert.deepEqual(ticks(0), [0, 0.25, 0.5, 0.75, 1]);
  assert.deepEqual(ticks(4), [0, 1, 2, 3, 4]);
  assert.deepEqual(ticks(970), [0, 250, 500, 750, 1000]);
  assert.deepEqual(ticks(1001), [0, 500, 1000, 1500]);
  for (let most = 1; most < 1e9; most *= 1.37) {
    const marks = ticks(most);
    assert.ok(marks.at(-1) >= most * (1 - 1e-9) && marks.at(-2) < most && marks.length <= 6, `${most}: ${marks}`);
  }
});

test("attempts come later and later, within bounds, and not all at once", () => {
  assert.deepEqual([0, 1, 2, 3].map((attempt) => backoff(attempt, () => 0.5)), [500, 1000, 2000, 4000]);
  assert.equal(backoff(100, () => 0.5), 10_000);
  assert.deepEqual([0, 0.999].map((random) => backoff(100, () => random)), [7500, 12_495]);
});
