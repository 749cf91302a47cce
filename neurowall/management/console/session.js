// SPDX-License-Identifier: Apache-2.0
// Who is signed in, in this tab, and what the token may do. The page changes by data-session of its body.

import { Client, explainError } from "./api.js";
import { byId, el, permission, refuse } from "./dom.js";
import { ask } from "./dialogs.js";

const KEY = "neurowall-token";
const THEME = "neurowall-theme";

/** The session: `client` is null while nobody is signed in. */
export class Session extends EventTarget {
  client = null;
  who = null;

  may(scope) {
    return Boolean(this.who?.scopes.includes(scope));
  }

  /** Go on with the token of this tab, if there is one; else ask for it. */
  start() {
    permission.check = (button) => this.#check(button);
    byId("sign-in").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try(byId("token").value.trim());
    });
    byId("account").addEventListener("click", () => this.#account());
    const kept = sessionStorage.getItem(KEY);
    if (kept) this.#resume(kept);
    else this.#out();
  }

  /** What the token may do, asked again: scopes do not change, but the daemon may have been away. */
  async identify() {
    if (!this.client || this.who) return;
    this.who = await this.client.get("/whoami");
    this.#allow();
  }

  /** Forget the token. why: what to say on the sign-in page. */
  signOut(why = "") {
    sessionStorage.removeItem(KEY);
    this.client = this.who = null;
    byId("dialog").close();
    this.#out(why);
    this.dispatchEvent(new Event("out"));
  }

  #resume(token) {
    this.client = new Client(token, (error) => this.client && this.signOut(explainError(error)));
    document.body.dataset.session = "in";
    this.dispatchEvent(new Event("in"));
  }

  async #try(token) {
    const button = byId("sign-in").querySelector("button");
    button.disabled = true;
    refuse(byId("sign-in-refusal"), "");
    try {
      this.who = await new Client(token).get("/whoami");
      sessionStorage.setItem(KEY, token);
      byId("token").value = "";
      this.#resume(token);
      this.#allow();
    } catch (error) {
      refuse(byId("sign-in-refusal"), explainError(error));
      byId("token").focus();
    } finally {
      button.disabled = false;
    }
  }

  #out(why = "") {
    document.body.dataset.session = "out";
    refuse(byId("sign-in-refusal"), why);
    byId("token").focus();
  }

  /** Disable what the token does not allow, and say so. */
  #allow() {
    for (const button of document.querySelectorAll("[data-scope]")) this.#check(button);
    this.dispatchEvent(new Event("known"));
  }

  #check(button) {
    const allowed = !this.who || this.may(button.dataset.scope);
    button.disabled = !allowed;
    if (allowed) button.removeAttribute("title");
    else button.title = `your token lacks the scope ${button.dataset.scope}`;
  }

  #account() {
    const scopes = (this.who?.scopes ?? []).map((scope) => el("li", {}, el("code", {}, scope)));
    const out = el("button", { type: "button", id: "sign-out" }, "Sign out");
    out.addEventListener("click", () => this.signOut());
    const ends = this.who?.expires ? el("p", {}, `It ends on ${new Date(this.who.expires).toLocaleString()}.`) : null;
    ask({
      title: "Account",
      body: [
        el("p", {}, "Signed in as ", el("strong", {}, this.who?.actor ?? "…"), "."),
        el("p", {}, scopes.length ? "The token may:" : "The token's scopes are not known yet."),
        el("ul", { class: "scopes" }, ...scopes),
        ...(ends ? [ends] : []),
        out,
      ],
      label: "",
    });
  }
}

/** Light, dark, or as the system says; kept in this browser. */
export function setUpTheme() {
  const select = byId("theme");
  const apply = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  };
  const kept = localStorage.getItem(THEME);
  if (["light", "dark"].includes(kept)) select.value = kept;
  apply(select.value);
  select.addEventListener("change", () => {
    localStorage.setItem(THEME, select.value);
    apply(select.value);
  });
}
