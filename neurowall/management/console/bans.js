// SPDX-License-Identifier: Apache-2.0
// Who is blocked, allowed or banned by a limit; and changing that.

import { explainError } from "./api.js";
import { allow as allowDoing, ask, refuseInDialog } from "./dialogs.js";
import { Table, actions, byId, chipColumn, el, refuse, tell } from "./dom.js";
import { clock, duration, isAddress } from "./format.js";

const PAGE = 100;
const PAST = 20;
const EVERY = 5000; // ms
const TTLS = [
  ["15m", "15 minutes"],
  ["1h", "1 hour"],
  ["1d", "1 day"],
  ["7d", "7 days"],
  ["", "until it is taken back"],
];
const KINDS = { block: "blocked", allow: "allowed", limit: "banned by limit" };

/** The page "Bans". */
export class Bans {
  constructor(session, live) {
    this.session = session;
    this.live = live;
    this.table = banTable((item) => this.takeBack(item));
    this.pages = 1;
    this.past = historyTable();
    live.addEventListener("generation", () => this.#changed());
    for (const id of ["ban-kind", "ban-filter"]) byId(id).addEventListener("input", () => this.#again());
    byId("bans-more").addEventListener("click", () => {
      this.pages += 1;
      this.#refresh();
    });
    byId("history-more").addEventListener("click", () => this.#history(this.older));
    byId("ban-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.add(event.submitter?.value ?? "block", byId("ban-address").value.trim());
    });
  }

  open() {
    this.timer = setInterval(() => document.hidden || this.#refresh(), EVERY);
    this.#again();
    this.#history();
  }

  close() {
    clearInterval(this.timer);
    this.timer = null;
  }

  clear() {
    this.close();
    this.table.clear();
    this.past.clear();
  }

  /** Ask whether and how long to block or allow an address. */
  add(verb, address) {
    const ttl = el("select", { id: "dialog-ttl" }, ...TTLS.map(([value, text]) => el("option", { value }, text)));
    ttl.value = verb === "block" ? "1d" : "1h";
    const reason = el("input", { id: "dialog-reason", maxlength: 200 });
    const effect = el("div", { class: "effect", "aria-live": "polite" });
    const body = () => ({ addresses: [address], ...(ttl.value && { ttl: ttl.value }), ...(reason.value && { reason: reason.value }) });
    ask({
      title: `${verb === "block" ? "Block" : "Allow"} ${address}`,
      body: [labelled("How long", ttl), labelled("Reason, for the record", reason), effect],
      label: verb === "block" ? "Block" : "Allow",
      danger: verb === "block",
      act: (key) => this.#do(verb, body(), key, `${address} is ${KINDS[verb]}`),
    });
    const look = () => this.#preview(verb, body(), effect);
    ttl.addEventListener("change", look);
    look();
  }

  /** Ask whether to take a ban or an exception back. */
  takeBack(item) {
    const verb = item.kind === "allow" ? "unallow" : "unblock";
    const effect = el("div", { class: "effect", "aria-live": "polite" });
    const body = { addresses: [item.entry] };
    const because = item.reason ? el("p", {}, "It was for: ", el("q", {}, item.reason)) : null;
    ask({
      title: `${verb === "unblock" ? "Unblock" : "Take back the exception for"} ${item.entry}`,
      body: [...(because ? [because] : []), effect],
      label: verb === "unblock" ? "Unblock" : "Take back",
      act: (key) => this.#do(verb, body, key, `${item.entry} is not ${KINDS[item.kind]} any more`),
    });
    this.#preview(verb, body, effect);
  }

  async #preview(verb, body, effect) {
    allowDoing(false);
    refuseInDialog("");
    effect.replaceChildren(el("p", { class: "hint" }, "Looking what that would do…"));
    try {
      const would = await this.session.client.post(`/${verb}?dry_run=true`, body);
      effect.replaceChildren(...effectOf(would));
      allowDoing(true);
    } catch (error) {
      effect.replaceChildren();
      refuseInDialog(explainError(error));
    }
  }

  async #do(verb, body, key, done) {
    const made = await this.session.client.post(`/${verb}`, body, { key });
    tell([`${done}.`, ...(made.notes ?? [])].join(" "));
    byId("ban-address").value = "";
    this.live.hurry();
    await this.#changed();
  }

  async #changed() {
    await this.#refresh();
    await this.#history();
  }

