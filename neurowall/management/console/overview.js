// SPDX-License-Identifier: Apache-2.0
// The first view: how much passes and is dropped and why, who is behind it, and whether all is well.

import { Chart, LAYERS, swatch } from "./chart.js";
import { Table, actions, barColumn, byId, chipColumn, el, say } from "./dom.js";
import { ago, bits, count, duration, plural, short } from "./format.js";
import { byVerdict, leading } from "./rates.js";

const BUSIEST_LISTS = 12;
const TILES = ["Dropped", "Passed", "List entries", "Timed entries", "Banned by limits", "Flows known", "Generation"];

/** Everything on the page "Overview". `go`: {explain(address), block(address)}. */
export class Overview {
  constructor(live, go) {
    this.live = live;
    this.tiles = new Tiles(byId("tiles"));
    this.charts = [new Verdict("drop", "Dropped"), new Verdict("pass", "Passed")];
    this.sources = sourceTable(go);
    this.lists = listTable();
    this.limits = limitTable();
    this.interfaces = interfaceTable();
    live.addEventListener("top", ({ detail }) => this.#top(detail));
    live.addEventListener("status", ({ detail }) => this.#status(detail));
    byId("window").addEventListener("change", () => this.last && this.#draw(this.last));
  }

  /** What was shown belongs to whoever was signed in. */
  clear() {
    this.last = null;
    for (const each of [this.sources, this.lists, this.limits, this.interfaces]) each.clear();
    this.tiles.clear();
    byId("notes").replaceChildren();
  }

  #top(detail) {
    this.last = detail;
    const { answer, rates } = detail;
    const most = Math.max(1e-9, ...answer.sources.map((each) => each.events));
    this.sources.fill(answer.sources.map((each) => ({ ...each, share: each.events / most, now: Date.parse(answer.at) })));
    if (!rates) return;
    const sums = byVerdict(rates.packets);
    this.tiles.set("Dropped", `${short(sums.drop.packets)}/s`, bits(sums.drop.bytes));
    this.tiles.set("Banned by limits", count(answer.banned), plural(answer.limits.length, "limit"));
    this.tiles.set("Passed", `${short(sums.pass.packets)}/s`, bits(sums.pass.bytes));
    this.#lists(rates.lists);
    this.limits.fill(rates.limits.map((each) => ({ ...each, facts: this.facts?.get(each.limit) })));
    this.#draw(detail);
  }

  #draw(detail) {
    const window = Number(byId("window").value);
    for (const each of this.charts) each.show(detail, window);
  }

  #lists(rows) {
    const rate = (row) => row.rate.packets ?? 0;
    const most = Math.max(1e-9, ...rows.map(rate));
    const order = [...rows].sort((a, b) => rate(b) - rate(a) || b.packets - a.packets || (a.list < b.list ? -1 : 1));
    this.lists.fill(
      order.slice(0, BUSIEST_LISTS).map((row) => ({ ...row, share: rate(row) / most, entries: this.entries?.get(row.list) })),
    );
  }

  #status(status) {
    const entries = status.lists.map((each) => [each.name, each.entries["4"] + each.entries["6"]]);
    this.entries = new Map(entries);
    const total = entries.reduce((sum, [, number]) => sum + number, 0);
    this.tiles.set("List entries", count(total), plural(status.lists.length, "list"));
    const timed = status.timed.block + status.timed.allow;
    const next = status.timed.next?.remaining_seconds;
    this.tiles.set("Timed entries", count(timed), next === undefined || next === null ? "" : `next in ${duration(next)}`);
    const { known, capacity, guard_active: guarded } = status.flows;
    this.tiles.set("Flows known", capacity ? count(known) : "off", guarded ? "too many new ones" : capacity ? `of ${short(capacity)}` : "");
    this.tiles.set("Generation", count(status.generation), `up ${duration(status.uptime_seconds)}`);
    this.interfaces.fill(status.interfaces);
    this.#health(status);
  }

  #health(status) {
    const lines = [
      ...status.problems.map((text) => ["problem", "Problem", text]),
      ...status.warnings.map((text) => ["warning", "Warning", text]),
    ];
    if (!lines.length) lines.push(["good", "OK", "Every interface is guarded as the policy says."]);
    const shown = lines.map(([kind, word, text]) => `${kind}${word}${text}`).join("\n");
    if (shown === this.shown) return; // or a screen reader would say it again
    this.shown = shown;
    byId("notes").replaceChildren(
      ...lines.map(([kind, word, text]) => el("li", { class: kind }, el("strong", {}, word), el("span", {}, text))),
    );
  }
}

/** The figures at the top. */
class Tiles {
  constructor(place) {
    this.place = place;
    this.held = new Map();
    this.clear();
  }

  set(name, value, beside) {
    const [first, second] = this.held.get(name);
    say(first, value);
    say(second, beside);
  }

