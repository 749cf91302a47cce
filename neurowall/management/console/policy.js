// SPDX-License-Identifier: Apache-2.0
// Generations of the policy, what differs between them, the way back; and what each rule matched.

import { explainError } from "./api.js";
import { ask, allow as allowDoing, refuseInDialog } from "./dialogs.js";
import { Table, actions, byId, chipColumn, el, refuse, say, tell } from "./dom.js";
import { clock, count, duration, plural } from "./format.js";

const PAGE = 20;
const RULES_EVERY = 3000; // ms
const SIGNS = { "+": "added", "-": "removed", "~": "changed" };

/** The page "Policy", and the banner of a policy that waits to be confirmed. */
export class PolicyView {
  constructor(session, live) {
    this.session = session;
    this.live = live;
    this.generations = generationTable({
      diff: (item) => this.showDiff(item),
      text: (item) => this.showText(item),
      back: (item) => this.rollBack(item),
    });
    this.rules = ruleTable();
    this.pages = 1;
    live.addEventListener("generation", () => this.#refresh());
    live.addEventListener("status", ({ detail }) => this.#pending(detail));
    byId("pending-confirm").addEventListener("click", () => this.#confirm());
    byId("generations-more").addEventListener("click", () => {
      this.pages += 1;
      this.#refresh();
    });
  }

  open() {
    this.isOpen = true;
    this.pages = 1;
    this.#refresh();
    this.#rules();
    this.timer = setInterval(() => document.hidden || this.#rules(), RULES_EVERY);
  }

  close() {
    this.isOpen = false;
    clearInterval(this.timer);
  }

  clear() {
    this.close();
    this.generations.clear();
    this.rules.clear();
    byId("pending").hidden = true;
  }

  /** What a generation changed, or will be changed by going back to it. */
  async showDiff(item) {
    const place = el("div", {}, el("p", { class: "hint" }, "Comparing…"));
    ask({ title: `Generation ${item.generation} and the one in force`, body: [place], label: "" });
    try {
      const found = await this.session.client.get(`/policy/generations/${item.generation}/diff?to=${this.inForce}`);
      place.replaceChildren(
        el("p", { class: "hint" }, `From generation ${found.from} to ${found.to}:`),
        differences(found.differences),
        ...(found.text_diff ? [el("h3", {}, "The files"), textDiff(found.text_diff)] : []),
      );
    } catch (error) {
      place.replaceChildren();
      refuseInDialog(explainError(error));
    }
  }

  async showText(item) {
    const place = el("div", {}, el("p", { class: "hint" }, "Reading…"));
    ask({ title: `Policy of generation ${item.generation}`, body: [place], label: "" });
    try {
      const found = await this.session.client.get(`/policy/generations/${item.generation}`);
      place.replaceChildren(el("pre", { class: "text", tabindex: 0, "aria-label": "Policy" }, found.text));
    } catch (error) {
      place.replaceChildren();
      refuseInDialog(explainError(error));
    }
  }

  /** Show what going back would change, then ask. */
  async rollBack(item) {
    const place = el("div", { "aria-live": "polite" }, el("p", { class: "hint" }, "Looking what that would change…"));
    let seen = null;
    ask({
      title: `Go back to the policy of generation ${item.generation}`,
      body: [place],
      label: "Roll back",
      danger: true,
      act: (key) => this.#rolledBack(item, key, seen),
    });
    allowDoing(false);
    try {
      // Before the dry run: a change between the two would be found by the number.
      seen = (await this.session.client.get("/status")).generation;
      const body = { generation: item.generation };
      const would = await this.session.client.post("/policy/rollback?dry_run=true", body);
      place.replaceChildren(...planOf(would));
      allowDoing(true);
    } catch (error) {
      place.replaceChildren();
      refuseInDialog(explainError(error));
    }
  }

  async #rolledBack(item, key, generation) {
    const body = { generation: item.generation };
    const made = await this.session.client.post("/policy/rollback", body, { key, generation });
    tell(`The policy of generation ${item.generation} is in force again, as generation ${made.generation}.`);
    this.live.hurry();
    await this.#refresh();
  }

  #pending(status) {
    const waits = status.pending;
    byId("pending").hidden = !waits;
    if (!waits) return;
    const when = duration(waits.seconds);
    say(
      byId("pending-text"),
      `Generation ${waits.generation} is on trial: generation ${waits.revert_to} comes back in ${when} unless it is kept.`,
    );
  }

  #confirm() {
    ask({
      title: "Keep this policy",
      body: [el("p", {}, "It stays in force after the trial.")],
      label: "Keep it",
      act: async (key) => {
        await this.session.client.post("/policy/confirm", undefined, { key });
        byId("pending").hidden = true;
        this.live.hurry();
        tell("The policy is confirmed and stays.");
      },
    });
  }

  async #refresh() {
    if (!this.isOpen || !this.session.client) return;
    try {
      const query = new URLSearchParams({ limit: PAGE });
      const { client } = this.session;
      let answer = await client.get(`/policy/generations?${query}`);
      const rows = [...answer.generations];
      for (let page = 1; page < this.pages && answer.next; page += 1) {
        query.set("after", answer.next);
        answer = await client.get(`/policy/generations?${query}`);
        rows.push(...answer.generations);
      }
      this.inForce = answer.in_force;
      this.generations.fill(rows.map((each) => ({ ...each, isNow: each.generation === answer.in_force })));
      byId("generations-more").hidden = !answer.next;
      refuse(byId("policy-refusal"), "");
    } catch (error) {
      if (error.status) refuse(byId("policy-refusal"), explainError(error));
    }
  }