  /** What was in force: the newest, or what is older than what is shown. */
  async #history(after = null) {
    if (!this.timer || !this.session.client) return;
    try {
      const query = new URLSearchParams({ limit: PAST, ...(after && { after }) });
      const { bans, next } = await this.session.client.get(`/bans/history?${query}`);
      this.rows = after ? [...this.rows, ...bans] : bans;
      this.older = next;
      this.past.fill(this.rows);
      byId("history-more").hidden = !next;
      refuse(byId("history-refusal"), "");
    } catch (error) {
      if (error.status) refuse(byId("history-refusal"), explainError(error));
    }
  }

  #again() {
    this.pages = 1;
    this.#refresh();
  }

  async #refresh() {
    if (!this.timer || !this.session.client) return;
    try {
      const { bans, next, history } = await this.#pages();
      this.table.fill(bans);
      byId("bans-more").hidden = !next;
      byId("bans-history").hidden = history !== "unavailable";
      refuse(byId("bans-refusal"), "");
    } catch (error) {
      if (error.status) refuse(byId("bans-refusal"), explainError(error)); // else the banner says so already
    }
  }

  async #pages() {
    const query = new URLSearchParams({ limit: PAGE });
    const filter = byId("ban-filter").value.trim();
    if (byId("ban-kind").value) query.set("kind", byId("ban-kind").value);
    if (filter && isAddress(filter)) query.set("address", filter);
    let answer = await this.session.client.get(`/bans?${query}`);
    const bans = [...answer.bans];
    for (let page = 1; page < this.pages && answer.next; page += 1) {
      query.set("after", answer.next);
      answer = await this.session.client.get(`/bans?${query}`);
      bans.push(...answer.bans);
    }
    return { bans, next: answer.next, history: answer.history };
  }
}

function labelled(text, field) {
  return el("div", { class: "field" }, el("label", { for: field.id }, text), field);
}

function effectOf(would) {
  const rows = (would.addresses ?? []).map((each) => `${each.address}: ${each.outcome}`);
  const notes = would.notes ?? [];
  return [
    el("p", { class: "hint" }, "It would do this:"),
    el("ul", { class: "plain-list" }, ...[...rows, ...notes].map((text) => el("li", {}, text))),
  ];
}

function banTable(takeBack) {
  const kinds = { block: "drop", allow: "pass", limit: "drop" };
  return new Table(
    byId("bans"),
    "Bans in force",
    [
      { label: "Entry", head: true, class: "address", text: (item) => item.entry },
      chipColumn("Kind", (item) => KINDS[item.kind] ?? item.kind, (item) => kinds[item.kind] ?? "neutral"),
      { label: "By", class: "name", text: (item) => item.limit || item.by || item.list || "" },
      { label: "Ends in", end: true, text: (item) => (item.seconds_left === null ? "no end" : duration(item.seconds_left)) },
      { label: "Since", end: true, text: (item) => clock(item.since) },
      { label: "Reason", class: "wide", text: (item) => item.reason ?? "" },
      actions([
        {
          label: "Unblock…",
          title: (item) => `Unblock ${item.entry}`,
          act: takeBack,
          scope: "rules:write",
          show: (item) => item.kind !== "allow",
        },
        {
          label: "Take back…",
          title: (item) => `Take back the exception for ${item.entry}`,
          act: takeBack,
          scope: "rules:write",
          show: (item) => item.kind === "allow",
        },
      ]),
    ],
    (item) => `${item.kind} ${item.list ?? item.limit} ${item.entry}`,
    "Nobody is banned, and nobody is let through by the operator.",
  );
}

function historyTable() {
  return new Table(
    byId("history"),
    "History of bans",
    [
      { label: "Entry", head: true, class: "address", text: (item) => item.entry },
      chipColumn("Kind", (item) => KINDS[item.kind] ?? item.kind, () => "neutral"),
      { label: "By", class: "name", text: (item) => item.limit || item.by || "" },
      { label: "Since", end: true, text: (item) => clock(item.since) },
      { label: "Ended", end: true, text: (item) => (item.ended ? clock(item.ended) : "in force") },
      { label: "Ended by", class: "name", text: (item) => item.ended_by ?? "" },
      { label: "Reason", class: "wide", text: (item) => item.reason ?? "" },
    ],
    (item) => String(item.id),
    "Nothing yet.",
  );
}