  clear() {
    const made = TILES.map((name) => {
      const parts = [el("span", { class: "value" }, "–"), el("span", { class: "beside" })];
      this.held.set(name, parts);
      return el("li", { class: `tile ${name.toLowerCase()}` }, el("span", { class: "name" }, name), ...parts);
    });
    this.place.replaceChildren(...made);
  }
}

/** The chart of a verdict, and the table that says the same. */
class Verdict {
  constructor(verdict, word) {
    this.verdict = verdict;
    this.chart = new Chart(byId(`chart-${verdict}`), verdict, `${word}, by reason`);
    const reason = {
      label: "Reason",
      head: true,
      make: (cell) => cell.append(el("span", { "aria-hidden": "true" }), el("span")),
      update: (cell, item) => {
        const wanted = swatch(verdict, item.colour);
        if (cell.firstElementChild.className !== wanted.className) cell.firstElementChild.replaceWith(wanted);
        say(cell.lastElementChild, item.reason);
      },
    };
    this.table = new Table(
      byId(`legend-${verdict}`),
      `${word} packets by reason`,
      [
        reason,
        { label: "Now", end: true, text: (item) => `${short(item.rate.packets)}/s` },
        { label: "Volume", end: true, class: "spare", text: (item) => bits(item.rate.bytes) },
        { label: "In all", end: true, text: (item) => count(item.packets) },
      ],
      (item) => item.reason,
      "Nothing was counted yet.",
      { compact: true },
    );
  }

  show({ answer, rates, history }, window) {
    this.chart.draw(history, window, answer.seconds);
    const lately = leading(history.last(window, answer.seconds), this.verdict, LAYERS);
    const colour = (reason) => this.chart.colours.of(lately.includes(reason) ? reason : "other");
    const rows = rates.packets.filter((row) => row.verdict === this.verdict && row.packets > 0);
    rows.sort((a, b) => b.packets - a.packets);
    this.table.fill(rows.map((row) => ({ ...row, colour: colour(row.reason) })));
  }
}

function sourceTable(go) {
  return new Table(
    byId("sources"),
    "Top dropped sources",
    [
      { label: "Source", head: true, class: "address", text: (item) => item.address },
      { label: "Why", text: (item) => (item.list ? `${item.reason}, ${item.list}` : item.reason) },
      { label: "Last", end: true, text: (item) => ago(item.last, item.now) },
      barColumn("Events", (item) => short(item.events), (item) => item.share),
      actions([
        { label: "Explain", title: (item) => `Explain ${item.address}`, act: (item) => go.explain(item.address) },
        {
          label: "Block…",
          title: (item) => `Block ${item.address}`,
          act: (item) => go.block(item.address),
          scope: "rules:write",
          show: (item) => !["block-list", "banned"].includes(item.reason),
        },
      ]),
    ],
    (item) => item.address,
    "No source was dropped lately.",
  );
}

function listTable() {
  return new Table(
    byId("lists"),
    "Lists",
    [
      { label: "List", head: true, class: "name", text: (item) => item.list },
      chipColumn(
        "Verdict",
        (item) => (item.monitor ? `${item.verdict}, monitor` : item.verdict),
        (item) => (item.monitor ? "neutral" : item.verdict === "block" ? "drop" : "pass"),
      ),
      { label: "Entries", end: true, text: (item) => count(item.entries) },
      { label: "In all", end: true, text: (item) => count(item.monitor ? item.matched_packets : item.packets) },
      barColumn(
        "Now",
        (item) => `${short(item.rate.packets)}/s`,
        (item) => item.share,
        (item) => (item.verdict === "block" ? "drop" : "pass"),
      ),
    ],
    (item) => item.list,
    "There are no lists.",
  );
}

function limitTable() {
  return new Table(
    byId("limits"),
    "Limits",
    [
      { label: "Limit", head: true, class: "name", text: (item) => item.limit },
      chipColumn("Action", (item) => item.action, (item) => (item.action === "monitor" ? "neutral" : "drop")),
      { label: "Passed", end: true, text: (item) => `${short(item.rate.passed)}/s` },
      { label: "Over", end: true, text: (item) => `${short(item.rate.over)}/s` },
      { label: "Over in all", end: true, text: (item) => count(item.dropped.packets + item.would_drop.packets) },
      { label: "Bans", end: true, text: (item) => (item.action === "ban" ? count(item.bans) : "") },
    ],
    (item) => item.limit,
    "The policy has no limits.",
  );
}

function interfaceTable() {
  return new Table(
    byId("interfaces"),
    "Interfaces",
    [
      { label: "Interface", head: true, class: "name", text: (item) => item.name },
      { label: "Zone", text: (item) => item.zone ?? "" },
      { label: "XDP mode", text: (item) => item.mode },
      chipColumn(
        "State",
        (item) => (item.problem ? "not guarded" : "guarded"),
        (item) => (item.problem ? "drop" : "pass"),
      ),
      { label: "Why", class: "wide", text: (item) => item.problem ?? item.why },
    ],
    (item) => item.name,
    "The policy has no interfaces.",
  );
}
