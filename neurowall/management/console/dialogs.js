// SPDX-License-Identifier: Apache-2.0
// The one dialog: what will happen, then whether it shall.

import { ApiError, explainError, newKey } from "./api.js";
import { byId, refuse, say } from "./dom.js";

let running = null; // {act, key}

function elements() {
  return { dialog: byId("dialog"), form: byId("dialog-form"), body: byId("dialog-body"), go: byId("dialog-do") };
}

/** Wire the dialog; once. */
export function setUpDialog() {
  const { dialog, form } = elements();
  byId("dialog-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    if (dialog.open) return; // the event comes later, and it may have been opened anew meanwhile
    running = null;
    elements().body.replaceChildren();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
}

/**
 * Ask. body: elements to show; act(key): what to do, a promise; the dialog closes when it is kept and stays
 * with the reason when it is broken. The key is the same for each attempt, so that none is made twice.
 */
export function ask({ title, body, label, danger = false, act }) {
  const { dialog, go, body: place } = elements();
  say(byId("dialog-title"), title);
  place.replaceChildren(...body);
  say(go, label);
  go.className = danger ? "primary danger" : "primary";
  go.hidden = !act;
  go.disabled = false;
  say(byId("dialog-cancel"), act ? "Cancel" : "Close");
  refuse(byId("dialog-refusal"), "");
  running = act ? { act, key: newKey() } : null;
  dialog.showModal();
}

/** Whether the thing to do can be done now, as far as the dialog's contents say. */
export function allow(possible) {
  elements().go.disabled = !possible;
}

/** Say in the dialog why it cannot be done. */
export function refuseInDialog(text) {
  refuse(byId("dialog-refusal"), text);
}

async function submit() {
  const mine = running;
  const { dialog, go } = elements();
  if (!mine || go.disabled) return;
  go.disabled = true;
  go.setAttribute("aria-busy", "true");
  refuse(byId("dialog-refusal"), "");
  try {
    await mine.act(mine.key);
    if (running === mine) dialog.close();
  } catch (error) {
    if (running !== mine) return;
    refuse(byId("dialog-refusal"), explainError(error));
    // What was refused may be corrected and is then another request; what got no answer is tried again as it is.
    if (error instanceof ApiError && error.status) mine.key = newKey();
  } finally {
    if (running === mine) go.disabled = false;
    go.removeAttribute("aria-busy");
  }
}