  async #rules() {
    if (!this.session.client) return;
    try {
      const { rules } = await this.session.client.get("/rules");
      this.rules.fill(rules.filter((each) => each.kind !== "built-in" || each.packets));
    } catch (error) {
      if (error.status) refuse(byId("policy-refusal"), explainError(error));
    }
  }
}

/** Differences as the engine words them. */
export function differences(lines) {
  if (!lines?.length) return el("p", {}, "Nothing differs.");
  const kinds = { "+": "plus", "-": "minus", "~": "change" };
  const items = lines.map((line) =>
    el(
      "li",
      { class: kinds[line.sign] ?? "change" },
      el("span", { class: "sign" }, SIGNS[line.sign] ?? line.sign),
      el("strong", {}, [line.part, line.name].filter(Boolean).join(" ")),
      el("span", {}, line.text),
    ),
  );
  return el("ul", { class: "differences" }, ...items);
}

function planOf(would) {
  const entries = `list entries: ${count(would.added)} added, ${count(would.removed)} removed`;
  const lines = `${plural(would.differences.length, "difference")}; ${entries}; ${plural(would.objects, "nftables object")}.`;
  const warnings = would.warnings?.length
    ? [el("ul", { class: "notes" }, ...would.warnings.map((text) => el("li", { class: "warning" }, el("strong", {}, "Warning"), el("span", {}, text))))]
    : [];
  return [el("p", { class: "hint" }, "Dry run, nothing is changed yet."), differences(would.differences), el("p", {}, lines), ...warnings];
}

function textDiff(text) {
  const kinds = { "+": "plus", "-": "minus", "@": "place" };
  const lines = text.split("\n").map((line) => el("span", { class: kinds[line[0]] ?? "" }, `${line}\n`));
  return el("pre", { class: "text diff", tabindex: 0, "aria-label": "Difference of the files" }, ...lines);
}

function generationTable(go) {
  const named = (verb) => (item) => `${verb} generation ${item.generation}`;
  return new Table(
    byId("generations"),
    "Generations of the policy",
    [
      { label: "No.", head: true, text: (item) => String(item.generation) },
      { label: "When", text: (item) => clock(item.when) },
      chipColumn("By", (item) => (item.isNow ? `${item.source}, in force` : item.source), (item) => (item.isNow ? "pass" : "neutral")),
      { label: "Rules", end: true, text: (item) => count(item.rules) },
      { label: "Lists", end: true, text: (item) => count(item.lists) },
      { label: "Note", class: "wide", text: (item) => item.note || item.file || "" },
      actions([
        { label: "Policy", title: named("Show the policy of"), act: go.text },
        { label: "Compare", title: named("Compare with the present one"), act: go.diff, show: (item) => !item.isNow },
        {
          label: "Roll back…",
          title: named("Roll back to"),
          act: go.back,
          scope: "rules:write",
          show: (item) => !item.isNow,
        },
      ]),
    ],
    (item) => String(item.generation),
    "No policy is kept.",
  );
}

function ruleTable() {
  const kinds = { accept: "pass", drop: "drop", reject: "drop" };
  return new Table(
    byId("rules"),
    "Rules in their order",
    [
      { label: "Rule", head: true, class: "name", text: (item) => item.name },
      { label: "Kind", text: (item) => (item.enabled ? item.kind : `${item.kind}, off`) },
      chipColumn("Action", (item) => item.action ?? "–", (item) => (item.monitor ? "neutral" : (kinds[item.action] ?? "neutral"))),
      { label: "Packets", end: true, text: (item) => count(item.packets) },
      { label: "What", class: "wide", text: (item) => item.text },
    ],
    (item) => `${item.kind} ${item.name}`,
    "nftables does not filter: the policy has neither rules nor defaults.",
  );
}
