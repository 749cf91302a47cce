// SPDX-License-Identifier: Apache-2.0
// Asks the gateway again and again while somebody is signed in, and says how that goes.

import { ApiError, explainError } from "./api.js";
import { History, backoff, between } from "./rates.js";

const EVERY = 1000; // ms
const EVERY_HIDDEN = 5000;
const STATUS_ROUNDS = 3; // /status with each so many answers of /top, and whenever the generation changed
export const SOURCES = 12;

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/**
 * Events: `top` {answer, rates, history}, `status` {answer}, `generation`, and `state` {name, text}, where name
 * is "live", "wait" (before the first answer), "down" or "refused".
 */
export class Live extends EventTarget {
  history = new History();
  status = null;
  #controller = null;
  #last = null;
  #rounds = 0;

  constructor(session) {
    super();
    this.session = session;
  }

  start() {
    this.stop();
    this.#controller = new AbortController();
    this.#run(this.#controller.signal);
  }

  stop() {
    this.#controller?.abort();
    this.#controller = null;
    this.history = new History();
    this.#last = this.status = null;
  }

  /** Ask for the status with the next answer: something was changed. */
  hurry() {
    this.#rounds = 0;
  }

  async #run(signal) {
    let failures = 0;
    this.#rounds = 0;
    this.#tell("state", { name: "wait", text: "Connecting" });
    while (!signal.aborted) {
      const begun = performance.now();
      let wait;
      try {
        await this.#round(signal);
        if (signal.aborted) return;
        this.#tell("state", { name: "live", text: "Live" });
        failures = 0;
        wait = (document.hidden ? EVERY_HIDDEN : EVERY) - (performance.now() - begun);
      } catch (error) {
        if (signal.aborted) return;
        wait = this.#failed(error, failures);
        failures += 1;
      }
      await pause(Math.max(wait, 50), signal);
    }
  }

  #failed(error, failures) {
    this.#rounds = 0; // what changed while nobody answered is asked for first
    const told = error instanceof ApiError && error.status;
    const wait = Math.max(backoff(failures), (error.retryAfter ?? 0) * 1000, told === 403 ? 10_000 : 0);
    const text = `${explainError(error)} Trying again in ${Math.max(1, Math.round(wait / 1000))} s.`;
    this.#tell("state", { name: told ? "refused" : "down", text });
    return wait;
  }

  async #round(signal) {
    const { client } = this.session;
    await this.session.identify();
    const answer = await client.get(`/top?limit=${SOURCES}`, { signal });
    const rates = between(this.#last, answer);
    this.history.add(answer.seconds, rates);
    const changed = this.#last && this.#last.generation !== answer.generation;
    this.#last = answer;
    this.#tell("top", { answer, rates, history: this.history });
    if (changed) this.#tell("generation", answer.generation);
    if (changed || this.#rounds % STATUS_ROUNDS === 0) {
      this.status = await client.get("/status", { signal });
      this.#tell("status", this.status);
    }
    this.#rounds += 1;
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
