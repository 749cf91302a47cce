// SPDX-License-Identifier: Apache-2.0
// The gateway's API: one client with the operator's token, and server-sent events by fetch.

const PATIENCE = 10_000; // ms for an answer
const LONG_PATIENCE = 120_000; // ms for a change
const SILENCE = 40_000; // ms without a byte of a stream; the gateway sends a heartbeat every 15 s

/** An answer that is no success, or none at all (status 0). `problem` is the body of an RFC 9457 answer. */
export class ApiError extends Error {
  constructor(status, problem, retryAfter = null) {
    super(problem.detail || problem.title || `the gateway answered ${status}`);
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }

  get kind() {
    return (this.problem.type ?? "").split(":").pop();
  }
}

/** What to tell the operator about an error. */
export function explainError(error) {
  if (!(error instanceof ApiError)) return String(error?.message ?? error);
  const soon = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  const said = `${error.message}.`.replace(/([.!?])\.$/, "$1");
  switch (error.status) {
    case 0:
      return "The gateway does not answer.";
    case 401:
      return "The gateway does not accept this token: it is wrong, revoked or has ended.";
    case 403:
      return `Your token may not do this: ${said}`;
    case 412:
      return `Somebody changed the policy or a list meanwhile: ${said}`;
    case 429:
      return `Too many failed attempts from your address.${soon}`;
    case 503:
      return `The gateway cannot do this now: ${said}${soon}`;
    default:
      return said;
  }
}

/** A key by which a repeated request is known as the same one. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Complete messages in a text/event-stream's text, and the rest that is not complete yet. */
export function parseStream(text) {
  const parts = text.replaceAll("\r\n", "\n").split("\n\n");
  const rest = parts.pop();
  const messages = [];
  for (const part of parts) {
    const message = { event: "message", data: [] };
    for (const line of part.split("\n")) {
      const [, name, value] = /^([a-z]+): ?(.*)$/s.exec(line) ?? [];
      if (name === "event") message.event = value;
      if (name === "data") message.data.push(value);
    }
    if (message.data.length) messages.push({ event: message.event, data: message.data.join("\n") });
  }
  return { messages, rest };
}

/** The API as somebody with a token sees it. `onRefused` is told of each 401. */
export class Client {
  constructor(token, onRefused = () => {}) {
    this.token = token;
    this.onRefused = onRefused;
  }

  get(path, options = {}) {
    return this.#ask("GET", path, options);
  }

  /** A change. `key` makes it safe to repeat, `generation` refuses it if something changed since. */
  post(path, body, { key, generation } = {}) {
    const headers = {};
    if (key) headers["idempotency-key"] = key;
    if (generation !== undefined && generation !== null) headers["if-match"] = `"${generation}"`;
    if (body !== undefined) headers["content-type"] = "application/json";
    return this.#ask("POST", path, { headers, body: body === undefined ? undefined : JSON.stringify(body) });
  }

  async #ask(method, path, { headers = {}, body, signal } = {}) {
    const patience = AbortSignal.timeout(method === "GET" ? PATIENCE : LONG_PATIENCE);
    const response = await this.#fetch(path, {
      method,
      body,
      headers: { accept: "application/json", ...headers },
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    try {
      return await response.json();
    } catch (error) {
      throw unreachable(error);
    }
  }

  async #fetch(path, { headers, ...options }) {
    let response;
    try {
      response = await fetch(path, {
        ...options,
        headers: { ...headers, authorization: `Bearer ${this.token}` },
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
    } catch (error) {
      throw unreachable(error);
    }
    if (response.ok) return response;
    const problem = await response.json().catch(() => ({}));
    const error = new ApiError(response.status, problem, Number(response.headers.get("retry-after")) || null);
    if (error.status === 401) this.onRefused(error);
    throw error;
  }

  /** Call `onMessage(event, data)` for each message until the stream ends, which throws, or `signal` aborts. */
  async stream(path, { signal, onOpen, onMessage }) {
    const quiet = new AbortController();
    let timer = setTimeout(() => quiet.abort(), SILENCE);
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => quiet.abort(), SILENCE);
    };
    try {
      const response = await this.#fetch(path, {
        headers: { accept: "text/event-stream" },
        signal: AbortSignal.any([signal, quiet.signal]),
      });
      onOpen();
      await readAll(response.body.pipeThrough(new TextDecoderStream()).getReader(), heard, onMessage);
    } finally {
      clearTimeout(timer);
    }
  }
}

async function readAll(reader, heard, onMessage) {
  let text = "";
  for (;;) {
    let piece;
    try {
      piece = await reader.read();
    } catch (error) {
      throw unreachable(error);
    }
    if (piece.done) throw new ApiError(0, { detail: "the stream ended" });
    heard();
    const { messages, rest } = parseStream(text + piece.value);
    text = rest;
    for (const message of messages) onMessage(message.event, JSON.parse(message.data));
  }
}

function unreachable(error) {
  if (error instanceof ApiError) return error;
  return new ApiError(0, { detail: `the gateway does not answer: ${error.message}` });
}
