// SPDX-License-Identifier: Apache-2.0
// The page put together: views by the address's #name, connection state, session.

import { Bans } from "./bans.js";
import { setUpDialog } from "./dialogs.js";
import { byId, say } from "./dom.js";
import { Explain } from "./explain.js";
import { Feed } from "./feed.js";
import { Live } from "./live.js";
import { Overview } from "./overview.js";
import { PolicyView } from "./policy.js";
import { Session, setUpTheme } from "./session.js";

const WORDS = { live: "Live", wait: "Connecting", down: "Disconnected", refused: "Refused" };

const session = new Session();
const live = new Live(session);
const views = {};
let shown = null;

function show(name, { focus = true } = {}) {
  const wanted = name in views ? name : "overview";
  if (shown === wanted || !session.client) return;
  if (shown) views[shown].close?.();
  for (const key of Object.keys(views)) byId(`view-${key}`).hidden = key !== wanted;
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.hash === `#${wanted}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  shown = wanted;
  views[wanted].open?.();
  if (focus) byId(`${wanted}-title`).focus({ preventScroll: true });
}

function state({ name, text }) {
  byId("link").dataset.state = name;
  say(byId("link-text"), WORDS[name]);
  const trouble = name === "down" || name === "refused";
  byId("offline").hidden = !trouble;
  say(byId("offline"), trouble ? `${name === "down" ? "Disconnected. " : ""}${text}` : "");
}

function signedOut() {
  live.stop();
  for (const view of Object.values(views)) view.clear();
  for (const key of Object.keys(views)) byId(`view-${key}`).hidden = true;
  shown = null;
  byId("link").dataset.state = "off";
  say(byId("link-text"), "Signed out");
}

function goTo(name) {
  if (location.hash === `#${name}`) show(name);
  else location.hash = name; // and hashchange shows it
}

setUpTheme();
setUpDialog();
Object.assign(views, {
  overview: new Overview(live, {
    explain: (address) => {
      goTo("explain");
      views.explain.explain(address);
    },
    block: (address) => views.bans.add("block", address),
  }),
  bans: new Bans(session, live),
  policy: new PolicyView(session, live),
  explain: new Explain(session),
  events: new Feed(session, live),
});
live.addEventListener("state", ({ detail }) => state(detail));
live.addEventListener("status", ({ detail }) => (document.title = `${detail.instance} · Neurowall`));
session.addEventListener("in", () => {
  live.start();
  show(location.hash.slice(1), { focus: false });
});
session.addEventListener("out", signedOut);
addEventListener("hashchange", () => show(location.hash.slice(1)));
byId("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address's #name is the view
  byId("content").focus();
});
session.start();
