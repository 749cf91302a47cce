// SPDX-License-Identifier: Apache-2.0
// Events as they happen: one stream by fetch, opened again when it breaks.

import { explainError } from "./api.js";
import { Table, byId, chipColumn, el, say } from "./dom.js";
import { clock, end, plural } from "./format.js";
import { backoff } from "./rates.js";

const KEPT = 250;
const DRAW = 250; // ms between two changes of the page, however many events come
const KINDS = ["drop", "ban", "flow-open", "flow-close", "limit-over", "guard"];
const FEW = 50;

/** The page "Events". */
export class Feed {
  constructor(session, live) {
    this.session = session;
    this.number = 0;
    this.reset();
    this.table = eventTable();
    byId("events-kind").append(...KINDS.map((kind) => el("option", { value: kind }, kind)));
    live.addEventListener("top", ({ detail }) => this.#reasons(detail.answer.packets));
    byId("events-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.open();
    });
    byId("events-pause").addEventListener("click", () => this.#pause());
  }

  reset() {
    this.events = [];
    this.lost = this.unseen = 0;
    this.dirty = true;
  }

  /** Follow events by the filter that is set, from the last few on. */
  open() {
    this.close();
    this.reset();
    this.controller = new AbortController();
    this.timer = setInterval(() => this.#draw(), DRAW);
    this.#follow(this.controller.signal);
  }

  close() {
    this.controller?.abort();
    clearInterval(this.timer);
  }

  clear() {
    this.close();
    this.reset();
    this.paused = false;
    this.#button();
    this.table.clear();
  }

  async #follow(signal) {
    let failures = 0;
    const query = this.#query();
    while (!signal.aborted) {
      try {
        await this.session.client.stream(`/events?${query}`, {
          signal,
          onOpen: () => {
            failures = 0;
            this.#connected(query, signal);
          },
          onMessage: (kind, data) => !signal.aborted && this.#take(kind, data),
        });
      } catch (error) {
        if (signal.aborted) return;
        const wait = Math.max(backoff(failures), (error.retryAfter ?? 0) * 1000, error.status ? 5000 : 0);
        failures += 1;
        this.state = `${error.status ? explainError(error) : "Disconnected."} Connecting again in ${Math.ceil(wait / 1000)} s.`;
        this.dirty = true;
        await new Promise((resolve) => setTimeout(resolve, wait));
      }
    }
  }

  /** The stream is open: what happened just before is asked for once, so that the page is not empty. */
  async #connected(query, signal) {
    this.state = "Following.";
    this.dirty = true;
    if (this.events.length) return;
    try {
      const recent = await this.session.client.get(`/events/recent?${query}${query ? "&" : ""}limit=${FEW}`, { signal });
      const known = new Set(this.events.map(identity));
      const before = recent.events.filter((each) => !known.has(identity(each))).reverse();
      this.events.push(...before.map((each) => this.#numbered(each)));
      this.dirty = true;
    } catch {
      // Only what was before is missing.
    }
  }

  #query() {
    const query = new URLSearchParams();
    for (const name of ["kind", "reason", "address"]) {
      const value = byId(`events-${name}`).value.trim();
      if (value) query.set(name, value);
    }
    return query.toString();
  }

  #numbered(event) {
    this.number += 1;
    return { ...event, id: this.number };
  }

  #take(kind, data) {
    if (kind === "lost") this.lost += data.lost;
    else this.events.unshift(this.#numbered(data));
    this.events.length = Math.min(this.events.length, KEPT);
    if (this.paused) this.unseen += kind === "lost" ? data.lost : 1;
    this.dirty = true;
  }

  #pause() {
    this.paused = !this.paused;
    this.unseen = 0;
    this.dirty = true;
    this.#button();
    this.#draw();
  }

  #button() {
    byId("events-pause").setAttribute("aria-pressed", String(Boolean(this.paused)));
    say(byId("events-pause"), this.paused ? "Go on" : "Pause");
  }

  #draw() {
    if (!this.dirty) return;
    this.dirty = false;
    const lost = this.lost ? ` ${plural(this.lost, "event")} came too fast to be shown.` : "";
    const held = this.paused ? ` Paused: ${plural(this.unseen, "new event")}.` : "";
    // Not each event: a screen reader would never end.
    byId("events-state").setAttribute("aria-live", this.paused ? "off" : "polite");
    say(byId("events-state"), `${this.state ?? "Connecting."}${held}${lost}`);
    if (!this.paused) this.table.fill(this.events);
  }

  #reasons(packets) {
    const select = byId("events-reason");
    if (select.options.length > 1) return;
    select.append(...packets.map((row) => el("option", { value: row.reason }, row.reason)));
  }
}

function identity(event) {
  return [event.time, event.kind, event.source, event.source_port, event.destination_port].join(" ");
}

function what(event) {
  const ends = [end(event.source, event.source_port), end(event.destination, event.destination_port)];
  const packet = [event.protocol, ends.filter(Boolean).join(" → "), (event.flags ?? []).join(",")];
  return packet.filter(Boolean).join(" ") || event.ethertype || "";
}

function eventTable() {
  return new Table(
    byId("events"),
    "Events, the newest first",
    [
      { label: "Time", head: true, text: (item) => clock(item.time) },
      chipColumn("Kind", (item) => item.kind, (item) => (["drop", "ban"].includes(item.kind) ? "drop" : "neutral")),
      { label: "Reason", text: (item) => item.reason },
      { label: "Packet", class: "address", text: what },
      { label: "At", text: (item) => item.interface ?? "" },
      { label: "List or limit", class: "name", text: (item) => item.list ?? item.limit ?? "" },
    ],
    (item) => String(item.id),
    "No event yet.",
  );
}
