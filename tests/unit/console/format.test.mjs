// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

const { ago, bits, clock, count, duration, end, isAddress, plural, round, short } = await import(
  new URL("format.js", process.env.CONSOLE)
);

test("numbers", () => {
  assert.deepEqual([0, 999, 1234567, null, undefined].map(count), ["0", "999", "1,234,567", "–", "–"]);
  const shown = {
    0: "0", 0.004: "0", 0.42: "0.42", 0.96: "1", 7.14: "7.1", 9.96: "10", 83.4: "83", 999.4: "999", 999.6: "1.00 k",
    1234: "1.23 k", 9996: "10.0 k", 45_678: "45.7 k", 99_960: "100 k", 999_400: "999 k", 999_700: "1.00 M", 3.2e9: "3.20 G", 7e15: "7000 T",
  };
  for (const [number, text] of Object.entries(shown)) assert.equal(short(Number(number)), text, number);
  assert.deepEqual([null, undefined, NaN].map(short), ["–", "–", "–"]);
  assert.deepEqual([0, 0.5, 40, 1000, 2500, 50_000, 100_000].map(round), ["0", "0.5", "40", "1 k", "2.5 k", "50 k", "100 k"]);
  assert.deepEqual([0, 10, 1250, null].map(bits), ["0 bit/s", "80 bit/s", "10.0 kbit/s", "–"]);
  assert.deepEqual([plural(1, "list"), plural(2, "list"), plural(0, "list")], ["1 list", "2 lists", "0 lists"]);
});

test("times", () => {
  const shown = { 0: "0 s", 59.4: "59 s", 60: "1 min", 75: "1 min 15 s", 754: "12 min", 3600: "1 h", 12_000: "3 h 20 min", 86_400: "1 d", 442_800: "5 d 3 h" };
  for (const [seconds, text] of Object.entries(shown)) assert.equal(duration(Number(seconds)), text, seconds);
  assert.deepEqual([duration(null), duration(-3)], ["–", "0 s"]);
  const now = Date.parse("2026-11-22T18:02:35Z");
  assert.equal(ago("2026-11-22T18:02:34Z", now), "now");
  assert.equal(ago("2026-11-22T18:01:35Z", now), "1 min ago");
  assert.equal(ago(null, now), "–");
  assert.equal(ago("nonsense", now), "–");
  assert.match(clock("2026-11-22T18:02:35.123456Z", now), /^\d\d:\d\d:35$/);
  assert.match(clock("2026-10-01T18:02:35Z", now), /^2026-10-0[12] \d\d:\d\d:35$/);
  assert.equal(clock(undefined), "–");
});

test("addresses and packets", () => {
  assert.equal(end("203.0.113.7", 53), "203.0.113.7:53");
  assert.equal(end("2001:db8::7", 53), "[2001:db8::7]:53");
  assert.equal(end("2001:db8::7", null), "2001:db8::7");
  assert.equal(end(null, 53), "");
  for (const text of ["203.0.113.7", " 203.0.113.0/24 ", "2001:db8::/48", "::ffff:203.0.113.7"]) assert.ok(isAddress(text), text);
  for (const text of ["tcp 203.0.113.7 -> 192.0.2.1:80", "", "wan0", "203.0.113.7:80 -> x"]) assert.ok(!isAddress(text), text);
});
