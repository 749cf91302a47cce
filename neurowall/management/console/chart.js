// SPDX-License-Identifier: Apache-2.0
// Rates of the last minutes as stacked areas, in SVG. What it shows is in the table below it as well.

import { el } from "./dom.js";
import { clock, round, short } from "./format.js";
import { leading, peak, stacked, ticks, valueOf } from "./rates.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const MARGIN = { top: 10, right: 8, bottom: 20, left: 46 };
export const LAYERS = 6;

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function before(seconds) {
  return seconds < 60 ? `−${seconds} s` : `−${seconds / 60} min`;
}

/** The outline of a layer: along its upper side, and back along its lower one. */
export function outline(at, low, high, x, y) {
  const there = at.map((moment, index) => `${x(moment).toFixed(1)},${y(high[index]).toFixed(1)}`);
  const back = at.map((moment, index) => `${x(moment).toFixed(1)},${y(low[index]).toFixed(1)}`).reverse();
  return `M${there.join("L")}L${back.join("L")}Z`;
}

/** Gives each reason a colour of its own for as long as it can: the slots of reasons that left go round. */
export class Colours {
  constructor(count = LAYERS) {
    this.count = count;
    this.slots = new Map();
  }

  assign(reasons) {
    const wanted = reasons.filter((reason) => reason !== "other");
    for (const reason of [...this.slots.keys()]) if (!wanted.includes(reason)) this.slots.delete(reason);
    for (const reason of wanted) {
      if (this.slots.has(reason)) continue;
      const used = new Set(this.slots.values());
      this.slots.set(reason, [...Array(this.count).keys()].find((slot) => !used.has(slot)) ?? 0);
    }
  }

  of(reason) {
    return reason === "other" ? "other" : String(this.slots.get(reason) ?? "other");
  }
}

/** One verdict's chart. */
export class Chart {
  constructor(place, verdict, word) {
    this.place = place;
    this.verdict = verdict;
    this.word = word;
    this.colours = new Colours();
    this.drawn = svg("svg", { role: "img", height: HEIGHT });
    this.tip = el("div", { class: "tip", hidden: true });
    place.append(this.drawn, this.tip);
    place.addEventListener("pointermove", (event) => this.#point(event));
    place.addEventListener("pointerleave", () => this.#unpoint());
    new ResizeObserver(() => this.#redraw()).observe(place);
  }

  /** Draw the last `window` seconds before `now`; gives the reasons that have a layer. */
  draw(history, window, now) {
    this.shown = { samples: history.last(window, now), window, now };
    return this.#redraw();
  }

  #redraw() {
    if (!this.shown) return [];
    const { samples, window, now } = this.shown;
    const width = Math.max(this.place.clientWidth, 200);
    const marks = ticks(peak(samples, this.verdict));
    const most = marks.at(-1);
    const x = (at) => MARGIN.left + (1 - (now - at) / window) * (width - MARGIN.left - MARGIN.right);
    const y = (rate) => HEIGHT - MARGIN.bottom - (rate / most) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const reasons = leading(samples, this.verdict, LAYERS);
    this.colours.assign(reasons);
    this.scale = { x, width, reasons };
    this.drawn.setAttribute("width", width);
    this.drawn.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.drawn.setAttribute("aria-label", this.#words(samples));
    this.drawn.replaceChildren(...this.#grid(marks, x, y, width, window), ...this.#areas(samples, reasons, x, y));
    return reasons;
  }

  #grid(marks, x, y, width, window) {
    const lines = marks.flatMap((mark) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(mark), y2: y(mark) }),
      svg("text", { class: "axis", x: MARGIN.left - 6, y: y(mark) + 4, "text-anchor": "end" }, round(mark)),
    ]);
    const { now } = this.shown;
    const times = [
      [now - window, before(window), "start"],
      [now - window / 2, before(window / 2), "middle"],
      [now, "now", "end"],
    ];
    return lines.concat(
      times.map(([at, text, anchor]) => svg("text", { class: "axis", x: x(at), y: HEIGHT - 4, "text-anchor": anchor }, text)),
    );
  }

  #areas(samples, reasons, x, y) {
    const clip = `clip-${this.verdict}`;
    const area = svg("clipPath", { id: clip });
    const plot = { x: MARGIN.left, y: 0, width: this.scale.width - MARGIN.left - MARGIN.right, height: HEIGHT };
    area.append(svg("rect", plot));
    const group = svg("g", { "clip-path": `url(#${clip})` });
    for (const { at, layers } of stacked(samples, this.verdict, reasons)) {
      for (const { reason, low, high } of layers) {
        const shape = outline(at, low, high, x, y);
        group.append(svg("path", { class: `layer ${this.verdict} c-${this.colours.of(reason)}`, d: shape }));
      }
    }
    return [area, group];
  }

  #words(samples) {
    const now = samples.at(-1);
    const sum = now ? peak([now], this.verdict) : 0;
    return `${this.word}: ${short(sum)} packets per second now, at most ${short(peak(samples, this.verdict))} in this time`;
  }

  #point(event) {
    if (!this.shown?.samples.length) return;
    const { x, reasons } = this.scale;
    const left = event.clientX - this.place.getBoundingClientRect().left;
    const away = (sample) => Math.abs(x(sample.at) - left);
    const nearest = this.shown.samples.reduce((best, sample) => (away(sample) < away(best) ? sample : best));
    const when = Date.now() - (this.shown.now - nearest.at) * 1000;
    const lines = reasons
      .map((reason) => [reason, valueOf(nearest[this.verdict], reason, reasons)])
      .filter(([, rate]) => rate > 0)
      .map(([reason, rate]) => el("p", {}, swatch(this.verdict, this.colours.of(reason)), `${reason} ${short(rate)}/s`));
    const said = nearest.gap ? [el("p", {}, "not measured")] : lines.length ? lines : [el("p", {}, "nothing")];
    this.tip.replaceChildren(el("p", { class: "quiet" }, clock(new Date(when).toISOString())), ...said);
    this.tip.hidden = false;
    const beside = left > this.scale.width / 2 ? left - this.tip.offsetWidth - 12 : left + 12;
    this.tip.style.left = `${Math.max(0, beside)}px`;
  }

  #unpoint() {
    this.tip.hidden = true;
  }
}

/** The square beside a name. */
export function swatch(verdict, colour) {
  return el("span", { class: `swatch ${verdict} c-${colour}`, "aria-hidden": "true" });
}
