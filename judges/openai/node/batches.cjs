// Batches and their webhooks by the unmodified OpenAI SDK for Node.
//
// Usage: NODE_PATH=…/node_modules node batches.cjs READY_FILE (of `switchyard up --webhook URL`). This program
// is the endpoint: nobody else may listen at that URL. Give the stack a clock that runs faster.
"use strict";

const assert = require("node:assert/strict");
const http = require("node:http");
const { toFile } = require("openai");
const { client, ready, refused, run } = require("./judge.cjs");

const MODEL = "minilm";
// Real time until whatever is due has come: looks of the sweep, a boot, work.
const WITHIN_MS = 90_000;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function until(what, look) {
  const end = performance.now() + WITHIN_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(performance.now() < end, `no ${what} within ${WITHIN_MS / 1000} s`);
    await pause(200);
  }
}

async function submit(sdk, count, deadline) {
  const line = (n) => ({ custom_id: `c-${n}`, method: "POST", url: "/v1/embeddings", body: { model: MODEL, input: `text ${n}` } });
  const content = Buffer.from(Array.from({ length: count }, (_, n) => JSON.stringify(line(n))).join("\n"));
  const file = await sdk.files.create({ file: await toFile(content, "in.jsonl"), purpose: "batch" });
  const metadata = { deadline, judge: "node" };
  return sdk.batches.create({ input_file_id: file.id, endpoint: "/v1/embeddings", completion_window: "24h", metadata });
}

/** The endpoint of the tenant's webhooks, and what came there. */
function listen() {
  const came = [];
  const server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      came.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
      response.writeHead(200).end();
    });
  });
  const { hostname, port } = new URL(ready.webhook_url);
  return new Promise((done) => server.listen(Number(port), hostname, () => done({ came, server })));
}

async function main() {
  const { came, server } = await listen();
  const told = (batch) => until(`event of ${batch.id}`, () => came.find((event) => event.body.includes(batch.id)));
  await run({
    async "a batch runs to its end and its webhook verifies"() {
      const sdk = client();
      const batch = await submit(sdk, 200, "30m");
      const done = await until("end of the batch", async () => {
        const seen = await sdk.batches.retrieve(batch.id);
        return seen.status === "completed" && seen;
      });
      assert.deepEqual(done.request_counts, { total: 200, completed: 200, failed: 0 });
      const results = (await (await sdk.files.content(done.output_file_id)).text()).trimEnd().split("\n").map((line) => JSON.parse(line));
      assert.deepEqual(results.map((result) => result.custom_id), results.map((_, n) => `c-${n}`));
      assert.equal(results.length, 200);
      results.forEach((result) => assert.equal(result.response.body.data[0].embedding.length, 384));
      const { headers, body } = await told(batch);
      const event = await sdk.webhooks.unwrap(body, headers, ready.webhook_secret);
      assert.deepEqual([event.type, event.data.id], ["batch.completed", batch.id]);
      await assert.rejects(() => sdk.webhooks.unwrap(`${body} `, headers, ready.webhook_secret));
    },

    async "a batch is cancelled"() {
      const sdk = client();
      const batch = await submit(sdk, 5_000, "10h");
      assert.ok(["cancelling", "cancelled"].includes((await sdk.batches.cancel(batch.id)).status));
      await until("cancelled", async () => (await sdk.batches.retrieve(batch.id)).status === "cancelled");
      const { headers, body } = await told(batch);
      assert.equal((await sdk.webhooks.unwrap(body, headers, ready.webhook_secret)).type, "batch.cancelled");
    },

    async "lists are paged by the sdk"() {
      const sdk = client();
      const ids = [];
      for await (const batch of sdk.batches.list({ limit: 1 })) ids.push(batch.id);
      assert.equal(new Set(ids).size, ids.length);
      assert.ok(ids.length >= 2, ids.join());
      await refused(404, "batch_not_found", () => sdk.batches.retrieve("batch_none"));
    },
  });
  server.close();
  server.closeAllConnections();
}

main();
