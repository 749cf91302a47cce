// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

const { ApiError, Client, explainError, newKey, parseStream } = await import(new URL("api.js", process.env.CONSOLE));

let server;
let base;
let answer = () => {};

before(async () => {
  server = createServer((request, response) => answer(request, response));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${server.address().port}`;
});
after(() => server.close());

function problem(response, status, body, headers = {}) {
  response.writeHead(status, { "content-type": "application/problem+json", ...headers });
  response.end(JSON.stringify(body));
}

test("messages are found whatever pieces they come in", () => {
  const text = ': open\n\nevent: drop\ndata: {"a":1}\n\n: heartbeat\n\nevent: lost\ndata: {"lost":3}\n\nevent: drop\nda';
  const { messages, rest } = parseStream(text);
  assert.deepEqual(messages, [{ event: "drop", data: '{"a":1}' }, { event: "lost", data: '{"lost":3}' }]);
  assert.equal(rest, "event: drop\nda");
  let held = "";
  const found = [];
  for (const letter of `${text}ta: 7\r\n\r\n`) {
    const step = parseStream(held + letter);
    held = step.rest;
    found.push(...step.messages);
  }
  assert.deepEqual(found.map((each) => each.data), ['{"a":1}', '{"lost":3}', "7"]);
});

test("a request carries token, key and generation", async () => {
  let seen;
  answer = (request, response) => {
    seen = { method: request.method, url: request.url, headers: request.headers, body: "" };
    request.on("data", (piece) => (seen.body += piece));
    request.on("end", () => response.end('{"done":true}'));
  };
  const client = new Client("nw_x_y");
  assert.deepEqual(await client.post(`${base}/block`, { addresses: ["a"] }, { key: "k", generation: 4 }), { done: true });
  assert.equal(seen.headers.authorization, "Bearer nw_x_y");
  assert.equal(seen.headers["idempotency-key"], "k");
  assert.equal(seen.headers["if-match"], '"4"');
  assert.equal(seen.body, '{"addresses":["a"]}');
  await client.post(`${base}/policy/confirm`, undefined, {});
  assert.equal(seen.body, "");
  assert.equal(seen.headers["if-match"], undefined);
});

test("each refusal says what it means", async () => {
  const refused = [];
  const client = new Client("t", (error) => refused.push(error.status));
  const cases = [
    [401, {}, {}, /not accept this token/],
    [403, { detail: "this needs the scope rules:write" }, {}, /may not do this: .*rules:write\./],
    [409, { detail: "a policy waits" }, {}, /^a policy waits\.$/],
    [412, { detail: "generation 5" }, {}, /changed the policy or a list meanwhile: generation 5/],
    [422, { detail: "what?" }, {}, /^what\?$/],
    [429, {}, { "retry-after": "7" }, /Too many failed attempts.*in 7 s/],
    [503, { detail: "the database is locked", type: "urn:neurowall:problem:storage-unavailable" }, { "retry-after": "1" }, /database is locked\. Try again in 1 s/],
    [500, {}, {}, /the gateway answered 500/],
  ];
  for (const [status, body, headers, said] of cases) {
    answer = (_request, response) => problem(response, status, body, headers);
    const error = await client.get(`${base}/x`).catch((caught) => caught);
    assert.ok(error instanceof ApiError);
    assert.equal(error.status, status);
    assert.match(explainError(error), said);
    if (status === 503) assert.equal(error.kind, "storage-unavailable");
  }
  assert.deepEqual(refused, [401]);
  answer = (_request, response) => response.writeHead(502, { "content-type": "text/html" }).end("<h1>Bad</h1>");
  assert.match(explainError(await client.get(`${base}/x`).catch((caught) => caught)), /answered 502/);
  const gone = await client.get("http://127.0.0.1:1/x").catch((caught) => caught);
  assert.equal(gone.status, 0);
  assert.match(explainError(gone), /does not answer/);
});

test("a stream is read until it ends, which is an error, or until nobody wants it", async () => {
  answer = (_request, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(': open\n\nevent: drop\ndata: {"n":1}\n\n');
    setTimeout(() => response.end('event: drop\ndata: {"n":2}\n\n'), 20);
  };
  const seen = [];
  let opened = 0;
  const options = (signal) => ({ signal, onOpen: () => (opened += 1), onMessage: (kind, data) => seen.push([kind, data.n]) });
  const error = await new Client("t").stream(`${base}/events`, options(new AbortController().signal)).catch((caught) => caught);
  assert.equal(error.status, 0);
  assert.deepEqual(seen, [["drop", 1], ["drop", 2]]);
  assert.equal(opened, 1);
  answer = (_request, response) => response.writeHead(200).write(": open\n\n");
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(new Client("t").stream(`${base}/events`, options(controller.signal)));
});

test("keys differ and are what the gateway takes", () => {
  const keys = new Set(Array.from({ length: 100 }, newKey));
  assert.equal(keys.size, 100);
  for (const key of keys) assert.match(key, /^[0-9a-f]{32}$/);
});
