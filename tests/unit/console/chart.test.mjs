// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

const { Colours, outline } = await import(new URL("chart.js", process.env.CONSOLE));

test("a layer's outline goes along its upper side and back along its lower one", () => {
  const same = (number) => number;
  assert.equal(outline([0, 1], [0, 0], [5, 6], same, same), "M0.0,5.0L1.0,6.0L1.0,0.0L0.0,0.0Z");
});

test("a reason keeps its colour while others come and go", () => {
  const colours = new Colours(3);
  colours.assign(["a", "b", "other"]);
  assert.deepEqual(["a", "b", "other"].map((reason) => colours.of(reason)), ["0", "1", "other"]);
  colours.assign(["b", "c"]);
  assert.deepEqual(["b", "c", "a"].map((reason) => colours.of(reason)), ["1", "0", "other"]);
  colours.assign(["c", "b", "d"]);
  assert.deepEqual(["b", "c", "d"].map((reason) => colours.of(reason)), ["1", "0", "2"]);
});
