// SPDX-License-Identifier: Apache-2.0
// Why an address or a packet gets its verdict.

import { explainError } from "./api.js";
import { byId, chip, el, refuse } from "./dom.js";
import { isAddress } from "./format.js";

const DROPS = ["drop", "reject"];

/** The page "Explain". */
export class Explain {
  constructor(session) {
    this.session = session;
    byId("explain-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.explain(byId("explain-text").value.trim());
    });
  }

  clear() {
    byId("explained").hidden = true;
    byId("explained").replaceChildren();
    byId("explain-text").value = "";
    refuse(byId("explain-refusal"), "");
  }

  /** Ask, and show the answer. */
  async explain(text) {
    byId("explain-text").value = text;
    const place = byId("explained");
    refuse(byId("explain-refusal"), "");
    place.hidden = true;
    const mine = (this.turn = (this.turn ?? 0) + 1); // a slow answer must not cover a later one
    try {
      const found = isAddress(text)
        ? ofAddress(await this.session.client.get(`/explain/${encodeURIComponent(text)}`))
        : ofPacket(await this.session.client.get(`/explain-packet?${new URLSearchParams({ packet: text })}`));
      if (mine !== this.turn) return;
      place.replaceChildren(...found);
      place.hidden = false;
    } catch (error) {
      if (mine !== this.turn) return;
      place.hidden = true;
      refuse(byId("explain-refusal"), explainError(error));
    }
  }
}

function heading(verdict, text) {
  return el("h2", { class: "verdict" }, chip(verdict, DROPS.includes(verdict) ? "drop" : "pass"), el("span", {}, text));
}

function ofAddress(found) {
  const facts = [
    ["Reason", found.reason],
    ["List", found.list],
    ["Entry", found.entry],
    ["Ban by limit", found.ban?.limit],
    ["Only counted by", found.monitored_by.join(", ")],
    ["In the kernel", found.kernel.as_intended ? "as intended" : "not as intended"],
  ].filter(([, value]) => value);
  return [
    heading(found.verdict, found.address),
    el("ol", { class: "steps" }, ...found.steps.map((step) => el("li", {}, step))),
    el("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
  ];
}

function ofPacket(found) {
  const kinds = { accept: "pass", drop: "drop", reject: "drop", translate: "neutral", count: "neutral" };
  const steps = found.steps.map((step) =>
    el(
      "li",
      {},
      el("strong", { class: "stage" }, step.stage),
      el("span", {}, step.text),
      ...(kinds[step.does] ? [chip(step.does, kinds[step.does])] : []),
    ),
  );
  return [heading(found.verdict, found.packet), el("ol", { class: "steps" }, ...steps), el("p", { class: "summary" }, found.summary)];
}
