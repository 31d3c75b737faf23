// Embeddings, models, files and uploads by the unmodified OpenAI SDK for Node against a local stack:
// public calls only.
//
// Usage: NODE_PATH=…/node_modules node files.cjs READY_FILE (written by `switchyard up --ready-file`).
"use strict";

const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { toFile } = require("openai");
const { client, refused, run } = require("./judge.cjs");

const MODEL = "minilm";
const TYPE = "application/jsonl";

const line = (n) => {
  const body = { model: MODEL, input: "hello" };
  return JSON.stringify({ custom_id: `c-${n}`, method: "POST", url: "/v1/embeddings", body });
};
const lines = (count) => Buffer.from(Array.from({ length: count }, (_, n) => line(n)).join("\n"));
const bytes = async (answer) => Buffer.from(await answer.arrayBuffer());
const begin = (sdk, content, more = {}) =>
  sdk.uploads.create({ bytes: content.length, filename: "in.jsonl", mime_type: TYPE, purpose: "batch", ...more });
const part = async (sdk, upload, content) =>
  (await sdk.uploads.parts.create(upload.id, { data: await toFile(content, "part") })).id;

const checks = {
  async "embeddings come in either encoding"() {
    const sdk = client();
    const input = ["hello", "world"];
    const usual = await sdk.embeddings.create({ model: MODEL, input });
    const floats = await sdk.embeddings.create({ model: MODEL, input, encoding_format: "float" });
    assert.deepEqual(usual.data.map((item) => item.index), [0, 1]);
    usual.data.forEach((item, at) => {
      assert.equal(item.embedding.length, 384);
      item.embedding.forEach((x, n) => assert.ok(Math.abs(x - floats.data[at].embedding[n]) < 1e-5));
    });
    await refused(404, "model_not_found", () => sdk.embeddings.create({ model: "none", input: "x" }));
  },

  async "models are listed"() {
    const sdk = client();
    const ids = [];
    for await (const model of sdk.models.list()) ids.push(model.id);
    assert.ok(ids.includes(MODEL), ids.join());
    assert.equal((await sdk.models.retrieve("sentence-transformers/all-MiniLM-L6-v2")).object, "model");
  },

  async "a file lives from upload to deletion"() {
    const sdk = client();
    const content = lines(100);
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "switchyard-judge-"));
    const name = path.join(folder, "in.jsonl");
    fs.writeFileSync(name, content);
    const expires_after = { anchor: "created_at", seconds: 7200 };
    const file = await sdk.files.create({ file: fs.createReadStream(name), purpose: "batch", expires_after });
    fs.rmSync(folder, { recursive: true });
    assert.deepEqual([file.bytes, file.filename, file.status], [content.length, "in.jsonl", "processed"]);
    assert.equal(file.expires_at - file.created_at, 7200);
    assert.deepEqual(await sdk.files.retrieve(file.id), file);
    assert.ok((await bytes(await sdk.files.content(file.id))).equals(content));
    const some = await sdk.files.content(file.id, { headers: { Range: "bytes=10-19" } });
    assert.equal(some.status, 206);
    assert.ok((await bytes(some)).equals(content.subarray(10, 20)));
    for (let n = 0; n < 2; n += 1) assert.equal((await sdk.files.delete(file.id)).deleted, true);
    await refused(404, "file_not_found", () => sdk.files.retrieve(file.id));
  },

  async "lists are paged by the sdk"() {
    const sdk = client();
    const made = [];
    for (let n = 0; n < 5; n += 1) {
      made.unshift((await sdk.files.create({ file: await toFile(lines(1), `${n}.jsonl`), purpose: "batch" })).id);
    }
    const listed = [];
    for await (const file of sdk.files.list({ limit: 2, purpose: "batch" })) listed.push(file.id);
    assert.deepEqual(listed.filter((id) => made.includes(id)), made);
    for (const id of made) await sdk.files.delete(id);
    await refused(400, "invalid_cursor", () => sdk.files.list({ after: "file-none" }));
  },

  async "a file comes in parts"() {
    const sdk = client();
    const content = lines(2_000);
    const upload = await begin(sdk, content);
    assert.equal(upload.status, "pending");
    const half = content.length >> 1;
    const [last, first] = await Promise.all([
      part(sdk, upload, content.subarray(half)),
      part(sdk, upload, content.subarray(0, half)),
    ]);
    const md5 = crypto.createHash("md5").update(content).digest("hex");
    const wish = { part_ids: [first, last], md5 };
    const done = await sdk.uploads.complete(upload.id, wish);
    assert.deepEqual([done.status, done.file.bytes, done.file.status], ["completed", content.length, "processed"]);
    assert.deepEqual(await sdk.uploads.complete(upload.id, wish), done, "asked twice");
    assert.ok((await bytes(await sdk.files.content(done.file.id))).equals(content));
  },

  async "bad uploads are the sdks errors"() {
    const sdk = client({ maxRetries: 0 });
    const content = lines(2);
    await refused(400, "unsupported_purpose", () => begin(sdk, content, { purpose: "vision" }));
    const upload = await begin(sdk, content);
    const short = await part(sdk, upload, content.subarray(1));
    await refused(400, "mismatched_bytes", () => sdk.uploads.complete(upload.id, { part_ids: [short] }));
    for (let n = 0; n < 2; n += 1) assert.equal((await sdk.uploads.cancel(upload.id)).status, "cancelled");
    await refused(409, "upload_cancelled", () => sdk.uploads.complete(upload.id, { part_ids: [short] }));
    await refused(404, "upload_not_found", () => sdk.uploads.cancel("upload_none"));
  },
};

run(checks);
